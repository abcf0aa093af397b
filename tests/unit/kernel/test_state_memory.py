"""A state memory in the kernel: one process writes, another reads it after the first was killed."""

from __future__ import annotations

import os
import signal

import pytest

from akiosd.cage.state_format import StateError
from akiosd.kernel.fds import Fd
from akiosd.kernel.state_memory import StateMemory, read_boot

WHOLE = 5000


def test_what_was_written_outlives_its_writer() -> None:
    memory = StateMemory.create(read_boot(), {"life": b"begun"})
    held = memory.fd.dup()
    memory.write("life", b"running")
    memory.write("spend", bytes(100_000))
    memory.close()
    memory.close()
    with Fd(held.take()) as again:
        found = StateMemory.open(again.dup(), read_boot())
        assert found.sections == {"life": b"running", "spend": bytes(100_000)}
        found.write("life", b"ending")
        found.close()
        assert StateMemory.open(again.dup(), read_boot()).sections["life"] == b"ending"


def test_a_damaged_memory_is_refused_and_closed() -> None:
    memory = StateMemory.create(read_boot(), {"life": b"begun"})
    memory.write("life", b"running")
    with memory.fd.dup() as other:
        os.pwrite(other.fileno(), b"\xff", 8)
        copy = other.dup()
        with pytest.raises(StateError, match="damaged"):
            StateMemory.open(copy, read_boot())
        assert copy.closed
    memory.close()


def test_a_killed_writer_leaves_one_whole_content() -> None:
    memory = StateMemory.create(read_boot(), {"life": b"begun"})
    memory.write("life", bytes(WHOLE))
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        for turn in range(1 << 30):
            memory.write("life", bytes([turn & 0xFF]) * WHOLE)
            if turn == 50:
                os.write(write_end, b"x")
    os.close(write_end)
    assert os.read(read_end, 1) == b"x"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read_end)
    found = StateMemory.open(memory.fd.dup(), read_boot())
    content = found.sections["life"]
    assert content == content[:1] * WHOLE
    found.close()
    memory.close()
