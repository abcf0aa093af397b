"""Whether the ledger vouches for the journal of a run.

Each intent's hash, and so every line up to it, is in the birth record of the cage that did the
step; the hash of the last line in that of a cage that did nothing.  Each of these logs is verified,
and its birth read.  What is proven is that the journal was not changed since: the words in it are
those of the user's own client, as every command line in the ledger is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from akiosctl.client import DaemonError
from akiosctl.ledger_source import LogSource, open_from_daemon
from akiosctl.records_text import read_record
from akiosctl.verbs.ledger_read import read_checkpoint
from akiosctl.verbs.ledger_verify import verify_opened
from akiosd.errors import AkiosError
from akiosd.ledger.entries import entries_of, first_index
from akiosd.values.records import Birth
from akiosd.workflow.journal import Anchored, Intent, Line, Lost, Result

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosctl.journal_file import Kept
    from akiosd.wire.messages import CageInfo

State = Literal["proven", "changed", "gone"]
_FIRST_RECORDS = 64


class Witness(NamedTuple):
    """A line of the journal whose hash is in a cage's log.  ``lines``: how many it vouches for."""

    lines: int
    what: str
    cage: str
    state: State
    why: str = ""


class Proof(NamedTuple):
    """``lines`` of the journal are there, of which the first ``proven`` are vouched for."""

    lines: int
    proven: int
    witnesses: tuple[Witness, ...]

    @property
    def changed(self) -> bool:
        """Whether the ledger says otherwise than the journal."""
        return any(one.state == "changed" for one in self.witnesses)


def prove(client: Client, kept: Kept, cages: Sequence[CageInfo]) -> Proof:
    """Ask the ledger; ``cages`` are those that akiosd knows of."""
    witnesses = tuple(_ask(client, kept, number, head, cages) for number, head in _heads(kept))
    proven = max((one.lines for one in witnesses if one.state == "proven"), default=0)
    return Proof(len(kept.lines), proven, witnesses)


def _heads(kept: Kept) -> Iterator[tuple[int, str]]:
    """Each line, counted from 1, that has to do with a cage, and the hash that this has."""
    after = [*(line.before for line in kept.lines[1:]), kept.head]
    for number, (line, head) in enumerate(zip(kept.lines, after, strict=True), 1):
        if isinstance(line, Intent):
            yield number, head
        elif isinstance(line, Anchored):
            yield number, line.before


def _cage_of(lines: Sequence[Line], number: int, head: str, cages: Sequence[CageInfo]) -> str:
    """That of line ``number``, counted from 1; "" where nobody knows."""
    line = lines[number - 1]
    if isinstance(line, Anchored):
        return line.cage
    assert isinstance(line, Intent)
    place = (line.step, line.instance)
    for other in lines[number:]:
        if isinstance(other, Intent | Result | Lost) and (other.step, other.instance) == place:
            if isinstance(other, Intent):
                break  # another attempt: of this one nothing was written
            return other.cage
    return next((one.cage for one in cages if head.encode() in one.argv), "")


def _ask(client: Client, kept: Kept, number: int, head: str, cages: Sequence[CageInfo]) -> Witness:
    line = kept.lines[number - 1]
    cage = _cage_of(kept.lines, number, head, cages)
    lines, what = number, "end"
    if isinstance(line, Intent):
        what = f"{line.step}.{line.instance}.{line.attempt}"
    else:
        lines -= 1  # it names the cage, which has the hash of those before it
    if not cage:
        return Witness(lines, what, "", "gone", "no cage of it is known")
    try:
        report = verify_opened(lambda: open_from_daemon(client, cage), cage)
        if report.exit_code:
            return Witness(lines, what, cage, "changed", f"its log is {report.verdict}")
        with open_from_daemon(client, cage) as source:
            birth = _birth(source)
    except DaemonError as error:
        return Witness(lines, what, cage, "gone", error.what)
    except (AkiosError, OSError) as error:
        why = error.what if isinstance(error, AkiosError) else str(error.strerror)
        return Witness(lines, what, cage, "gone", why)
    if birth is None or not {kept.run.encode(), head.encode()} <= set(birth.argv):
        return Witness(lines, what, cage, "changed", "its birth has another hash")
    return Witness(lines, what, cage, "proven")


def _birth(source: LogSource) -> Birth | None:
    with source.reader() as reader:
        size = min(read_checkpoint(source, reader)[0].size, _FIRST_RECORDS)
        for entry in entries_of(reader, size, first_index(reader)):
            record = read_record(entry)
            if isinstance(record, Birth):
                return record
    return None
