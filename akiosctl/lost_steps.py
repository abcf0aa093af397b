"""What akiosd knows of steps that were started and not heard of: their cages, and what those spent.

The cage of an attempt has the journal's hash among its arguments, by which it is found.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from akiosctl.cages import list_cages
from akiosctl.journal_file import JournalFile
from akiosd.workflow.journal import Intent, Lost, look_back

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosd.wire.messages import CageInfo

_PATIENCE_S = 30.0
"""A cage whose client was killed ends at once; longer nobody waits for its last call."""


def find_lost(client: Client, journal: JournalFile) -> None:
    """Append to the journal what each unknown attempt spent, where akiosd can tell."""
    unknown = look_back(journal.lines).unknown
    heads = {
        (line.step, line.instance): after.before
        for line, after in zip(journal.lines, journal.lines[1:], strict=False)
        if isinstance(line, Intent)
    }
    last = journal.lines[-1]
    if isinstance(last, Intent):
        heads[last.step, last.instance] = journal.head
    for place, intent in unknown.items():
        lost = _look(client, intent, heads[place])
        if lost is not None:
            journal.append(lost)


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
