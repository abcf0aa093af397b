"""Takes standing cages down: everything in them is killed, then their data is destroyed.

    killed (akiosd) → data/output wiped (here, as the user) → disk and log wiped, tombstone (akiosd)

Each step can be done again, so a command that was killed in between is simply given again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from akiosctl.cages import identify, open_at
from akiosctl.client import Client
from akiosctl.commands import print_line
from akiosctl.data_directories import base_of, open_output
from akiosctl.render import count_files, escape, note, print_error
from akiosctl.standing_cages import find_standing, list_standing
from akiosd.errors import AkiosError
from akiosd.store.survey import survey
from akiosd.store.wipe import Emptied, How, empty, spared_by
from akiosd.values.places import DATA
from akiosd.values.units import format_size
from akiosd.wire.messages import CageInfo, Destroyed, Down, Ok

SSD = (
    "on flash storage overwriting may leave old copies behind: where that matters, the disk has to"
    " be encrypted"
)
_IF_CHANGED = "where it changed the project besides, it would be killed, and nothing destroyed"
_MOST_NAMED = 10
_LONGEST = 1500


class Asked(NamedTuple):
    """What the command line says."""

    how: How
    keep: bool
    discard: bool
    dry_run: bool
    as_json: bool


def take_down(path: str, names: Sequence[str], asked: Asked) -> int:
    """The verb; without ``names`` it means the caller's only standing cage."""
    done: list[dict[str, object]] = []
    wanted: Sequence[str | None] = names or [None]
    with Client(path) as client:
        for name in wanted:
            try:
                cage = find_standing(list_standing(client), name)
                report = _foresee(client, cage, asked) if asked.dry_run else None
                done.append(report or take_one(client, cage, asked))
            except AkiosError as error:
                print_error(error, as_json=asked.as_json)
    if asked.as_json:
        print(json.dumps(done))
    elif done and not asked.dry_run and not asked.how.fast:
        note(SSD)
    return 0 if len(done) == len(wanted) else 125


