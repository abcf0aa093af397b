"""The verdict on a log: its own files, compared with everything that is known about it from
elsewhere.

One function for all ways to reach a log: files, the daemon, an archive; each only brings readers.
What is known or asked for and cannot be checked becomes a verdict, never a note.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from akiosd.errors import LedgerError
from akiosd.ledger.host_word import CageWord, HostWord
from akiosd.ledger.key_list import log_key, open_key_list
from akiosd.ledger.merkle import PYTHON, Hasher
from akiosd.ledger.note import Checkpoint, NoteError, Vkey, open_checkpoint, parse_note
from akiosd.ledger.quorum import Quorum
from akiosd.ledger.report import Anchor, History, LogReader, Report, Verdict, VerdictError
from akiosd.ledger.verify import verify_log
from akiosd.values.ids import HOST_LOG, is_cage_id
from akiosd.values.records import CageDestroyed, escape

NOTHING = Quorum("none")


@dataclass(frozen=True)
class Trust:
    """Whose word is taken for a log, and what was carried away from it earlier.

    ``vkey``: the key of this log or of any log of its host, under that log's own name. ``pin``: a
    checkpoint kept earlier. ``head``: what a running akiosd remembers to have published.
    ``cosigned``: checkpoints with cosignatures, of which one must satisfy ``quorum``. ``key_list``:
    see :mod:`akiosd.ledger.key_list`. ``beside``: the key came with the log, which says nothing
    about who made it.
    """

    vkey: Vkey
    pin: bytes | None = None
    head: Anchor | None = None
    cosigned: tuple[bytes, ...] = ()
    quorum: Quorum = NOTHING
    key_list: bytes | None = None
    beside: bool = False


@dataclass
class _Known:
    """Checkpoints known from elsewhere: anchors, and the notes whose signatures are still to be
    checked.
    """

    anchors: list[Anchor] = field(default_factory=list)
    notes: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, name: str, note: bytes, origin: str) -> None:
        try:
            found = Checkpoint.parse(parse_note(note).text)
        except NoteError as error:
            raise VerdictError(
                Verdict.UNTRUSTED, name, f"the {name} is damaged: {error.what}"
            ) from None
        if found.origin != origin:
            raise VerdictError(
                Verdict.UNTRUSTED, name, f"the {name} is of another log, {found.origin}"
            )
        self.anchors.append(Anchor(name, found.size, found.root))
        self.notes.append((name, note))

    def check_signatures(self, vkeys: Iterable[Vkey]) -> None:
        keys = list(vkeys)
        for name, note in self.notes:
            try:
                open_checkpoint(note, *keys)
            except NoteError as error:
                raise VerdictError(Verdict.UNTRUSTED, name, f"the {name}: {error.what}") from None


def judge(
    reader: LogReader | None,
    trust: Trust,
    log: str,
    *,
    host: HostWord | None = None,
    history: History | None = None,
    hasher: Hasher = PYTHON,
) -> Report:
    """The report on the log called ``log`` (a cage's id, or ``host``), whose files ``reader``
    reads.

    ``reader`` is None when there are no files. ``host``: what the host's log says, if it was asked.
    ``history``: checkpoints kept beside the log. Raises ``OSError`` only when reading itself fails.
    """
    vkey = log_key(trust.vkey, log) if log else trust.vkey
    try:
        report = _judge(reader, replace(trust, vkey=vkey), log, host, history, hasher)
    except VerdictError as bad:
        report = Report(bad.verdict, vkey.name, first_bad=bad.first_bad, detail=bad.detail)
    except NoteError as error:
        report = Report(Verdict.UNTRUSTED, vkey.name, first_bad=error.where, detail=error.what)
    except LedgerError as error:
        report = Report(Verdict.TAMPERED, vkey.name, first_bad=error.where, detail=error.what)
    return replace(report, notes=(*report.notes, BESIDE)) if trust.beside else report


BESIDE = "the public key was taken from beside the log"


def _judge(
    reader: LogReader | None,
    trust: Trust,
    log: str,
    host: HostWord | None,
    history: History | None,
    hasher: Hasher,
) -> Report:
    word, kin = _ask_host(host, trust.vkey, log)
    if trust.key_list is not None:
        kin |= open_key_list(trust.key_list, trust.vkey)
    known = _known_checkpoints(trust)
    if trust.head is not None:
        known.anchors.append(trust.head)
    if word is not None and word.destroyed is not None:
        known.check_signatures(_under(trust.vkey, kin))
        _check_cosigned(host, word.destroyed_at, "tells of its destruction")
        anchors = [*known.anchors, *_listed(word)]
        return _destroyed(word.destroyed, anchors, trust.vkey.name, reader is not None)
    if reader is None:
        raise VerdictError(
            Verdict.INCOMPLETE, log, _why_missing(word, known.anchors, host is not None)
        )
    anchors = [*known.anchors, *_listed(word)]
    report = verify_log(reader, trust.vkey, tuple(anchors), hasher, kin, history=history)
    # A note that no key of this log signed says nothing: also where it contradicts the log.
    known.check_signatures(_under(trust.vkey, kin | report.keys))
    if report.exit_code != 0:
        return report
    if history is not None:
        history.check_signatures(list(_under(trust.vkey, report.keys)))
    _check_anchored(report, anchors)
    if host is not None and (word is None or word.size is None):
        raise VerdictError(
            Verdict.INCOMPLETE, "host log", "the host's log, though asked, does not list this log"
        )
    _check_cosigned(host, word.listed_at if word is not None else None, "lists this log first")
    return report


def _listed(word: CageWord | None) -> list[Anchor]:
    return (
        [Anchor("host log", word.size, word.root)]
        if word is not None and word.size is not None
        else []
    )


def _under(vkey: Vkey, keys: Iterable[bytes]) -> list[Vkey]:
    return [vkey, *(Vkey(vkey.name, key) for key in keys if key != vkey.public_key)]


def _ask_host(
    host: HostWord | None, vkey: Vkey, log: str
) -> tuple[CageWord | None, frozenset[bytes]]:
    """What the host's log says of this one, and the keys it names."""
    if host is None:
        return None, frozenset()
    found = host.report
    if found.exit_code != 0:
        blamed = blame_host(found)
        raise VerdictError(blamed.verdict, blamed.first_bad, blamed.detail)
    if vkey.public_key not in found.keys:
        raise VerdictError(
            Verdict.UNTRUSTED,
            "host log",
            "the key of this log is none of those that the host's log names",
        )
    return host.cages.get(log), found.keys


def blame_host(report: Report) -> Report:
    """The report on a cage's log whose anchor, the host's log, does not verify."""
    detail = f"the host log is {report.verdict}: {report.detail}"
    return Report(report.verdict, first_bad=report.first_bad, detail=detail)


def _check_cosigned(host: HostWord | None, index: int | None, what: str) -> None:
    """Witnesses that are asked for on this log's behalf must have seen the host's log say so."""
    if host is None or host.cosigned is None or (index is not None and index < host.cosigned):
        return
    detail = (
        f"the host's log {what} in entry {index}, and witnesses cosigned it at size"
        f" {host.cosigned}, before that"
    )
    raise VerdictError(Verdict.UNTRUSTED, "witness", detail)


def cosigned_size(trust: Trust) -> int:
    """The size of the longest known checkpoint that enough of the witnesses asked for cosigned; 0
    if none is known.
    """
    sizes = [0]
    for note in trust.cosigned:
        try:
            if trust.quorum.is_met(note):
                sizes.append(Checkpoint.parse(parse_note(note).text).size)
        except NoteError:
            continue  # said where the log itself is judged
    return max(sizes)


def _known_checkpoints(trust: Trust) -> _Known:
    known = _Known()
    if trust.pin is not None:
        known.add("pin", trust.pin, trust.vkey.name)
    if not trust.quorum.asks:
        return known
    try:
        met = [note for note in trust.cosigned if trust.quorum.is_met(note)]
    except NoteError as error:
        raise VerdictError(
            Verdict.UNTRUSTED, "witness", f"a kept checkpoint is damaged: {error.what}"
        ) from None
    if not met:
        seen = sorted({name for note in trust.cosigned for name in trust.quorum.cosigners(note)})
        by = f"by {', '.join(seen)} only" if seen else "by none of them"
        what = (
            f"cosignatures are asked for, {trust.quorum.describe()}, and the known checkpoints are"
            f" cosigned {by}"
        )
        raise VerdictError(Verdict.UNTRUSTED, "witness", what)
    for note in met:
        names = " and ".join(sorted(trust.quorum.cosigners(note)))
        known.add(f"witness {names}", note, trust.vkey.name)
    return known


def _check_anchored(report: Report, anchors: list[Anchor]) -> None:
    """A pruned log can no longer be compared with anchors that are older than its first entry:
    INCOMPLETE.
    """
    for anchor in anchors:
        if anchor.size < report.minimum:
            detail = (
                f"{anchor.name} is of size {anchor.size}, before what is left ({report.minimum}):"
                " it cannot be checked"
            )
            raise VerdictError(Verdict.INCOMPLETE, anchor.name, detail)


def _why_missing(word: CageWord | None, anchors: list[Anchor], asked: bool) -> str:
    if word is not None and word.size is not None:
        return (
            f"there is no such log, though the host's log lists it at size {word.size}: its files"
            " are gone"
        )
    if word is not None:
        return "there is no such log, though the host's log tells of its birth"
    if anchors:
        return (
            f"there is no such log, though it was {anchors[0].size} entries long"
            f" ({anchors[0].name})"
        )
    return "there is no such log" + (", and the host's log does not name it" if asked else "")


def _destroyed(record: CageDestroyed, anchors: list[Anchor], origin: str, files: bool) -> Report:
    for anchor in anchors:
        if anchor.size > record.size:
            detail = (
                f"it was destroyed at size {record.size}, and {anchor.size} entries long before"
                f" ({anchor.name})"
            )
            raise VerdictError(Verdict.ROLLBACK, "host log", detail)
        if anchor.size == record.size and anchor.root != record.root:
            detail = (
                f"at size {anchor.size} the log had another root ({anchor.name}): two histories"
            )
            raise VerdictError(Verdict.FORK, "host log", detail)
    notes = [f"how: {escape(record.method)}"] if record.method else []
    notes += ["files of it are there, and were not looked at"] if files else []
    notes += [
        f"{anchor.name} is of size {anchor.size}, before the end: only the host's log speaks for"
        " what came after"
        for anchor in anchors
        if anchor.size < record.size and anchor.name != "host log"
    ]
    return Report(
        Verdict.DESTROYED,
        origin=origin,
        size=record.size,
        root=record.root,
        anchors=(("host log", record.size),),
        detail=f"destroyed on purpose, as the host log's record of {record.ts} ns says",
        notes=tuple(notes),
    )


def name_of(trusted: Vkey | None, beside: str, origin: str) -> str:
    """Which log is meant: by its directory's name, else by what its checkpoint or the given key
    says.

    ``beside`` is the directory's name, or what the caller said; ``origin`` what the log says of
    itself, unverified.
    """
    if beside == HOST_LOG or is_cage_id(beside):
        return beside
    named = trusted.name.rpartition("/")[2] if trusted is not None else ""
    if named and named != HOST_LOG:
        return named
    return origin.rpartition("/")[2] or named
