"""What a start makes of the cages that ran when the daemon before it was killed: an agent's work is
never dropped.
"""

from __future__ import annotations

import errno
import resource
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from akiosd.daemon.cages import pending_changes
from akiosd.errors import KernelError
from akiosd.kernel.disk import Disks
from akiosd.values.ids import DirectoryId
from akiosd.wire.messages import CageInfo

CAGE = "c-000000000001"


class Slot:
    def __init__(self, empty: bool) -> None:
        self._empty, self.released = empty, 0

    def is_empty(self) -> bool:
        return self._empty

    def release(self) -> None:
        self.released += 1


class FakeDisks:
    """``answers``: what each attempt to mount the disk gives."""

    def __init__(self, *answers: Slot | Exception) -> None:
        self.answers = list(answers)

    def reopen(self, _directory: Path, _size: int) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def begun(base: Path, **more: Any) -> pending_changes.KeptCage:
    info = CageInfo(
        CAGE,
        7,
        "me",
        "running",
        (b"agent",),
        b"/w",
        1,
        pid=42,
        directory=DirectoryId(1, 2, 3),
        order=9,
    )
    values: dict[str, Any] = {"boot": pending_changes.read_boot(), **more}
    kept = pending_changes.KeptCage(
        info=info,
        owner=(7, 7),
        inside=(1000, 1000),
        host_id=5,
        host_gid=5,
        disk_size=1,
        protect=(),
        workspace_id=(1, 2),
        workspace_born_ns=3,
        **values,
    )
    (base / CAGE).mkdir()
    pending_changes.begin(base / CAGE, kept)
    return kept


def busy() -> OSError:
    return OSError(errno.EBUSY, "the image is bound to a loop device already")


@pytest.mark.parametrize(("make", "kept"), [
    (lambda: FakeDisks(Slot(empty=False)), True),
    (lambda: FakeDisks(Slot(empty=True)), False),
    (lambda: FakeDisks(busy(), busy(), Slot(empty=False)), True),
    (lambda: FakeDisks(busy(), Slot(empty=True)), False),
    (lambda: FakeDisks(FileNotFoundError(errno.ENOENT, "no disk")), False),
    (lambda: FakeDisks(OSError(errno.EIO, "broken")), True),
    (lambda: FakeDisks(KernelError("cannot be mounted", errno=errno.EINVAL)), True),
])  # fmt: skip
def test_what_was_changed_is_kept_and_the_rest_remembered(
    tmp_path: Path, make: Callable[[], FakeDisks], kept: bool
) -> None:
    """What cannot be looked at may hold an agent's work: it is kept too."""
    running, disks = begun(tmp_path), make()
    assert pending_changes.recover(tmp_path, cast(Disks, disks), {}) == ([CAGE] if kept else [])
    info = (
        pending_changes.load_all(tmp_path)[CAGE].info
        if kept
        else pending_changes.load_ended(tmp_path)[0]
    )
    assert (info.state, info.changes, info.exit_code, info.reason) == (
        "ended",
        kept,
        137,
        pending_changes.LOST,
    )
    assert (
        info.ended_ns
        and not info.pid
        and (info.order, info.directory) == (9, running.info.directory)
    )
    assert len(list((tmp_path / CAGE).iterdir())) == 1, "one record, in one state"
    assert all(slot.released == 1 for slot in disks.answers if isinstance(slot, Slot))
    assert pending_changes.recover(tmp_path, cast(Disks, disks), {}) == [], "once"


def test_after_a_stop_of_the_host_it_says_so(tmp_path: Path) -> None:
    begun(tmp_path, boot="another")
    pending_changes.recover(tmp_path, cast(Disks, FakeDisks(Slot(empty=False))), {})
    assert pending_changes.load_all(tmp_path)[CAGE].info.reason == pending_changes.LOST_WITH_HOST


def test_an_end_that_was_written_down_before_the_kill_stands(tmp_path: Path) -> None:
    running = begun(tmp_path)
    (tmp_path / CAGE / "running.msgpack").rename(tmp_path / "copy")
    info = msgspec.structs.replace(running.info, reason="exited 0", changes=True)
    ended = msgspec.structs.replace(running, info=info)
    pending_changes.save(tmp_path / CAGE, ended)
    (tmp_path / "copy").rename(tmp_path / CAGE / "running.msgpack")
    assert pending_changes.recover(tmp_path, cast(Disks, FakeDisks(Slot(empty=True))), {}) == []
    assert (
        pending_changes.load_all(tmp_path) == {CAGE: ended}
        and not (tmp_path / CAGE / "running.msgpack").exists()
    )


