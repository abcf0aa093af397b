"""Where logs are met, as known hosts are kept: one place may have several names, and each is one
host's.
"""

from __future__ import annotations

import os
from pathlib import Path

from akiosctl.pins import known_hosts, pinned_origins
from akiosd.ledger.epochs import host_of
from akiosd.ledger.report import Report, Verdict
from akiosd.values.ids import is_cage_id


def find_alarm(met: tuple[str, ...], origin: str) -> Report | None:
    """Whether another host than the one that was met there before now answers in its place, with
    the log ``origin``.
    """
    host, _, log = origin.rpartition("/")
    before = known_hosts(met)
    if not before and is_cage_id(log):
        others = {host_of(pinned) for pinned in pinned_origins(log)}
        before = {met[0]: min(others)} if others and host not in others else {}
    for place, other in before.items():
        if other != host:
            detail = (
                f"this is {host}, and what was pinned here is {other}: another host's logs in its"
                " place, or a host set up anew; if you know why, akiosctl ledger pin --renew"
            )
            return Report(Verdict.UNTRUSTED, origin, first_bad=place, detail=detail)
    return None


def names_on_disk(directory: Path) -> tuple[str, ...]:
    """A log's directory or archive; and, where it lies as akiosd has it, the state directory, which
    is one host's.
    """
    # The log itself may be a link that was put there; those above it lead to the place.
    above, name = Path(os.path.realpath(directory.parent)), directory.name
    is_host = (above.name, name) == ("ledger", "host")
    is_cage = above.parent.name == "cages" and is_cage_id(above.name)
    state = above.parent if is_host else above.parent.parent if is_cage else None
    return (
        f"directory {os.path.realpath(directory)}",
        *([f"state {state}"] if state is not None else []),
    )


def names_by_daemon(path: str, got: list[int]) -> tuple[str, ...]:
    """The names of the same place for whoever reads its files: if what the daemon gave is what is
    there for us too.
    """
    try:
        if not got or not os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(got[0])):
            return ()
    except OSError:
        return ()
    return names_on_disk(Path(path))
