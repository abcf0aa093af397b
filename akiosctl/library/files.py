"""Pieces of files in a standing cage, read and written by programs inside: they see what the cage's
programs see, and nothing else.
"""

from __future__ import annotations

from akiosctl.library.values import CageError
from akiosctl.piped_program import Piped
from akiosctl.render import escape

_LONGEST_SECONDS = "20"
_TIMED = ("/usr/bin/timeout", _LONGEST_SECONDS)
"""What is no file may never answer, as a pipe that nobody writes to."""
_DD = (*_TIMED, "/usr/bin/dd", "bs=64K", "status=none")
_WRITE = """
place=$1
[ ! -L "$place" ] || place=$(readlink -f -- "$place") || exit
whole() {
    [ ! -e "$place" ] && return
    [ -f "$place" ] && [ -w "$place" ] && [ -O "$place" ] && [ "$(stat -c %h -- "$place")" = 1 ]
}
whole && new=$(mktemp -- "${place%/*}/.akios-XXXXXXXX" 2>/dev/null) ||
    exec /usr/bin/dd bs=64K status=none of="$place"
trap 'rm -f -- "$new"' EXIT
trap 'exit 143' TERM
if [ -e "$place" ]; then chmod --reference="$place" -- "$new" && chmod ug-s -- "$new"
else chmod "$(printf %o $((0666 & ~0$(umask))))" -- "$new"; fi
/usr/bin/dd bs=64K status=none of="$new" conv=notrunc || exit
if [ "$(stat -c %s -- "$new")" != "$2" ]; then
    echo "not all of it came, and nothing was changed" >&2
    exit 1
fi
mv -fT -- "$new" "$place" 2>/dev/null || cat -- "$new" >"$place"
"""
"""There is never a part of it under its name, also where this program is killed: it is written
beside it, and takes its place when it is whole.  What is no file, has other names or is not to be
replaced is written to directly.
"""
_SEE = "see that it is there in the cage, and that the agent may use it"


def write_piece(path: str, cage: str, place: str, data: bytes, offset: int = 0) -> None:
    """Write ``data`` at ``offset``; at 0 what was there before goes.  ``path`` is akiosd's socket.
    Raises :class:`CageError`.
    """
    if offset:
        words = [*_DD, f"of={place}", "conv=notrunc", "oflag=seek_bytes", f"seek={offset}"]
    else:
        words = [*_TIMED, "/bin/sh", "-c", _WRITE, "sh", place, str(len(data))]
    program = Piped(path, cage, words)
    try:
        program.stdin.write(data)
        program.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended; its words tell why
    _finish(program, place)


def read_piece(path: str, cage: str, place: str, most: int, offset: int = 0) -> bytes:
    """At most ``most`` bytes from ``offset`` on.  ``path`` is akiosd's socket.  Raises
    :class:`CageError`.
    """
    flags = "iflag=fullblock,skip_bytes,count_bytes"
    words = [*_DD, f"if={place}", flags, f"skip={offset}", f"count={most}"]
    program = Piped(path, cage, words)
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