@pytest.mark.parametrize("empty", [True, False])
def test_an_end_that_only_the_log_has_stands_too(tmp_path: Path, empty: bool) -> None:
    """Killed in the middle of an end.  The control is above: without it, the agent was lost."""
    begun(tmp_path)
    assert pending_changes.list_running(tmp_path) == [CAGE]
    disks = cast(Disks, FakeDisks(Slot(empty=empty)))
    pending_changes.recover(tmp_path, disks, {CAGE: (77, 3, "exited 3", "")})
    kept = pending_changes.load_all(tmp_path)
    assert empty or kept[CAGE].lost == ""
    info = pending_changes.load_ended(tmp_path)[0] if empty else kept[CAGE].info
    assert (info.ended_ns, info.exit_code, info.reason) == (77, 3, "exited 3")
    assert info.changes is not empty


def test_a_note_that_does_not_fit_leaves_what_was_there(tmp_path: Path) -> None:
    """The kernel cuts the write short, as a full disk does; the control is the same without a
    limit.
    """
    running = begun(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, names in ((9, {"running.msgpack"}), (limits[0], {"ended.msgpack"})):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with nullcontext() if limit != 9 else pytest.raises(OSError):
                pending_changes.end(tmp_path / CAGE, running.info)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {path.name for path in (tmp_path / CAGE).iterdir()} == names


def test_a_record_cut_short_is_nothing_and_stops_no_start(tmp_path: Path) -> None:
    begun(tmp_path)
    path = tmp_path / CAGE / "running.msgpack"
    path.write_bytes(path.read_bytes()[:-9])
    assert pending_changes.recover(tmp_path, cast(Disks, FakeDisks(Slot(empty=False))), {}) == []
    assert pending_changes.list_torn(tmp_path) == [CAGE], "and its disk is not swept away"


def test_a_record_of_an_older_daemon_is_read(tmp_path: Path) -> None:
    """Without the fields that are new since."""
    (tmp_path / CAGE).mkdir()
    info = {
        "cage": CAGE,
        "uid": 7,
        "user": "me",
        "state": "ended",
        "argv": [b"x"],
        "workspace": b"/w",
        "started_ns": 1,
    }
    old = {
        "info": {**info, "changes": True},
        "owner": [7, 7],
        "inside": [1, 1],
        "host_id": 1,
        "host_gid": 1,
        "disk_size": 1,
        "workspace_id": [1, 2],
        "protect": [],
    }
    (tmp_path / CAGE / "kept.msgpack").write_bytes(msgspec.msgpack.encode(old))
    kept = pending_changes.load_all(tmp_path)[CAGE]
    assert kept.info.directory is None and kept.directory.is_same(DirectoryId(1, 2, 99))


def test_all_that_stays_in_use_is_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that takes longer for each cage on a file system that does not answer is never
    done.
    """
    cages = [f"c-00000000000{number}" for number in range(1, 9)]
    begun(tmp_path)
    for cage in cages[1:]:
        (tmp_path / cage).mkdir()
        (tmp_path / cage / "running.msgpack").write_bytes(
            (tmp_path / CAGE / "running.msgpack").read_bytes()
        )
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept), time_ns=time.time_ns)
    monkeypatch.setattr(pending_changes, "time", clock)
    assert pending_changes.recover(tmp_path, cast(Disks, FakeDisks(busy())), {}) == cages
    assert 9 < sum(slept) < 11


def test_changes_of_which_some_are_lost_are_not_whole_after_a_kill_either(tmp_path: Path) -> None:
    """The disk looks like any other."""
    begun(tmp_path)
    told = {CAGE: (5, 125, "exited 0, and some is lost", "no room")}
    assert pending_changes.recover(tmp_path, cast(Disks, FakeDisks(Slot(empty=False))), told)
    kept = pending_changes.load_all(tmp_path)[CAGE]
    assert (kept.lost, kept.info.exit_code) == ("no room", 125)
