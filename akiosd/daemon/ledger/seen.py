"""Notices at the start that the ledger was replaced by an older one while this host was up.

What was last published is remembered in the runtime directory, which a restore of the state
directory leaves alone.  It is gone after a reboot; from then on only pins and witnesses know.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from akiosd.daemon.base.log import get_log
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import LedgerError
from akiosd.values.ids import HOST_LOG

SEEN = "host.seen"
"""Lines: origin, size and root (base64) of the host's log, as in a checkpoint."""
_MAX_BYTES = 4096
_log = get_log("seen")


def refuse_older(ledger: Ledger, runtime_dir: Path) -> None:
    """Raises :class:`LedgerError` when the host's log is behind what was published of it here.

    A log of another name is another history: pins tell that.
    """
    path = runtime_dir / SEEN
    try:
        with open(path, "rb") as file:
            origin, size, root = file.read(_MAX_BYTES).decode("ascii").splitlines()
        seen = int(size)
    except FileNotFoundError:
        return
    except ValueError:
        _log.warning("what was published before cannot be read", file=str(path))
        return
    edge = ledger.state.sequencer.logs[HOST_LOG].published
    if origin != ledger.origin(HOST_LOG) or edge.size > seen:
        return
    if edge.size < seen or _encode(edge.root()) != root:
        what = (
            f"the host's log has {edge.size} published records, and does not hold all {seen} that"
            " it had before akiosd stopped: an older state was put in its place"
        )
        next = (
            f"restore a newer backup; or, to go on from the older one, remove {path}:"
            " pins and witnesses will then say ROLLBACK"
        )
        raise LedgerError(what, "ledger/host", next)


async def remember(ledger: Ledger, runtime_dir: Path) -> None:
    """Keep the file as new as what is published, for ever."""
    path = runtime_dir / SEEN
    fresh, written = path.with_suffix(".new"), -1
    while True:
        progress = ledger.state.progress
        edge = ledger.state.sequencer.logs[HOST_LOG].published
        if edge.size > written:
            written = edge.size
            text = f"{ledger.origin(HOST_LOG)}\n{edge.size}\n{_encode(edge.root())}\n"
            try:
                fresh.write_text(text)
                os.replace(fresh, path)
            except OSError as error:
                _log.warning("what was published is not remembered", why=str(error))
        await progress.wait()


def _encode(root: bytes) -> str:
    return base64.b64encode(root).decode()
