"""A caller who writes the protocol by hand: any descriptor, any path, from any uid."""

from __future__ import annotations

import os
import pickle
import select
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from akiosctl.client import Client, DaemonError
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.policy import Policy
from akiosd.wire.messages import Bind, Ended, Message, Run, Started

from tests.e2e.daemon import NOBODY

Result = TypeVar("Result")


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request: refused with ``error``, or run with an ``exit_code`` and
    ``output``.
    """

    error: str = ""
    exit_code: int = -1
    output: str = ""
    cage: str = ""


def as_user(uid: int, work: Callable[[], Result]) -> Result:
    """Call ``work`` in a child that is ``uid`` and nothing more; its result, or its exception,
    comes back.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            if uid:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(uid, uid, uid)
            try:
                answer: tuple[bool, Any] = (True, work())
            except BaseException as error:
                answer = (False, error)
            with open(write_end, "wb") as out:
                pickle.dump(answer, out)
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as source:
        data = source.read()
    os.waitpid(child, 0)
    good, value = pickle.loads(data)
    if not good:
        raise value
    result: Result = value
    return result


def open_path(path: str | os.PathLike[str]) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def request(
    script: str,
    *,
    inside: bytes = b"/ws",
    binds: Sequence[tuple[bytes, str]] = (),
    policy: Policy | None = None,
    **more: Any,
) -> Run:
    """A Run of ``sh -c script``; binds are (path inside, kind), their descriptors follow the
    workspace's.
    """
    fields: dict[str, Any] = {
        "policy": policy or Policy(),
        "argv": (b"sh", b"-c", script.encode()),
        "command": b"/bin/sh",
        "cwd": b"/",
        "workspace": inside,
        "home": b"/home/agent",
        "user_name": "agent",
        "binds": tuple(Bind(path, number, kind) for number, (path, kind) in enumerate(binds, 1)),  # type: ignore[arg-type]
    }
    return Run(**(fields | more))


def send(socket: Path, message: Message, fds: Sequence[int]) -> Outcome:
    """Send it and follow it to its end; errors of every kind become an :class:`Outcome`."""
    try:
        with Client(str(socket)) as client:
            client.send(message, fds)
            received = client.receive()
            if isinstance(received.message, Ended):
                return Outcome(
                    error=received.message.reason or "ended", exit_code=received.message.exit_code
                )
            if not isinstance(received.message, Started):
                close_fds(received.fds)
                return Outcome(error=f"answered with {type(received.message).__name__}")
            cage = received.message.cage
            output = _read_all(received.fds)
            ended = client.receive().message
            assert isinstance(ended, Ended)
            return Outcome("", ended.exit_code, output, cage)
    except DaemonError as error:
        return Outcome(error=f"{error.what} ({error.where})")
    except AkiosError as error:
        return Outcome(error=f"closed: {error.what}")


def _read_all(fds: list[int]) -> str:
    stdin, *outputs = fds
    os.close(stdin)
    output = b""
    while outputs:
        for fd in select.select(outputs, [], [])[0]:
            data = os.read(fd, 1 << 16)
            output += data
            if not data:
                os.close(fd)
                outputs.remove(fd)
    return output.decode("utf-8", "surrogateescape")


def run(
    socket: Path,
    uid: int,
    script: str,
    workspace: str | os.PathLike[str],
    *trees: str | os.PathLike[str],
    **more: Any,
) -> Outcome:
    """As ``uid``: open ``workspace`` and ``trees`` with O_PATH, send :func:`request` with them,
    follow the run.

    The directory that holds a file goes with it; ``holders`` (path inside → directory) are sent in the place of it.
    """
    holders: dict[bytes, str | os.PathLike[str]] = more.pop("holders", {})

    def work() -> Outcome:
        fds = [open_path(path) for path in (workspace, *trees)]
        message, binds = request(script, **more), []
        try:
            for bind, tree in zip(message.binds, trees, strict=False):
                if os.path.isfile(tree):
                    fds.append(open_path(holders.get(bind.path, os.path.dirname(tree))))
                    bind = msgspec.structs.replace(
                        bind, holder=len(fds) - 1, name=os.fsencode(os.path.basename(tree))
                    )
                binds.append(bind)
            return send(
                socket, msgspec.structs.replace(message, binds=tuple(binds) or message.binds), fds
            )
        finally:
            close_fds(fds)

    return as_user(uid, work)
