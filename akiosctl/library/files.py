"""Pieces of files in a standing cage, read and written by programs inside: they see what the cage's
programs see, and nothing else.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from akiosctl.library.file_words import read_reason
from akiosctl.library.values import CageFileError
from akiosctl.piped_program import Piped
from akiosctl.programs import refuse_nul
from akiosctl.render import escape

_LONGEST_SECONDS = "20"
_TIMED = ("/usr/bin/timeout", _LONGEST_SECONDS)
"""What is no file may never answer, as a pipe that nobody writes to."""
_DD = (*_TIMED, "/usr/bin/dd", "bs=64K", "status=none")
WRITE = """
place=$1 size=$2
[ ! -L "$place" ] || place=$(readlink -vf -- "$place") || exit
directory=${place%/*}
[ -d "$directory/" ] || mkdir -p -- "$directory" || exit
if [ -e "$place" ] && [ ! -f "$place" ]; then exec /usr/bin/dd bs=64K status=none of="$place"; fi
replaced() {
    [ ! -e "$place" ] && return
    [ -w "$place" ] && [ -O "$place" ] && [ "$(stat -c %h -- "$place")" = 1 ] && [ -w "$directory" ]
}
if replaced; then new=$(mktemp -- "$directory/.akios-XXXXXXXX") || exit
else { : >>"$place"; } && new=$(mktemp -- /tmp/.akios-XXXXXXXX) || exit; fi
trap 'rm -f -- "$new"' EXIT
trap 'exit 143' TERM
/usr/bin/dd bs=64K status=none of="$new" conv=notrunc || exit
if [ "$(stat -c %s -- "$new")" != "$size" ]; then
    echo "not all of it came, and nothing was changed" >&2
    exit 1
fi
if replaced; then
    if [ -e "$place" ]; then chmod --reference="$place" -- "$new" && chmod ug-s -- "$new"
    else chmod "$(printf %o $((0666 & ~0$(umask))))" -- "$new"; fi || exit
    mv -fT -- "$new" "$place" && exit
fi
[ -e "$place" ] || exit
if ! why=$(fallocate -n -l "$size" -- "$place" 2>&1); then
    case $why in *"No space left"* | *"quota exceeded"*) echo "$why" >&2; exit 1 ;; esac
fi
/usr/bin/dd bs=64K status=none if="$new" of="$place" conv=notrunc && truncate -s "$size" -- "$place"
"""
"""There is never a part of it under its name, also where this program is killed: it is written
beside it, and takes its place when it is whole.  What has other names or is not to be replaced is
written to when all of it is there and has room; what is no file, at once.
"""


class Place(NamedTuple):
    """An absolute path inside, and how whoever asks for it calls it, printable."""

    place: str
    shown: str


def place_of(workspace: str, path: str) -> Place:
    """``path`` as a program sees it that begins in ``workspace``.  Raises AkiosError for a NUL."""
    refuse_nul(path, "path")
    place = os.path.normpath(os.path.join(workspace, path))
    return Place(place, escape(path or place))


def write_piece(path: str, cage: str, where: Place, data: bytes, offset: int = 0) -> None:
    """Write ``data`` at ``offset``; at 0 what was there before goes, and missing directories are
    made.  ``path`` is akiosd's socket.  Raises :class:`CageFileError`.
    """
    if offset:
        words = [*_DD, f"of={where.place}", "conv=notrunc", "oflag=seek_bytes", f"seek={offset}"]
    else:
        words = [*_TIMED, "/bin/sh", "-c", WRITE, "sh", where.place, str(len(data))]
    program = Piped(path, cage, words)
    try:
        program.stdin.write(data)
        program.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended; its words tell why
    _finish(program, where, "written")


def read_piece(path: str, cage: str, where: Place, most: int, offset: int = 0) -> bytes:
    """At most ``most`` bytes from ``offset`` on.  ``path`` is akiosd's socket.  Raises
    :class:`CageFileError`.
    """
    flags = "iflag=fullblock,skip_bytes,count_bytes"
    words = [*_DD, f"if={where.place}", flags, f"skip={offset}", f"count={most}"]
    program = Piped(path, cage, words)
    data = program.stdout.read()
    _finish(program, where, "read")
    return data


def _finish(program: Piped, where: Place, done: str) -> None:
    code = program.finish()
    if code == 124:
        what = f"{where.shown} answered nothing within {_LONGEST_SECONDS} s"
        next = "name a regular file: a pipe or a device may never answer"
        raise CageFileError(what, where.place, next)
    if code:
        reason = read_reason(program.words, code, os.path.dirname(where.place), done == "written")
        what = f"{where.shown} cannot be {done}: {reason.why}"
        raise CageFileError(what, where.place, reason.next, reason.errno)
