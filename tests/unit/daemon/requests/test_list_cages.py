"""``List``: who is shown what, and that no caller's cages can make the answer larger than a
frame.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from akiosctl.cages import find_cage, list_cages
from akiosd.cage.remembered import Remembered
from akiosd.daemon.base.config import Config
from akiosd.daemon.base.peers import Peer, Role
from akiosd.daemon.cages.pending_changes import KeptCage
from akiosd.daemon.cages.registry import MAX_LISTED, Registry, cut_argv
from akiosd.daemon.requests.cage_requests import CageRequests
from akiosd.daemon.requests.standing_requests import StandingRequests
from akiosd.errors import AkiosError, DeniedError
from akiosd.kernel.user_tree import identify
from akiosd.values.ids import make_cage_id
from akiosd.wire.frame import MAX_FRAME
from akiosd.wire.messages import CageInfo, Cages, Down, List, Ok

LONG = CageInfo(
    "c-" + "0" * 12,
    1,
    "u" * 32,
    "ended",
    cut_argv((b"\xff" * 10**6,)),
    b"/" * 4095,
    0,
    reason="r" * 1024,
)


def of(uid: int, number: int, **more: Any) -> KeptCage:
    info = msgspec.structs.replace(
        LONG, cage=make_cage_id(number.to_bytes(8, "big")), uid=uid, **more
    )
    return KeptCage(
        info=info,
        owner=(uid, uid),
        inside=(1, 1),
        host_id=0,
        host_gid=0,
        disk_size=0,
        workspace_id=(0, 0),
        protect=(),
    )


class Asker:
    """A client whose requests the real handler answers, without a socket between."""

    def __init__(self, kept: list[KeptCage], role: Role, uid: int) -> None:
        self.registry = Registry.__new__(Registry)
        self.registry._host = SimpleNamespace(config=Config())  # type: ignore[assignment]
        self.registry.running, self.registry._outputs = {}, {}
        self.registry.kept = {one.info.cage: one for one in kept}
        self.registry.ended = Remembered()
        self._peer = Peer(uid, uid, 1, (), role, reads_all=role != "user")
        self.sizes: list[int] = []

    def call(
        self, request: List, _expected: type[Cages], fds: Sequence[int] = ()
    ) -> tuple[Cages, list[int]]:
        answers: list[Cages] = []

        async def reply(message: Cages) -> None:
            answers.append(message)

        with pytest.raises(StopIteration):
            CageRequests(self.registry, SimpleNamespace()).list(  # type: ignore[arg-type]
                self._peer, request, list(fds), SimpleNamespace(reply=reply)
            ).send(None)  # type: ignore[arg-type]
        self.sizes.append(len(msgspec.msgpack.encode(answers[0])))
        return answers[0], []

    def list(self, everyone: bool) -> list[CageInfo]:
        return list_cages(self, everyone)  # type: ignore[arg-type]


def test_any_number_of_long_command_lines_fits() -> None:
    asker = Asker([of(7, number) for number in range(3 * MAX_LISTED + 1)], "root", 0)
    found = asker.list(everyone=True)
    assert len(found) == len({info.cage for info in found}) == 3 * MAX_LISTED + 1
    assert len(asker.sizes) == 4 and max(asker.sizes) < MAX_FRAME


def test_a_full_page_is_not_followed_by_an_empty_one() -> None:
    asker = Asker([of(7, number) for number in range(MAX_LISTED)], "user", 7)
    assert len(asker.list(everyone=False)) == MAX_LISTED and len(asker.sizes) == 1


def test_a_command_line_that_fits_is_whole() -> None:
    argv = (b"sh", b"-c", b"x" * 4000)
    assert cut_argv(argv) == argv and cut_argv((*argv, b"y" * 200))[-1].startswith(b"y" * 80)


@pytest.mark.parametrize(("role", "everyone", "shown"), [
    ("user", False, {7}), ("user", True, {7}), ("admin", False, {7}), ("admin", True, {7, 8}),
    ("root", True, {7, 8}), ("monitor", True, {7, 8}), ("monitor", False, {7}),
])  # fmt: skip
def test_whose_cages_are_shown(role: Role, everyone: bool, shown: set[int]) -> None:
    asker = Asker([of(7, 1), of(8, 2)], role, 7)
    assert {info.uid for info in asker.list(everyone)} == shown


@pytest.mark.parametrize(("role", "uid", "may"), [
    ("root", 0, True), ("user", 8, True), ("user", 7, False), ("admin", 7, False), ("monitor", 7, False),
])  # fmt: skip
def test_whose_changes_may_be_looked_at(role: Role, uid: int, may: bool) -> None:
    """An administrator stops others' cages and reads their logs; the files of others are root's to
    read, not theirs.
    """
    theirs = of(8, 2)
    asker = Asker([theirs], role, uid)
    with nullcontext() if may else pytest.raises(DeniedError, match="no ended cage"):
        assert asker.registry.find_kept(asker._peer, theirs.info.cage) is theirs


WHO: dict[str, tuple[Role, int]] = {
    "root": ("root", 0), "admin": ("admin", 7), "its user": ("user", 8), "its user, an admin": ("admin", 8),
    "another": ("user", 7), "monitor": ("monitor", 8),
}  # fmt: skip
EVERY_OWNER = {"root", "its user", "its user, an admin", "monitor"}
"""A monitor's own is destroyed by nobody before this: they may not send such a request."""


