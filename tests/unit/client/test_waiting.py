"""A client whose connection nobody takes yet: systemd listens while akiosd restarts."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosctl import client
from akiosctl.client import GoneError, PlainClient
from akiosctl.plain_msgpack import pack
from akiosd.wire.frame import encode_frame


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "_QUIET_S", 0.01)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
        made.listen()
        yield made


def test_it_says_that_it_waits_and_gives_up_with_words(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.02)
    with pytest.raises(GoneError, match="has not answered") as caught:
        PlainClient("s").receive()
    assert "systemctl status" in caught.value.next
    assert "waiting until it is back" in capfd.readouterr().err


def test_an_answer_that_comes_late_is_an_answer(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = PlainClient("s")
    hello = {"m": "hello", "protocol": client.PROTOCOL, "software": "x", "policy": b"late"}
    said: list[str] = []

    class Stderr:
        """The daemon comes back once the client has said that it waits."""

        def write(self, text: str) -> None:
            if not said:
                taken, _ = listener.accept()
                taken.sendall(encode_frame(pack(hello)))
                taken.close()
            said.append(text)

    monkeypatch.setattr(sys, "stderr", Stderr())
    assert waiting.system_digest() == b"late"
    assert "waiting until it is back" in "".join(said)
    waiting.close()


def test_a_hello_that_comes_alone_is_no_message_that_is_ready(listener: socket.socket) -> None:
    """Who polls would else wait for the next one, deaf to signals, and fall with an akiosd that is
    killed before it has answered.
    """
    polls = PlainClient("s")
    taken, _ = listener.accept()
    with taken:
        taken.sendall(encode_frame(pack({"m": "hello", "protocol": client.PROTOCOL})))
        assert not polls.feed() and not polls.ready
        taken.sendall(encode_frame(pack({"m": "ok", "id": 1})))
        assert polls.feed() and polls.ready, "the control"
        assert polls.receive()[0]["m"] == "ok"
    with pytest.raises(GoneError):
        polls.feed()
    polls.close()
