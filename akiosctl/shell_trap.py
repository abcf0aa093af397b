"""``--exec``, ``--shell`` and their like: a line of text for a shell is refused, with the reason,
and akiosd writes into its log that somebody asked.
"""

from __future__ import annotations

from akiosctl.client import PlainClient
from akiosctl.render import note
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds

WORKFLOW = "workflow"


class ShellTrapError(AkiosError):
    """An option that asks for a shell; ``socket`` is what ``--socket`` gave before it."""

    def __init__(self, place: str, socket: str | None) -> None:
        super().__init__(
            f"{place} is refused: akiosctl gives no text to a shell, because who can put words into"
            " that text can put commands into it",
            "akiosctl run",
            "write the command as words after --: akiosctl run -- PROGRAM WORD…; a program that"
            " must have a shell names it: akiosctl run -- sh -c 'a | b'",
        )
        self.place, self.socket = place, socket


def record(path: str, place: str) -> None:
    """Have akiosd at ``path`` write down that somebody asked; says so where it cannot."""
    try:
        client = PlainClient(path)
        try:
            client.request("shell_refused", {"place": place})
            message, fds = client.receive()
            close_fds(fds)
            if message["m"] != "ok":
                raise AkiosError(str(message.get("what", message["m"])))
        finally:
            client.close()
    except AkiosError as error:
        note(f"this attempt is not in the log: {error.what}")
