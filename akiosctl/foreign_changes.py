"""What a step of a workflow changed in a directory whose files are somebody else's word is brought
there: within the disk of the run, and while the file system has room.

In such a directory no cage writes directly, so ``data/output`` lies on the cage's own disk until
the step has ended.  What is not brought goes with the cage: nobody looks at it.
"""

from __future__ import annotations

import os
import threading

from akiosctl.changes import Diff, Plan
from akiosctl.changes.model import EntryType
from akiosctl.changes.plan import Operation, Verb
from akiosctl.client import Client
from akiosctl.commit_cage import CageView, commit_cage, discard_cage
from akiosd.cage.room import Room, floor_of
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import open_directory
from akiosd.values.places import DATA
from akiosd.values.units import format_size

_OUTPUT = os.fsencode(DATA["output"]) + b"/"
_GO_ON = "then go on with the run: POST /api/v1/workflows/runs/RUN/resume"
_EACH = 512
"""Bytes that every name counts, also one of an empty file: the disk of the host keeps it."""


class ForeignChanges:
    """Of one run, whose directory may hold ``most`` bytes with all that its steps bring.  Threads
    may ask.
    """

    def __init__(self, path: str, most: int) -> None:
        self._path, self._most = path, most
        self._writing = threading.Lock()

    def bring(self, cage: str, *, whole: bool) -> str:
        """All that an ended cage changed, or what is below data/output alone; then the rest is
        destroyed.  Returns what was left out, in words.  Raises AkiosError where nothing came.
        """
        with self._writing, Client(self._path) as client:
            try:
                plan, report, _ = commit_cage(
                    client,
                    cage,
                    # There the last one to write has its way, as in a directory that all write to.
                    skip_refused=not whole,
                    force=not whole,
                    agrees=self._check,
                    watched=False,
                    part=None if whole else keep_output,
                )
                if report.failure is not None:
                    raise AkiosError(
                        f"what this step changed could not be written: {report.failure.reason}",
                        f"cage {cage}",
                        f"remove the cause; {_GO_ON}",
                    )
                if plan.skipped and not report.done:
                    discard_cage(client, cage)
            except AkiosError as error:
                discard_cage(client, cage)
                if error.where == "commit":  # it names verbs, which the run's owner has not
                    error.next = "have the step leave those names alone, and run it again"
                raise
        if not plan.skipped:
            return ""
        first = plan.skipped[0]
        more = f", and {len(plan.skipped) - 1} more" if len(plan.skipped) > 1 else ""
        return f"not brought: {os.fsdecode(first.path)}{more}: {first.reason}"

    def _check(self, view: CageView, plan: Plan) -> None:
        try:
            new = sum(_size(view.view_fd, one) for one in plan.operations if _writes(one))
            if not new:
                return
            old = sum(_old_size(view.workspace_fd, one) for one in plan.operations)
            there = measure(view.workspace_fd)
        except OSError as error:
            what = f"the size of the files of this run cannot be measured: {error.strerror}"
            raise AkiosError(what, "limits.disk", "begin a new run") from None
        needed = there + new - old
        if needed > self._most:
            raise AkiosError(
                "with what this step wrote, the files of this run would take"
                f" {format_size(needed)}, and the largest disk limit of its steps is"
                f" {format_size(self._most)}: nothing of what it wrote was kept",
                "limits.disk",
                "write to /tmp what need not be kept, or give one step a disk of"
                f" {format_size(needed)} or more (limits: {{disk: …}}); then begin a new run",
            )
        disk = os.fstatvfs(view.workspace_fd)
        room = Room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
        keep = floor_of(view.reply.keep_free, room)
        if room.free - new < keep:
            free = format_size(max(room.free, 0))
            raise AkiosError(
                f"what this step wrote needs {format_size(new)}; {free} are free on the server's"
                f" disk, and {format_size(keep)} must stay free there: nothing of what it wrote was"
                " kept",
                "quotas.keep_free_bytes",
                f"have the administrator of the server make room there; {_GO_ON}",
            )


def keep_output(diff: Diff) -> Diff:
    """Of a comparison what lies below data/output."""
    links = {
        key: tuple(path for path in paths if path.startswith(_OUTPUT))
        for key, paths in diff.links.items()
    }
    return Diff(
        tuple(change for change in diff.changes if change.path.startswith(_OUTPUT)),
        diff.git_dirs,
        diff.moved,
        links,
        {path: one for path, one in diff.unchanged_links.items() if path.startswith(_OUTPUT)},
        diff.started_ns,
    )


def measure(directory: int) -> int:
    """Bytes of all that is below a directory.  Raises OSError.  However deep it is, few descriptors
    are open at a time: the server has other work for them.
    """
    found, waiting = 0, [b""]
    while waiting:
        path = waiting.pop()
        fd = open_directory(directory, path, readable=True)
        try:
            with os.scandir(fd) as entries:
                for one in entries:
                    found += one.stat(follow_symlinks=False).st_blocks * 512 + _EACH
                    if one.is_dir(follow_symlinks=False):
                        name = os.fsencode(one.name)
                        waiting.append(path + b"/" + name if path else name)
        finally:
            os.close(fd)
    return found


def _writes(one: Operation) -> bool:
    return one.verb not in (Verb.REMOVE, Verb.REMOVE_DIRECTORY, Verb.SET_MODE)


def _size(directory: int, one: Operation) -> int:
    if one.verb is not Verb.WRITE_FILE:
        return _EACH
    status = os.stat(one.path, dir_fd=directory, follow_symlinks=False)
    return status.st_blocks * 512 + _EACH


def _old_size(directory: int, one: Operation) -> int:
    """What goes with an operation."""
    if one.old is None or one.verb is Verb.SET_MODE:
        return 0
    if one.old.type is not EntryType.FILE or one.old.nlink > 1:
        return _EACH
    status = os.stat(one.path, dir_fd=directory, follow_symlinks=False)
    return status.st_blocks * 512 + _EACH
