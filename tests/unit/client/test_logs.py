"""``logs``: which lines are the last ones, since when, and a copy that never waits."""

from __future__ import annotations

import os
import threading

import pytest

from akiosctl.output_copy import OutputCopy
from akiosctl.since import parse_since
from akiosctl.verbs.logs import last_lines
from akiosd.wire.output import Frame

TEXTS = ("", "a", "a\n", "\n", "a\nb", "a\nb\n", "a\n\nb\n\n", "one\ntwo\nthree\nfour")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("cut", [1, 2, 3, 100])
def test_the_last_lines_are_those_of_tail(text: str, cut: int) -> None:
    """Wherever the frames were cut; as tail(1) of the same bytes."""
    data = text.encode()
    frames = [Frame(at, at, data[at : at + cut]) for at in range(0, len(data), cut)]
    for count in range(6):
        found = b"".join(frame.data for frame in last_lines(frames, count))
        lines = data.splitlines(keepends=True)
        assert found == b"".join(lines[len(lines) - count :] if count < len(lines) else lines)


def test_since_is_a_duration_or_a_time() -> None:
    now = 1_800_000_000 * 10**9
    assert parse_since("10m", now) == now - 600 * 10**9
    assert parse_since("2027-01-15T08:00:00+00:00", now) == now
    for bad in ("yesterday", "", "10 weeks"):
        with pytest.raises(ValueError, match=r".*"):
            parse_since(bad, now)


def test_a_copy_nobody_reads_is_bounded_and_says_what_it_dropped() -> None:
    """``take`` returns with the pipe full; what comes out later has the end of the output."""
    reader, writer = os.pipe()
    copy = OutputCopy(writer)
    for number in range(4000):
        copy.take(b"%06d " % number * 100)
    received = bytearray()

    def read() -> None:
        while data := os.read(reader, 1 << 16):
            received.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    copy.finish()
    copy.take(b"too late")
    thread.join(30)
    os.close(reader)
    assert not thread.is_alive() and received.endswith(b"003999 ")
    assert len(received) < 1_500_000 and b"bytes of output were not kept]" in received


def test_a_copy_whose_reader_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    copy = OutputCopy(writer)
    copy.take(b"x")
    copy.finish()