def _foresee(client: Client, cage: CageInfo, asked: Asked) -> dict[str, object]:
    _refuse_changes(cage, asked, "nothing would be destroyed")
    keep, kept = _kept(client, cage, asked)
    output = _open_output(client, cage)
    files = size = 0
    linked: tuple[str, ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
    if output is not None:
        try:
            found = [] if keep else survey(output, repairs=False)
            files, linked = sum(item.kind == "file" for item in found), spared_by(found)
            size = sum(item.size for item in found)
            unseen = tuple((item.path, item.why) for item in found if item.kind == "unseen")
        except OSError as error:
            raise _unusable(f"{escape(cage.workspace)}/{DATA['output']}", error) from None
        finally:
            os.close(output)
    if not asked.as_json:
        programs = "1 program" if cage.programs == 1 else f"{cage.programs} programs"
        state = "is down already" if cage.ended_ns else f"would be killed, with {programs}"
        print_line(f"{cage.name} ({cage.cage}) {state}; its log and its disk would be destroyed")
        where = _where(cage)
        print_line(
            f"  {where}: " + (f"would be {kept}" if keep else _amount(files, size)),
        )
        if not cage.ended_ns and not asked.discard:
            print_line(f"  {_IF_CHANGED} (akiosctl diff {cage.name})")
        for path in linked[:_MOST_NAMED]:
            print_line(f"  only its name would go, it has another elsewhere: {escape(path)}")
        for path, why in unseen[:_MOST_NAMED]:
            print_line(f"  not counted: {escape(path)}: {why}")
    return _report(cage, Emptied(files, size, linked), dry_run=True)


def take_one(client: Client, cage: CageInfo, asked: Asked) -> dict[str, object]:
    """Kill what is in one, and destroy it; what was done, as plain values.  Raises AkiosError."""
    client.call(Down(cage=cage.cage), Ok)
    down = find_standing(list_standing(client), cage.cage)
    ending = "nothing was destroyed" if cage.ended_ns else "it was killed, and nothing destroyed"
    _refuse_changes(down, asked, ending)
    keep, kept = _kept(client, cage, asked)
    emptied = None if keep else _wipe_output(client, cage, asked.how)
    outside = f"{_where(cage)}: {kept}" if emptied is None else _words(cage, emptied, asked)
    destroyed, _ = client.call(
        Down(
            cage=cage.cage,
            destroy=True,
            passes=asked.how.passes,
            fast=asked.how.fast,
            outside=outside,
        ),
        Destroyed,
    )
    if not asked.as_json:
        print_line(
            f"{cage.name} ({cage.cage}) is down; its log of {destroyed.size} records is gone"
        )
        print_line(f"  {outside}")
    left = emptied.left if emptied is not None else ()
    for path, why in left:
        note(f"not removed: {escape(path)}: {why}")
    return _report(cage, emptied or Emptied(), dry_run=False)


def _refuse_changes(cage: CageInfo, asked: Asked, ending: str) -> None:
    """Raises AkiosError where changes of the project wait that may not be destroyed."""
    if cage.ended_ns and cage.changes and not asked.discard:
        raise AkiosError(
            f"{cage.name} has uncommitted changes outside {DATA['output']}: {ending}",
            escape(cage.workspace),
            f"see them: akiosctl diff {cage.cage}; keep them: akiosctl commit {cage.cage}, then"
            f" akiosctl cage down {cage.name} again; or drop them: akiosctl cage down --discard"
            f" {cage.name}",
        )


def _kept(client: Client, cage: CageInfo, asked: Asked) -> tuple[bool, str]:
    """Whether ``data/output`` stays, and in which words: another standing cage of the project has
    the same one, and what its programs wrote is not this one's to destroy.
    """
    others = [
        escape(one.name)
        for one in list_standing(client)
        if one.cage != cage.cage and _where(one) == _where(cage)
    ]
    if asked.keep or not others:
        return asked.keep, "kept"
    return True, f"kept, as it is that of {_some(others)} too"


def _report(cage: CageInfo, emptied: Emptied, *, dry_run: bool) -> dict[str, object]:
    return {
        "cage": cage.cage,
        "name": cage.name,
        "files": emptied.files,
        "bytes": emptied.bytes,
        "spared": [escape(path) for path in emptied.spared],
        "failed": [escape(path) for path, _ in emptied.failed],
        "left": [escape(path) for path, _ in emptied.left],
        "dry_run": dry_run,
    }


def _wipe_output(client: Client, cage: CageInfo, how: How) -> Emptied:
    output = _open_output(client, cage)
    if output is None:
        return Emptied()
    try:
        return empty(output, how)
    finally:
        os.close(output)


def _where(cage: CageInfo) -> str:
    """``data/output``, for people."""
    return f"{escape(base_of(os.fsdecode(cage.workspace), cage.data))}/{DATA['output']}"


def _open_in_state(cage: CageInfo) -> int | None:
    """``data/output`` in the user's state.  Raises AkiosError: not to find it there is no reason to
    leave it.
    """
    base = base_of(os.fsdecode(cage.workspace), cage.data)
    try:
        above = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise AkiosError(
            f"the data of {cage.name} is not where it should be: {error.strerror}",
            escape(base),
            "set HOME and XDG_STATE_HOME as they were at cage up, or leave the data where it is:"
            " --keep-output",
        ) from None
    try:
        return open_output(above)
    except OSError as error:
        raise _unusable(_where(cage), error) from None
    finally:
        os.close(above)


def _open_output(client: Client, cage: CageInfo) -> int | None:
    """``data/output`` of the very directory that the cage was made for.  Raises AkiosError."""
    if cage.data == "state":
        return _open_in_state(cage)
    where = escape(cage.workspace)
    try:
        workspace = open_at(client, cage)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(where, error) from None
    try:
        found = identify(client, workspace)
        if found is None or cage.directory is None or not cage.directory.is_same(found):
            return None  # another directory under its name: nothing of this cage is in it
        return open_output(workspace)
    except OSError as error:
        raise _unusable(f"{where}/{DATA['output']}", error) from None
    finally:
        os.close(workspace)


def _unusable(where: str, error: OSError) -> AkiosError:
    return AkiosError(
        f"{where} cannot be opened: {os.strerror(error.errno or 0)}",
        where,
        "nothing was wiped; make it a directory that you may open, and run cage down again; or"
        " leave it as it is: --keep-output",
    )


def _amount(files: int, size: int) -> str:
    return f"{count_files(files)}, {format_size(size)}"


def _words(cage: CageInfo, emptied: Emptied, asked: Asked) -> str:
    """What the tombstone says of the user's directory."""
    where = _where(cage)
    words = f"{where}: {count_files(emptied.files)}, {asked.how}"
    if emptied.spared:
        words += f"; not overwritten, as they have names elsewhere: {_some(emptied.spared)}"
    if emptied.failed:
        words += f"; could not be overwritten: {_some([path for path, _ in emptied.failed])}"
    if emptied.left:
        words += f"; still there: {_some([path for path, _ in emptied.left])}"
    return words[:_LONGEST]


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(escape(path) for path in paths[:_MOST_NAMED]) + more