@pytest.mark.parametrize(
    ("standing", "changes", "door", "may"),
    [
        (False, True, "discard", EVERY_OWNER),
        (True, True, "discard", EVERY_OWNER),
        (True, True, "cage down", EVERY_OWNER),
        (True, False, "cage down", EVERY_OWNER | {"admin"}),
        (False, False, "cage down", set()),
        (True, False, "ledger destroy", EVERY_OWNER | {"admin"}),
        (False, False, "ledger destroy", {"root", "admin", "its user, an admin"}),
    ],
)
def test_one_table_says_who_may_destroy_what(
    standing: bool, changes: bool, door: str, may: set[str], tmp_path: Path
) -> None:
    cage = of(8, 2, standing=standing, ended_ns=1)
    name = cage.info.cage
    (tmp_path / name).mkdir()
    found = set()
    for who, (role, uid) in WHO.items():
        asker = Asker([cage] if changes else [], role, uid)
        asker.registry._host.cages_dir = tmp_path  # type: ignore[misc]
        if not changes:
            asker.registry.ended.add(cage.info)
        doors = {
            "discard": partial(asker.registry.find_kept, asker._peer, name),
            "cage down": partial(asker.registry.find_down, asker._peer, name),
            "ledger destroy": partial(asker.registry.may_destroy_log, asker._peer, name),
        }
        try:
            found |= {who} if doors[door]() else set()
        except DeniedError:
            continue
    assert found == may


def test_what_was_destroyed_is_not_down(tmp_path: Path) -> None:
    cage = of(8, 2, standing=True, ended_ns=1)
    asker = Asker([], "root", 0)
    asker.registry.ended.add(cage.info)
    asker.registry._host.cages_dir = tmp_path  # type: ignore[misc]
    asker.registry._removed = trio.Event()
    answers: list[object] = []

    async def reply(message: object) -> None:
        answers.append(message)

    nobody: Any = None
    standing = StandingRequests(nobody, asker.registry, nobody, nobody)
    client: Any = SimpleNamespace(reply=reply)
    down = partial(standing.down, asker._peer, Down(cage=cage.info.cage), [], client)
    with pytest.raises(DeniedError, match="no standing cage"):
        asker.registry.find_down(asker._peer, cage.info.cage)
    with pytest.raises(DeniedError, match="no standing cage"):
        trio.run(down)
    (tmp_path / cage.info.cage).mkdir()  # the control
    assert asker.registry.find_down(asker._peer, cage.info.cage) == cage.info
    trio.run(down)
    assert answers == [Ok()]


def test_last_is_the_last_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a user who starts a cage at the right moment has root commit it."""
    monkeypatch.chdir(tmp_path)
    fd = os.open(tmp_path, os.O_PATH)
    here = identify(fd)
    os.close(fd)
    mine, theirs = of(0, 1, order=1, directory=here), of(8, 2, order=2, directory=here)
    asker = Asker([mine, theirs], "root", 0)
    assert find_cage(asker, "last").cage == mine.info.cage  # type: ignore[arg-type]
    assert find_cage(asker, theirs.info.cage).cage == theirs.info.cage  # type: ignore[arg-type]
    with pytest.raises(AkiosError, match="you have no cages"):
        find_cage(Asker([theirs], "root", 0), "last")  # type: ignore[arg-type]


class _Running:
    """A cage of ``uid``, as far as the registry looks at one that is measured."""

    def __init__(self, uid: int) -> None:
        self.peer = SimpleNamespace(uid=uid)


@pytest.mark.parametrize(("role", "everyone", "shown"), [
    ("user", True, {7}), ("admin", False, {7}), ("admin", True, {7, 8}), ("monitor", True, {7, 8}),
])  # fmt: skip
def test_whose_cages_are_measured(role: Role, everyone: bool, shown: set[int]) -> None:
    asker = Asker([], role, 7)
    cages: Any = {"c-1": _Running(7), "c-2": _Running(8), "c-3": _Running(7)}
    asker.registry.running = cages
    page, more = asker.registry.running_page(asker._peer, everyone, "")
    assert {cage.peer.uid for cage in page} == shown and not more
    rest, _ = asker.registry.running_page(asker._peer, everyone, "c-2")
    assert rest == [cages["c-3"]]


def test_cages_are_measured_page_by_page() -> None:
    asker = Asker([], "root", 0)
    cages: Any = {f"c-{number:03}": _Running(7) for number in range(MAX_LISTED + 1)}
    asker.registry.running = cages
    page, more = asker.registry.running_page(asker._peer, True, "")
    assert len(page) == MAX_LISTED and more
    assert asker.registry.running_page(asker._peer, True, f"c-{MAX_LISTED - 1:03}")[1] is False
