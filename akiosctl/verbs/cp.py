"""``akiosctl cp``: files into a standing cage, and out of it."""

from __future__ import annotations

import errno
import json
import os
import shlex
from typing import Any

import click

from akiosctl.begin_program import ask
from akiosctl.commands import print_line, wants_json
from akiosctl.copy_in import Packing
from akiosctl.copy_out import Extraction
from akiosctl.piped_program import Piped
from akiosctl.programs import find_standing
from akiosctl.render import count_files, escape, note
from akiosctl.tar_reader import TarReader
from akiosctl.tar_words import Named, next_step, read_words
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import AT_FDCWD, RESOLVE_NO_SYMLINKS, openat2
from akiosd.values.units import parse_size

_TAR = "/usr/bin/tar"
_PUT = """
new=$1
shift
for one; do
    to=./${one#"$new"/}
    if [ -d "$one" ] && [ ! -L "$one" ]; then
        [ -d "$to" ] && [ ! -L "$to" ] && continue
        why=$(mkdir -- "$to" 2>&1) && continue
    elif [ -d "$to" ] && [ ! -L "$to" ]; then
        why="File exists"
    else
        part=${to%/*}/.akios-$$
        why=$(/usr/bin/cp -dT --preserve=mode,timestamps -- "$one" "$part" 2>&1) &&
            why=$(mv -fT -- "$part" "$to" 2>&1) && continue
        rm -f -- "$part"
    fi
    echo "tar: ${to#./}: Cannot open: ${why##*: }" >&2
    failed=1
done
exit "${failed:-0}"
"""
"""Of what could not be linked to its place, as from one file system to another."""
UNPACK = f"""
put={shlex.quote(_PUT)}
if [ -d "$1" ]; then kind=directory name=$4; cd -- "$1"; else kind=name name=$3; cd -- "$2"; fi ||
    exit 3
merged() {{ [ -d "$name" ] && [ ! -L "$name" ]; }}
new=$(mktemp -d ./.akios-XXXXXXXX 2>/dev/null) ||
    {{ merged && new=$(mktemp -d "./$name/.akios-XXXXXXXX" 2>/dev/null); }} || {{
    echo "$kind"
    exec /usr/bin/tar -x -f - --no-same-owner
}}
trap 'rm -rf -- "$new"' EXIT
trap 'exit 143' TERM
echo "$kind whole"
/usr/bin/tar -x -f - --no-same-owner -C "$new" || exit
[ -e "$new/$5" ] || exit
why="File exists"
if merged; then
    if [ -d "$new/$name" ]; then
        /usr/bin/cp -rlfT --preserve=mode,timestamps -- "$new/$name" "./$name" 2>/dev/null && exit
        find "$new/$name" '(' -type d -o -links 1 ')' -exec sh -c "$put" sh "$new" {{}} +
        exit
    fi
elif [ ! -d "$new/$name" ] || [ ! -e "$name" ] && [ ! -L "$name" ]; then
    why=$(mv -fT -- "$new/$name" "./$name" 2>&1) && exit
fi
echo "tar: $name: Cannot open: ${{why##*: }}" >&2
exit 1
"""
"""Whether the target is a directory is found out by the program that writes into it.  Nothing takes
its place before all of it is there: behind the last file comes a mark.  What is not there, or is no
directory, is there whole or as it was, also where this program is killed; into a directory of that
name each file is, by a link(2) under another name and a rename(2), which ``cp -lf`` makes.
"""
_MARK = ".akios-whole"
_NOWHERE = 3
"""What that ends with where it finds no directory; tar(1) has 0 to 2."""
_MOST_TOLD = 10
_MOST = 10 << 30


