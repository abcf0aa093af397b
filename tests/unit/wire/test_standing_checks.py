"""What is said of standing cages is checked before anything acts on it."""

from __future__ import annotations

import msgspec
import pytest

from akiosd.errors import DeniedError
from akiosd.wire.check import check_request
from akiosd.wire.messages import (
    Bind,
    CageStatus,
    Down,
    Message,
    Pause,
    Program,
    Rejoin,
    Run,
    Signal,
    Stop,
    Tty,
)

CAGE = "c-0123456789ab"
PROGRAM = Program(cage=CAGE, argv=(b"true",), command=b"/usr/bin/true", cwd=b"/w")
UP = Run(standing=True, detach=True, name="work", workspace=b"/w", cwd=b"/w", command=b"/")
RUN = Run(argv=(b"true",), command=b"/bin/true", workspace=b"/w", cwd=b"/w", detach=True)
STEP = Run(argv=(b"true",), command=b"/usr/bin/true", workspace=b"/w", cwd=b"/w")
RUN = Run(argv=(b"true",), command=b"/bin/true", workspace=b"/w", cwd=b"/w", detach=True)
OUTPUT = Bind(path=b"/w/data/output", fd=1, kind="output")

GOOD: list[tuple[Message, int]] = [
    (PROGRAM, 0),
    (msgspec.structs.replace(PROGRAM, tty=Tty(30, 90)), 0),
    (UP, 1),
    (msgspec.structs.replace(RUN, feeds=True), 1),
    (msgspec.structs.replace(UP, binds=(OUTPUT,)), 2),
    (msgspec.structs.replace(STEP, binds=(OUTPUT,)), 2),
    (Pause(cage=CAGE), 0),
    (CageStatus(cage=CAGE), 0),
    (Down(cage=CAGE, outside="x" * 2048), 0),
    (Signal(cage=CAGE, program=3), 0),
]
BAD: list[tuple[Message, int, str]] = [
    (msgspec.structs.replace(PROGRAM, cage="work"), 0, "is not a cage"),
    (msgspec.structs.replace(PROGRAM, argv=()), 0, "no command"),
    (msgspec.structs.replace(PROGRAM, argv=(b"a\0b",)), 0, "the command holds a NUL"),
    (msgspec.structs.replace(PROGRAM, argv=(b"a", b"b", b"\0")), 0, "argument 2 holds a NUL"),
    (msgspec.structs.replace(PROGRAM, env={b"A": b"\0"}), 0, "variable 'A' holds a NUL"),
    (msgspec.structs.replace(PROGRAM, env={b"a=b": b""}), 0, "with '='"),
    (msgspec.structs.replace(PROGRAM, command=b"true"), 0, "not an absolute path"),
    (msgspec.structs.replace(PROGRAM, cwd=b"/w/../x"), 0, "not a normal path"),
    (msgspec.structs.replace(PROGRAM, tty=Tty(-1, 90)), 0, "does not exist"),
    (msgspec.structs.replace(UP, argv=(b"true",)), 1, "neither a command"),
    (msgspec.structs.replace(UP, tty=Tty()), 1, "neither a command"),
    (msgspec.structs.replace(UP, name=""), 1, "has a name"),
    (msgspec.structs.replace(UP, detach=False), 1, "has a name"),
    (msgspec.structs.replace(UP, feeds=True), 1, "sent input along"),
    (msgspec.structs.replace(RUN, feeds=True, detach=False), 1, "sent input along"),
    (msgspec.structs.replace(RUN, feeds=True, tty=Tty()), 1, "sent input along"),
    (msgspec.structs.replace(UP, binds=(msgspec.structs.replace(OUTPUT, path=b"/w/src"),)), 2,
     "something else as data/output"),
    (msgspec.structs.replace(STEP, binds=(msgspec.structs.replace(OUTPUT, path=b"/w/src"),)), 2,
     "something else as data/output"),
    (Pause(cage="../x"), 0, "is not a cage"),
    (CageStatus(), 0, "is not a cage"),
    (Down(cage=CAGE, outside="x" * 2049), 0, "too long"),
    (Signal(cage=CAGE, program=-1), 0, "negative"),
    (Stop(cage=CAGE, program=-1), 0, "negative"),
    (Rejoin(cage=CAGE, program=-1), 0, "negative"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "fds"), GOOD)
def test_what_can_be_meant_passes(message: Message, fds: int) -> None:
    check_request(message, fds)


@pytest.mark.parametrize(("message", "fds", "why"), BAD)
def test_what_cannot_be_meant_is_refused_in_words(message: Message, fds: int, why: str) -> None:
    with pytest.raises(DeniedError, match=why):
        check_request(message, fds)
