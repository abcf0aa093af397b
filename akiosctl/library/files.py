"""Pieces of files in a standing cage, read and written by programs inside: they see what the cage's
programs see, and nothing else.
"""

from __future__ import annotations

from akiosctl.client import PlainClient
from akiosctl.library.values import CageError
from akiosctl.piped_program import Piped
from akiosctl.render import escape

_LONGEST_SECONDS = "20"
_DD = ("/usr/bin/timeout", _LONGEST_SECONDS, "/usr/bin/dd", "bs=64K", "status=none")
"""What is no file may never answer, as a pipe that nobody writes to."""
_SEE = "see that it is there in the cage, and that the agent may use it"


def write_piece(client: PlainClient, cage: str, place: str, data: bytes, offset: int = 0) -> None:
    """Write ``data`` at ``offset``; at 0 what was there before goes.  Raises :class:`CageError`."""
    more = ("conv=notrunc", "oflag=seek_bytes", f"seek={offset}") if offset else ()
    program = Piped(client, cage, [*_DD, f"of={place}", *more])
    try:
        program.stdin.write(data)
        program.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended; its words tell why
    _finish(program, place)


def read_piece(client: PlainClient, cage: str, place: str, most: int, offset: int = 0) -> bytes:
    """At most ``most`` bytes from ``offset`` on.  Raises :class:`CageError`."""
    flags = "iflag=fullblock,skip_bytes,count_bytes"
    words = [*_DD, f"if={place}", flags, f"skip={offset}", f"count={most}"]
    program = Piped(client, cage, words)
    data = program.stdout.read()
    _finish(program, place)
    return data


def _finish(program: Piped, place: str) -> None:
    code = program.finish()
    if code == 124:
        what = f"{place} answered nothing within {_LONGEST_SECONDS} s"
        raise CageError(what, place, "name a regular file: a pipe or a device may never answer")
    if code:
        raise CageError(escape(program.words) or f"{place} cannot be copied", place, _SEE)