@click.command("cp")
@click.argument("source")
@click.argument("target")
@click.option("--most", default="10G", show_default=True, help="How much may be copied at most.")
@click.option(
    "--protected",
    is_flag=True,
    help="Also write names that programs here obey, as .git/hooks and .envrc.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, source: str, target: str, most: str, protected: bool, as_json: bool
) -> int:
    """Copy SOURCE to TARGET, one of which is NAME:PATH, in the standing cage NAME.

    Files are read and written outside with your rights.  No link is followed there, not even on the
    way to SOURCE or TARGET, and none that leads out of what was copied is made.  A name that a
    program of yours would obey by itself is not written without --protected.
    """
    inside = [split(word) for word in (source, target)]
    if (inside[0] is None) == (inside[1] is None):
        raise AkiosError(
            "one of SOURCE and TARGET has to be NAME:PATH, a path in the cage NAME, and the other a"
            " path outside",
            "akiosctl cp",
            "see akiosctl cp --help",
        )
    if inside[1] is not None:
        done: Packing | Extraction = copy_in(ctx.obj.path, source, *inside[1], parse_size(most))
    else:
        assert inside[0] is not None
        done = copy_out(ctx.obj.path, *inside[0], target, parse_size(most), protected)
    for path, why in done.skipped.first[:_MOST_TOLD]:
        note(f"not copied: {escape(path)}: {escape(why)}")
    if done.skipped.count > _MOST_TOLD:
        note(f"not copied: {done.skipped.count - _MOST_TOLD} more")
    if wants_json(ctx, as_json):
        report = {
            "files": done.files,
            "bytes": done.bytes,
            "skipped": [
                {"path": escape(path), "why": escape(why)} for path, why in done.skipped.first
            ],
            "skipped_count": done.skipped.count,
        }
        print(json.dumps(report))
    else:
        print_line(f"{count_files(done.files)}, {done.bytes} bytes")
    return 1 if done.skipped.count else 0


def split(word: str) -> tuple[str, str] | None:
    """(cage, path inside) of ``NAME:PATH``; None for a file here, which may be written
    ``./a:b``.
    """
    name, colon, path = word.partition(":")
    return (name, path) if colon and name and "/" not in name else None


def copy_in(path: str, source: str, name: str, target: str, most: int = _MOST) -> Packing:
    """Copy ``source`` of the user's to ``target`` in the standing cage ``name`` of the akiosd at
    ``path``, ``most`` bytes at most.
    """
    cage = _find(path, name)
    source = source.rstrip("/") or "/"
    if os.path.basename(source) in ("", ".", ".."):
        source = os.path.abspath(source)
    place = _inside(cage, target)
    directory, _, called = place.rstrip("/").rpartition("/")
    here, last = os.path.split(source)
    fd = open_directory(here or ".")
    try:
        words = ["/bin/sh", "-c", UNPACK, "sh", place, directory or "/", called, last, _MARK]
        program = Piped(path, str(cage["cage"]), words, f"in {place}")
        said = program.stdout.readline().split()
        is_directory = said[:1] == [b"directory"]
        if not is_directory and target.endswith("/"):
            program.finish()
            raise AkiosError(
                f"{target} is not a directory in {name}",
                "cp",
                "make that directory first, or write a file: leave out the / at the end",
            )
        packing = Packing(program.stdin, most)
        mark = _MARK if b"whole" in said else ""
        _pack(packing, program, fd, last, last if is_directory else called, source, mark)
    finally:
        os.close(fd)
    code = program.finish()
    if code:
        nowhere = Named(directory or "/", "it is not there, or is no directory for programs there")
        named = nowhere if code == _NOWHERE else next(read_words(program.words), None)
        raise _failed("written", name, place, code, named)
    return packing


def _pack(
    packing: Packing,
    program: Piped,
    directory: int,
    last: str,
    called: str,
    source: str,
    mark: str,
) -> None:
    try:
        packing.add(directory, last, called)
        packing.close(mark)
    except BrokenPipeError:
        packing.give_up()  # tar has ended; its words tell why
    except OSError as error:
        packing.give_up()
        program.finish()
        raise AkiosError(
            f"{source} cannot be read: {os.strerror(error.errno or 0)}", "cp", "check its name"
        ) from None
    except AkiosError:
        packing.give_up()
        program.finish()
        raise
    except BaseException:
        packing.give_up()
        program.abandon()
        raise


