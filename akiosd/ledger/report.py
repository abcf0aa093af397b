"""What a verification reads and what it returns: readers and anchors in, a verdict with its exit
code out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from akiosd.errors import LedgerError
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, decode_bundle, encode_bundle
from akiosd.ledger.edge import TILE_BYTES
from akiosd.ledger.merkle import HASH_BYTES
from akiosd.ledger.note import Checkpoint, Vkey
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile


class Verdict(Enum):
    """What was found, with the exit code of ``akiosctl ledger verify``."""

    OK = ("OK", 0)
    OK_RECOVERED = ("OK-RECOVERED", 0)
    DESTROYED = ("DESTROYED", 0)
    TAMPERED = ("TAMPERED", 1)
    ROLLBACK = ("ROLLBACK", 2)
    FORK = ("FORK", 2)
    INCOMPLETE = ("INCOMPLETE", 3)
    UNTRUSTED = ("UNTRUSTED", 4)

    @property
    def exit_code(self) -> int:
        """What ``akiosctl ledger verify`` exits with."""
        return self.value[1]

    def __str__(self) -> str:
        return self.value[0]


@dataclass(frozen=True)
class Report:
    """The result of a verification.

    ``anchored_to`` says what, apart from the log itself, vouches for it; ``nothing`` means that
    whoever holds the signing key could have rewritten everything. ``anchors`` are pairs of an
    anchor's name and the size up to which it vouches. ``first_bad`` is a path or ``entry N``.
    ``vkey`` is the key that signs the log now, ``keys`` are all public keys it has named. Entries
    below ``minimum`` were pruned.
    """

    verdict: Verdict
    origin: str = ""
    size: int = 0
    root: bytes = b""
    anchors: tuple[tuple[str, int], ...] = ()
    first_bad: str = ""
    detail: str = ""
    notes: tuple[str, ...] = ()
    vkey: str = ""
    keys: frozenset[bytes] = frozenset()
    minimum: int = 0

    @property
    def exit_code(self) -> int:
        """The exit code of the verdict."""
        return self.verdict.exit_code

    @property
    def anchored_to(self) -> str:
        """What vouches for the log, as one text."""
        return ", ".join(name for name, _ in self.anchors) or "nothing"


def describe_anchors(report: Report) -> str:
    """For people: what vouches for the log, and for how much of it where that is not all."""
    parts = [
        name if size == report.size else f"{name} (up to {size})" for name, size in report.anchors
    ]
    return ", ".join(parts) or "nothing"


def describe(report: Report) -> Mapping[str, object]:
    """The report as plain values, for ``--json``."""
    return {
        "verdict": str(report.verdict),
        "exit_code": report.exit_code,
        "origin": report.origin,
        "size": report.size,
        "minimum": report.minimum,
        "root": report.root.hex(),
        "anchored_to": report.anchored_to,
        "anchors": [{"name": name, "size": size} for name, size in report.anchors],
        "first_bad": report.first_bad,
        "detail": report.detail,
        "notes": list(report.notes),
        "vkey": report.vkey,
    }


class VerdictError(Exception):
    """Ends a verification with this verdict."""

    def __init__(self, verdict: Verdict, first_bad: str, detail: str) -> None:
        super().__init__(detail)
        self.verdict, self.first_bad, self.detail = verdict, first_bad, detail


@dataclass(frozen=True)
class Anchor:
    """A tree head known from elsewhere; ``name`` says from where (``pin``, ``host log``).

    ``vouches``: it is kept outside the host's daemon, so that a report may name it as what the log
    is anchored to.
    """

    name: str
    size: int
    root: bytes
    vouches: bool = True


class LogReader(Protocol):
    """The files of one log, by path below its directory."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The whole file; None when it does not exist.

        ``LedgerError`` when it is no regular file, or larger than ``limit`` bytes.
        """

    def files(self) -> Iterator[str]:
        """The path of every file.  ``LedgerError`` at anything that is neither file nor
        directory.
        """


def read_tile(reader: LogReader, tile: Tile) -> bytes | None:
    """A tile or bundle; None when it is missing.  Raises ``LedgerError``.

    A partial one may be missing because it has become full: then the beginning of the full one is
    returned (c2sp.org/tlog-tiles, "Partial Tiles").
    """
    limit = MAX_BUNDLE_BYTES if tile.level == ENTRIES else TILE_BYTES
    data = reader.read(tile.path, limit)
    if data is not None or tile.width == WIDTH:
        return data
    full = Tile(tile.level, tile.index)
    whole = reader.read(full.path, limit)
    if whole is None:
        return None
    if tile.level != ENTRIES:
        return whole[: tile.width * HASH_BYTES]
    try:
        return encode_bundle(decode_bundle(whole, WIDTH)[: tile.width])
    except LedgerError as error:
        raise LedgerError(error.what, where=full.path) from None


class History(Protocol):
    """Checkpoints kept beside a log: the log must agree with them, but they vouch for nothing."""

    @property
    def sizes(self) -> Sequence[int]:
        """Ascending."""

    def read(self, size: int) -> tuple[str, bytes, Checkpoint]:
        """Its path, the note and what that says; its signature is not verified.  Raises
        ``LedgerError``.
        """

    def check_signatures(self, keys: Sequence[Vkey]) -> None:
        """Raise ``LedgerError`` unless each is signed by one of ``keys``."""
