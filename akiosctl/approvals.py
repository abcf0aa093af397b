"""Questions of workflows to a person, and their answers.

A run that waits listens at a socket in the user's own state, where nothing that runs in a cage can
connect; and who answers is known from the connection (SO_PEERCRED, unix(7)), never from what is
said: that user, or root.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from akiosctl.run_policy import user_directory
from akiosd.errors import AkiosError
from akiosd.values.approval import Approval, answer, expire, stop

_MAX = 1 << 20
_PATIENCE_S = 5.0
"""How long a run listens to one person who says nothing, while others may want to answer."""
_LONGEST_S = 30 * 86_400


def directory() -> Path:
    """Where the sockets of questions are."""
    return Path(user_directory("XDG_STATE_HOME", ".local/state")) / "approvals"


def question_of(outputs: Mapping[str, Any], message: str) -> Approval:
    """The question of a step, waiting, whatever its result says of an answer: that was written in
    a cage.  ``message`` is what the workflow asks.  Raises AkiosError for no question.
    """
    try:
        said = msgspec.convert(outputs, Approval)
    except msgspec.ValidationError as error:
        raise AkiosError(
            f"the step could not ask its question: {error}", next="see akiosctl why"
        ) from None
    return Approval(message, said.asked_ns, said.until_ns)


def wait_answer(
    asked: Approval,
    name: str,
    about: dict[str, Any],
    longest_s: float,
    listening: Callable[[], None],
) -> Approval:
    """Wait until a person answers ``asked``, or its time is over.  ``about`` is shown with it.

    ``longest_s`` bounds the wait, 0 for no further bound; ``listening`` is called once answers are
    taken.  Raises AkiosError where nobody could be
    asked.
    """
    patience_s = min((asked.until_ns - asked.asked_ns) / 1e9, _LONGEST_S)
    until = time.monotonic() + (min(patience_s, longest_s) if longest_s else patience_s)
    place = directory()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _failed(place, error) from None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            try:
                _remove(fd, name)
                server.bind(_address(fd, name))
                server.listen(8)
            except OSError as error:
                raise _failed(place / name, error) from None
            listening()
            while asked.state == "waiting" and (left := until - time.monotonic()) > 0:
                server.settimeout(left)
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    break
                with connection:
                    asked = _hear(connection, asked, about)
    finally:
        _remove(fd, name)
        os.close(fd)
    return expire(asked, asked.until_ns) if asked.state == "waiting" else asked


def _hear(connection: socket.socket, asked: Approval, about: dict[str, Any]) -> Approval:
    """Show the question to who connected, and take an answer if one comes."""
    connection.settimeout(_PATIENCE_S)
    try:
        uid = _peer(connection)
        if uid not in (os.getuid(), 0):
            return asked
        _send(connection, about | msgspec.to_builtins(asked))
        said = _receive(connection)
        if said.get("stop") is True:
            answered = stop(asked, time.time_ns())
        elif isinstance(said.get("yes"), bool):
            comment = str(said.get("comment", ""))[:2000]
            answered = answer(asked, said["yes"], _name(uid), time.time_ns(), comment)
        else:
            return asked
    except (OSError, AkiosError):
        return asked  # they are gone, or said nothing that is an answer
    with contextlib.suppress(OSError):  # who left without hearing it has answered all the same
        _send(connection, msgspec.to_builtins(answered))
    return answered


def list_waiting() -> list[dict[str, Any]]:
    """Every question that waits, with its ``id``, the oldest first."""
    found = []
    for path in sorted(directory().glob("*")):
        try:
            with _connected(path.name) as client:
                found.append({**_receive(client), "id": path.name})
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # its run was killed
        except (OSError, AkiosError):
            continue  # its run is over
    return sorted(found, key=lambda one: int(one.get("asked_ns", 0)))


def give_answer(name: str, yes: bool, comment: str) -> dict[str, Any]:
    """Say yes or no to the question ``name``; returns it as answered.  Raises AkiosError."""
    try:
        with _connected(name) as client:
            _receive(client)
            _send(client, {"yes": yes, "comment": comment})
            return _receive(client)
    except OSError:
        raise no_question(name) from None


def stop_question(name: str) -> None:
    """Say that the run that asks ``name`` is stopped, which is nobody's answer; one that was
    answered meanwhile, or is over, is no error.
    """
    with contextlib.suppress(OSError, AkiosError), _connected(name) as client:
        _receive(client)
        _send(client, {"stop": True})
        _receive(client)


def no_question(name: str) -> AkiosError:
    """Of one that is not there, or does not wait any more."""
    known = ", ".join(str(one["id"]) for one in list_waiting())
    return AkiosError(
        f"no question {name!r} waits for an answer",
        "akiosctl approvals",
        f"those that wait: {known}" if known else "none waits now",
    )


def _connected(name: str) -> socket.socket:
    if not name or "/" in name:
        raise AkiosError(
            f"{name!r} is not the number of a question",
            "akiosctl approvals",
            "see akiosctl approvals",
        )
    fd = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(2 * _PATIENCE_S)
    try:
        client.connect(_address(fd, name))
    except BaseException:
        client.close()
        raise
    finally:
        os.close(fd)
    return client


def _address(fd: int, name: str) -> str:
    """The path of a socket is at most 108 bytes (unix(7)), which a home may have already."""
    return f"/proc/self/fd/{fd}/{name}"


def _remove(fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        pass


def _peer(connection: socket.socket) -> int:
    """The uid of the other side."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid{uid}"


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket) -> dict[str, Any]:
    """One line.  Raises AkiosError for anything else."""
    data = b""
    while not data.endswith(b"\n") and len(data) < _MAX:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        data += piece
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise AkiosError(
            "your answer was sent, and the run that asked did not confirm it",
            next="see whether its question still waits: akiosctl approvals list",
        )
    return said


def _failed(place: Path, error: OSError) -> AkiosError:
    return AkiosError(
        f"nobody can be asked: {error.strerror}", str(place), "check the mode of that directory"
    )
