"""What akiosd answers where a cage, or a program in one, is to start: it started, or why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from akiosctl.client import BegunError, DaemonError, PlainClient
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds

_SEE = "see akiosctl doctor, and the log of akiosd: journalctl -u akiosd"
_NOT_STARTED = {
    "failed_start": _SEE,
    "internal": _SEE,
    "not_found": "check the name and the path of the command",
    "cannot_execute": "check the mode of that file, and its first line if it is a script",
    "stopped": "run the command again",
}
"""What helps, by the kind of the reason why a cage did not start (``akiosd.cage.reasons``)."""
NEVER_HELD = "not held: "  # akiosd.cage.domain_posture.NOT


def take_started(client: PlainClient, number: int) -> tuple[dict[str, Any], list[int]]:
    """The reply to Run or Attach.  Raises :class:`DaemonError` when that is an error."""
    message, fds = client.receive()
    if message["m"] == "error":
        raised = BegunError if message.get("begun") else DaemonError
        raise raised(
            message.get("what", ""),
            message.get("where", ""),
            message.get("next", ""),
            message.get("code", 125),
        )
    if message["m"] == "ended":
        # It failed before it started: what the cage could not be given is in the reason, and what
        # helps is there too, where akiosd knows it.
        reason, _, next = str(message.get("reason", "")).partition("; next: ")
        kind = str(message.get("kind", ""))
        raise DaemonError(
            reason,
            f"cage {message.get('cage', '')}",
            next or _NOT_STARTED[kind if kind in _NOT_STARTED else "stopped"],
            message.get("exit_code", 125),
        )
    if message["m"] != "started" or message.get("id", 0) != number:
        close_fds(fds)
        raise AkiosError(
            "akiosd sent an answer that does not fit the question",
            message["m"],
            "install the same version of akiosd and akiosctl",
        )
    return message, fds


def missing_layers(posture: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each layer that is less than enforced; one for all that akiosd's mode never holds,
    which are many and the same each time.
    """
    lines, never = [], []
    for layer in posture:
        if layer["status"] == "enforced":
            continue
        if layer["detail"].startswith(NEVER_HELD):
            never.append(layer["layer"])
        else:
            lines.append(f"{layer['layer']}: {layer['status']} ({layer['detail']})")
    if never:
        lines.append(f"policy mode, not held: {', '.join(never)} (what that means: -v)")
    return lines
