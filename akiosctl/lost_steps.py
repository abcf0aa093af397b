"""What akiosd knows of steps that were started and not heard of: their cages, and what those spent.

The cage of an attempt has the journal's hash among its arguments, by which it is found.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from akiosctl.cages import list_cages
from akiosctl.journal_file import JournalFile, Kept
from akiosd.errors import AkiosError
from akiosd.workflow.journal import Intent, Line, Lost, look_back

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosd.wire.messages import CageInfo


class Daemon(Protocol):
    """Where akiosd is."""

    def connect(self) -> Client: ...


_PATIENCE_S = 30.0
"""A cage whose client was killed ends at once; longer nobody waits for its last call."""


def find_lost(client: Client, journal: JournalFile) -> None:
    """Append to the journal what each unknown attempt spent, where akiosd can tell."""
    for intent, head in _unknown(journal.lines, journal.head):
        lost = _look(client, intent, head)
        if lost is not None:
            journal.append(lost)


def with_lost(daemon: Daemon, found: Sequence[Kept]) -> list[Kept]:
    """The same, with what akiosd says of their unknown attempts behind their lines; as they are
    where it is away, where a cage runs still, and where all is known.
    """
    if not any(look_back(one.lines).at_most for one in found):
        return list(found)
    try:
        with daemon.connect() as client:
            cages = list_cages(client)
    except AkiosError:
        return list(found)
    return [_with_lost(one, cages) for one in found]


def _with_lost(kept: Kept, cages: Sequence[CageInfo]) -> Kept:
    if not look_back(kept.lines).at_most:
        return kept
    lost = []
    for intent, head in _unknown(kept.lines, kept.head):
        cage = next((one for one in cages if head.encode() in one.argv), None)
        if cage is not None and cage.ended_ns:
            lost.append(_lost(intent, cage))
    return kept._replace(lines=(*kept.lines, *lost))


def _unknown(lines: Sequence[Line], head: str) -> list[tuple[Intent, str]]:
    """Each attempt that was not heard of, and the journal's hash when it was started."""
    heads = {
        (line.step, line.instance): after.before
        for line, after in itertools.pairwise(lines)
        if isinstance(line, Intent)
    }
    last = lines[-1]
    if isinstance(last, Intent):
        heads[last.step, last.instance] = head
    return [(intent, heads[place]) for place, intent in look_back(lines).unknown.items()]


def _look(client: Client, intent: Intent, head: str) -> Lost | None:
    """None where akiosd remembers too little: then it may have spent all that it might."""
    place = {"step": intent.step, "instance": intent.instance}
    until = time.monotonic() + _PATIENCE_S
    while True:
        cages = list_cages(client)
        cage = next((one for one in cages if head.encode() in one.argv), None)
        if cage is None:
            is_known = not cages or any(one.started_ns <= intent.ts for one in cages)
            return Lost(**place) if is_known else None  # type: ignore[arg-type]
        if cage.ended_ns:
            return _lost(intent, cage)
        if time.monotonic() > until:
            return None
        time.sleep(0.05)


def _lost(intent: Intent, cage: CageInfo) -> Lost:
    return Lost(
        step=intent.step,
        instance=intent.instance,
        cage=cage.cage,
        usd_micro=cage.usd_micro,
        # How many it used is not told of an ended cage.
        tokens=intent.tokens if cage.calls else 0,
        calls=cage.calls,
    )
