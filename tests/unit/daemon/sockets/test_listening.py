"""Sockets that a service manager hands over: the right ones are served, all others are refused in
words.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosd.daemon.base import systemd
from akiosd.daemon.base.systemd import Handed, take_handed
from akiosd.daemon.sockets.listening import open_listeners
from akiosd.errors import AkiosError
from akiosd.kernel.fds import Fd


def listening(path: Path, kind: int = socket.SOCK_STREAM, listen: bool = True) -> Fd:
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.bind(str(path))
        path.chmod(0o666)
        if listen:
            made.listen()
        return Fd(made.detach())


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    # Names of sockets are short (unix(7)).
    before = os.getcwd()
    os.chdir(tmp_path)
    yield Path("run")
    os.chdir(before)


def both(runtime: Path) -> list[Fd]:
    runtime.mkdir()
    return [listening(runtime / name) for name in ("events.sock", "control.sock")]


async def test_handed_sockets_are_told_apart_by_their_paths_and_outlive_us(runtime: Path) -> None:
    listeners = await open_listeners(runtime, Handed({"clients": both(runtime)}))
    assert listeners.control.socket.getsockname() == "run/control.sock"
    assert listeners.events.socket.getsockname() == "run/events.sock"
    assert listeners.outlive
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("run/control.sock")
        await listeners.control.accept()
    listeners.close()
    assert stat.S_ISSOCK((runtime / "control.sock").stat().st_mode), "they are not ours to remove"


async def test_without_a_manager_they_are_made_and_removed(runtime: Path) -> None:
    runtime.mkdir()
    listeners = await open_listeners(runtime, Handed({}))
    assert not listeners.outlive
    assert sorted(os.listdir(runtime)) == ["control.sock", "events.sock"]
    listeners.close()
    assert os.listdir(runtime) == []


def no_socket(runtime: Path) -> list[Fd]:
    return [Fd(os.open("/dev/null", os.O_RDONLY))]


def datagrams(runtime: Path) -> list[Fd]:
    return [listening(runtime / "control.sock", socket.SOCK_DGRAM, listen=False)]


def over_tcp(runtime: Path) -> list[Fd]:
    with socket.socket(socket.AF_INET) as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        return [Fd(made.detach())]


def silent(runtime: Path) -> list[Fd]:
    return [listening(runtime / "control.sock", listen=False)]


def elsewhere(runtime: Path) -> list[Fd]:
    return [listening(Path("other.sock"))]


def one_only(runtime: Path) -> list[Fd]:
    return [listening(runtime / "control.sock")]


def twice(runtime: Path) -> list[Fd]:
    one = listening(runtime / "control.sock")
    return [one, one.dup()]


def gone(runtime: Path) -> list[Fd]:
    made = one_only(runtime)
    (runtime / "control.sock").unlink()
    return made


def replaced(runtime: Path) -> list[Fd]:
    made = gone(runtime)
    (runtime / "control.sock").touch()
    return made


def a_users(runtime: Path) -> list[Fd]:
    made = one_only(runtime)
    os.chown(runtime / "control.sock", 12345, 12345)
    return made


def shut(runtime: Path) -> list[Fd]:
    made = one_only(runtime)
    (runtime / "control.sock").chmod(0o066)
    return made


REFUSED = [
    (no_socket, "is not a socket"),
    (datagrams, "not a unix stream socket"),
    (over_tcp, "not a unix stream socket"),
    (silent, "does not listen"),
    (elsewhere, "a socket other than run/control.sock"),
    (one_only, "hands no socket with this path"),
    (twice, "handed over twice"),
    (gone, "is gone"),
    (replaced, "another file"),
    (a_users, "belongs to uid 12345"),
    (shut, "root itself may not connect"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
async def test_what_is_not_the_two_sockets_is_refused_and_closed(
    make: object, words: str, runtime: Path
) -> None:
    if make is a_users and os.geteuid() != 0:
        pytest.skip("needs root: changes an owner")
    runtime.mkdir()
    given = make(runtime)  # type: ignore[operator]
    numbers = [fd.fileno() for fd in given]
    with pytest.raises(AkiosError, match=words) as caught:
        await open_listeners(runtime, Handed({"clients": given}))
    assert caught.value.where and caught.value.next
    for number in numbers:
        with pytest.raises(OSError):
            os.fstat(number)


def test_handed_descriptors_are_taken_once_and_inherited_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Fd(os.open("/dev/null", os.O_RDONLY)) as null:
        os.set_inheritable(null.fileno(), True)
        monkeypatch.setattr(systemd, "handed_over", lambda *_: ((null.fileno(), "other"),))
        monkeypatch.setenv("LISTEN_FDS", "1")
        handed = take_handed()
        assert not os.get_inheritable(null.fileno()) and "LISTEN_FDS" not in os.environ
        assert handed.take("clients") == []
        handed.close_rest()
        with pytest.raises(OSError):
            os.fstat(null.fileno())
        null.take()


def test_a_descriptor_that_is_not_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "handed_over", lambda *_: ((999_999, "clients"),))
    with pytest.raises(AkiosError, match="is not open"):
        take_handed()
