"""Which witnesses must have cosigned a checkpoint: as a policy file says (c2sp.org/tlog-policy), or
all of some keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from akiosd.ledger.note import NoteError, Vkey, decode_decimal
from akiosd.ledger.witness import WitnessKey, witnesses_of

MAX_POLICY_BYTES = 64 * 1024
_MAX_NAMES = 256
_SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Group:
    """Satisfied when at least ``threshold`` of its members (witnesses or groups) are."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Quorum:
    """What is asked for.

    ``name`` is that of a witness or group that must be satisfied, or ``none``: nothing is asked
    for. ``logs`` are the logs that the policy accepts.
    """

    name: str
    witnesses: dict[str, WitnessKey] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    logs: tuple[Vkey, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether anything is asked for."""
        return self.name != "none"

    def cosigners(self, note: bytes) -> dict[str, int]:
        """The names of the witnesses that validly cosigned this note, and when (Unix time in
        seconds).  Raises ``NoteError``.
        """
        return witnesses_of(note, self.witnesses.values())

    def is_met(self, note: bytes) -> bool:
        """Whether enough witnesses cosigned this note.  Raises ``NoteError`` for what
        is no note.
        """
        given = {name for name, key in self.witnesses.items() if witnesses_of(note, [key])}
        return not self.asks or self._met(self.name, given)

    def _met(self, name: str, given: set[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in given
        return sum(self._met(member, given) for member in group.members) >= group.threshold

    def describe(self) -> str:
        """What is asked for, in words."""
        names = ", ".join(sorted(key.name for key in self.witnesses.values()))
        group = self.groups.get(self.name)
        if group is None:
            return self.witnesses[self.name].name if self.name in self.witnesses else "no witness"
        plain = all(member in self.witnesses for member in group.members)
        return f"{group.threshold} of {names}" if plain else f"the quorum {self.name} of {names}"


def all_of(keys: Iterable[WitnessKey]) -> Quorum:
    """Every one of these witnesses must have cosigned."""
    named = {f"w{place}": key for place, key in enumerate(dict.fromkeys(keys))}
    if not named:
        return Quorum("none")
    return Quorum("all", named, {"all": Group(len(named), tuple(named))})


def parse_policy(data: bytes) -> Quorum:
    """A policy file, strictly; raises ``NoteError`` that names the line."""
    text = data.decode("utf-8", "surrogateescape")
    if len(data) > MAX_POLICY_BYTES or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        raise NoteError(
            "this is not a witness policy",
            "the file of --policy",
            "write it as c2sp.org/tlog-policy says: lines that begin with log, witness or group,"
            " and one with quorum",
        )
    parser = _Parser()
    for number, line in enumerate(text.split("\n"), 1):
        words = [word for word in _SPACES.split(line) if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            parser.line(words)
        except (NoteError, ValueError) as error:
            why = error.what if isinstance(error, NoteError) else str(error)
            raise NoteError(
                f"the witness policy is not well formed: {why}",
                f"line {number}",
                "correct that line; the form is that of c2sp.org/tlog-policy",
            ) from None
    if parser.quorum is None:
        raise NoteError(
            "the witness policy has no quorum",
            "the file of --policy",
            'add the line "quorum NAME", where NAME is a witness or a group, or the line'
            ' "quorum none"',
        )
    return Quorum(parser.quorum, parser.witnesses, parser.groups, tuple(parser.logs))


class _Parser:
    def __init__(self) -> None:
        self.logs: list[Vkey] = []
        self.witnesses: dict[str, WitnessKey] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._used: set[str] = set()

    def line(self, words: list[str]) -> None:
        match words:
            case ["log", key] | ["log", key, _]:
                self._log(Vkey.parse(key))
            case ["witness", name, key] | ["witness", name, key, _]:
                self._witness(name, WitnessKey.parse(key))
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, members)
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise ValueError(
                    f"{words[0]!r} begins no line of a witness policy, or has too few or too many"
                    " words"
                )

    def _log(self, key: Vkey) -> None:
        if any(key.public_key == other.public_key for other in self.logs):
            raise ValueError("the same log key twice")
        self.logs.append(key)

    def _witness(self, name: str, key: WitnessKey) -> None:
        self._new(name)
        if any(key.public_key == other.public_key for other in self.witnesses.values()):
            raise ValueError("the same witness key twice")
        self.witnesses[name] = key

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._new(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise ValueError(f"{member!r} is no witness or group of a line before")
            if member in self._used:
                raise ValueError(f"{member!r} is a member twice")
            self._used.add(member)
        count = {"any": 1, "all": len(members)}.get(threshold) or decode_decimal(threshold)
        if not 1 <= count <= len(members):
            raise ValueError(f"{count} of {len(members)} members cannot be asked for")
        self.groups[name] = Group(count, tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise ValueError("a second quorum")
        if name != "none" and name not in self.witnesses and name not in self.groups:
            raise ValueError(f"{name!r} is no witness or group of a line before")
        self.quorum = name

    def _new(self, name: str) -> None:
        if name == "none" or name in self.witnesses or name in self.groups:
            raise ValueError(f"the name {name!r} is taken")
        if len(self.witnesses) + len(self.groups) >= _MAX_NAMES:
            raise ValueError("too many names")
