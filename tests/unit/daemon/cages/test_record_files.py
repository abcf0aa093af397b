"""Threads that wait for a file system which does not answer are bounded for each user."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from akiosd.daemon.cages import left_behind, record_files
from akiosd.daemon.cages.record_files import FileRecorder
from akiosd.daemon.gateways.gateway_records import Book
from akiosd.errors import CageFailedError
from akiosd.kernel.fanotify import FileEvent
from akiosd.kernel.fds import Fd

ANSWER = threading.Event()
HERS, HIS = 1001, 1002


class Stalled:
    """A group with an event whose file the kernel cannot open as long as its file system is
    silent.
    """

    def __init__(self, _owner: int, _group: Fd | None) -> None:
        self.group = Fd(os.eventfd(1, os.EFD_CLOEXEC))

    def read(self) -> tuple[list[FileEvent], int]:
        ANSWER.wait(60)
        return [], 0

    def close(self) -> None:
        self.group.close()


class Quiet(Book):
    def __init__(self) -> None:
        self.records: list[object] = []

    async def append(self, records: object, *_more: object) -> None:  # type: ignore[override]
        self.records.append(records)


@pytest.fixture(autouse=True)
def silent_file_systems(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(record_files, "FileEvents", Stalled)
    monkeypatch.setattr(record_files, "_PATIENCE_S", 0.0)
    ANSWER.clear()
    yield
    ANSWER.set()


async def cage(caller: int) -> str:
    """One that begins, waits for a name, and ends; why it could not."""
    try:
        left_behind.check(caller)
    except CageFailedError as error:
        return error.what
    recorder = FileRecorder(5, caller)
    book = Quiet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run, book)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await recorder.finish(book)
        nursery.cancel_scope.cancel()
    recorder.close()
    assert len(book.records) == 1, "that names are missing is said"
    return ""


def test_one_users_silent_file_systems_take_a_few_threads_and_nobody_elses() -> None:
    async def scene() -> None:
        said = [await cage(HERS) for _ in range(left_behind.MOST + 2)]
        assert said[: left_behind.MOST] == [""] * left_behind.MOST
        assert all("still waits for" in text for text in said[left_behind.MOST :])
        assert await cage(HIS) == ""
        ANSWER.set()
        with trio.fail_after(30):
            while left_behind._waiting[HERS] + left_behind._waiting[HIS]:
                await trio.sleep(0.001)
        ANSWER.clear()
        assert await cage(HERS) == "", "what came back counts no more"
        ANSWER.set()
        with trio.fail_after(30):
            while left_behind._waiting[HERS]:
                await trio.sleep(0.001)

    trio.run(scene)
