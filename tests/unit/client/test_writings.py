"""Writings that a process waits for before it ends."""

from __future__ import annotations

import threading

import pytest

from akiosctl.writings import Writings
from akiosd.errors import AkiosError


def test_what_has_begun_is_waited_for_and_nothing_begins_after() -> None:
    writings, said = Writings(), list[int]()
    inside, go, over = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with writings.one():
            inside.set()
            go.wait(60)

    def wait() -> None:
        writings.wait(said.append)
        over.set()

    writers = [threading.Thread(target=write, daemon=True) for _ in range(2)]
    for one in writers:
        one.start()
    assert inside.wait(60)
    writings.close()
    with pytest.raises(AkiosError, match="nothing is written any more"), writings.one():
        raise AssertionError("it began")
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert not over.wait(0.1)
    go.set()
    assert over.wait(60) and len(said) == 1


def test_one_that_fails_is_over() -> None:
    writings, said = Writings(), list[int]()
    with pytest.raises(OSError), writings.one():
        raise OSError
    writings.close()
    writings.wait(said.append)
    assert said == []