def copy_out(
    path: str, name: str, source: str, target: str, most: int, protected: bool = False
) -> Extraction:
    """Copy ``source`` in the standing cage ``name`` of the akiosd at ``path`` to ``target``,
    ``most`` bytes at most; ``protected`` names, which programs of the user's act on, only where
    that is said.
    """
    cage = _find(path, name)
    place = _inside(cage, source).rstrip("/")
    directory, _, called = place.rpartition("/")
    if os.path.isdir(target):
        parent, final = target, called
    else:
        parent, final = os.path.split(target.rstrip("/"))
    if not called or final in ("", ".", ".."):
        raise AkiosError("the whole of a cage cannot be copied", "cp", "name a directory in it")
    fd = open_directory(parent or ".")
    extraction = Extraction(fd, final, most, protected=protected)
    try:
        words = [_TAR, "-c", "-f", "-", "--format=gnu", "--hard-dereference"]
        words += ["-C", directory or "/", "--", called]
        program = Piped(path, str(cage["cage"]), words, f"out {place}")
        try:
            extraction.run(TarReader(program.stdout))
        except BaseException:
            program.stop()
            raise
    except OSError as error:
        raise _not_written(error, os.path.join(parent, final)) from None
    finally:
        os.close(fd)
    code, named = program.finish(), list(read_words(program.words))
    if code and (not extraction.found or not named):
        raise _failed("read", name, place, code, named[0] if named else None)
    for member, why in named:
        _, slash, below = member.partition("/")
        extraction.skipped.add(f"{final}{slash}{below}", why)
    return extraction


def _find(path: str, name: str) -> dict[str, Any]:
    return ask(path, lambda client: find_standing(client, name))


def _not_written(error: OSError, target: str) -> AkiosError:
    """``target``, or what its error names in it, cannot be written here."""
    what = f"{escape(target)} cannot be written: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AkiosError(what, "cp", "make room on that disk, and copy it again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AkiosError(what, "cp", "choose a directory that you may write")
    return AkiosError(
        what,
        "cp",
        "cp writes to regular files only, and through no symbolic link; choose another name",
    )


def open_directory(path: str) -> int:
    """A cage writes to data/output: what looks like a directory on the way may be a link of its."""
    try:
        flags = os.O_PATH | os.O_DIRECTORY
        return openat2(AT_FDCWD, os.fsencode(path), flags, resolve=RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise AkiosError(
                f"{path} leads through a symbolic link, and cp follows none",
                "cp",
                f"name the path that the link leads to instead: {os.path.realpath(path)}",
            ) from None
        raise AkiosError(
            f"{path} cannot be opened: {error.strerror}", "cp", "check its name"
        ) from None


def _inside(cage: dict[str, Any], path: str) -> str:
    """An absolute path inside; others start at the project."""
    slash = "/" if path.endswith("/") else ""
    return os.path.normpath(os.path.join(os.fsdecode(cage["workspace"]), path)) + slash


def _failed(done: str, cage: str, place: str, code: int, named: Named | None) -> AkiosError:
    """What the program in the cage said, as an error of a copy of ``place``."""
    directory = os.path.dirname(place.rstrip("/"))
    if named is None:
        return AkiosError(
            f"{cage}:{place} was not {done}: tar in the cage ended with status {code}",
            "cp",
            f"see whether it works: akiosctl run --cage {cage} -- tar --version",
        )
    path = os.path.join(directory, named.path)
    return AkiosError(
        f"{cage}:{escape(path)} cannot be {done}: {named.why}",
        "cp",
        next_step(named.why, cage, escape(os.path.dirname(path))),
    )
