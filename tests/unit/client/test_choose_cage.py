"""Which cage a verb means, over every history of directories, names, runs, failures, restarts and
verbs.

The world below does to values what users, akiosd and the kernel do: directories are made, removed
(their numbers are used again), renamed, linked to and nested; cages start, fail, end with changes
or without, are settled; akiosd is restarted and killed.  What it knows besides, the truth, is which
directory *object* each cage was started in.
"""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from akiosctl.choose_cage import MIN_PREFIX, choose
from akiosctl.confirm import is_too_much
from akiosd.cage.remembered import MAX_PER_USER, Remembered
from akiosd.errors import AkiosError
from akiosd.values.ids import DirectoryId, is_cage_name, make_cage_id
from akiosd.wire.messages import CageInfo

USERS = (0, 1000, 1001)
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclasses.dataclass(eq=False)
class Place:
    """A directory that is, or was: ``names`` are the paths that lead to it now."""

    id: DirectoryId
    names: set[str]
    alive: bool = True


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = self.order = self.births = 0
        self.places: list[Place] = []
        self.running: dict[str, CageInfo] = {}
        self.kept: dict[str, CageInfo] = {}
        self.ended = Remembered()
        self.on_disk: dict[str, CageInfo] = {}
        self.started_in: dict[str, Place] = {}
        self.unstarted: set[str] = set()

    # ---- directories -----------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        for name in ("/w/a", "/w/a/below", "/w/b"):
            self._make(name, None)

    def _make(self, name: str, inode: int | None) -> None:
        self.births += 1
        number = inode if inode is not None else 100 + len(self.places)
        self.places.append(Place(DirectoryId(1, number, self.births), {name}))

    def _at(self, name: str) -> Place | None:
        return next((place for place in self.places if place.alive and name in place.names), None)

    @rule(which=st.integers(0, 9))
    def remove_and_make_again(self, which: int) -> None:
        """The new one has the old one's name and inode number."""
        old = self._pick(which)
        name, old.alive = min(old.names), False
        old.names.clear()
        self._make(name, old.id.inode)

    @rule(one=st.integers(0, 9), other=st.integers(0, 9))
    def swap_names(self, one: int, other: int) -> None:
        first, second = self._pick(one), self._pick(other)
        first.names, second.names = second.names, first.names

    @rule(which=st.integers(0, 9), name=st.sampled_from(("/link", "/w/link")))
    def link(self, which: int, name: str) -> None:
        for place in self.places:
            if len(place.names) > 1:
                place.names.discard(name)
        if self._at(name) is None:
            self._pick(which).names.add(name)

    def _pick(self, which: int) -> Place:
        living = [place for place in self.places if place.alive]
        return living[which % len(living)]

    # ---- cages -----------------------------------------------------------------------------------

    @rule(
        which=st.integers(0, 9),
        user=st.sampled_from(USERS),
        seed=st.integers(0, 4),
        jump=st.integers(-9, 9),
        called=st.sampled_from(("", "", "build", "0a")),
    )
    def start(self, which: int, user: int, seed: int, jump: int, called: str) -> None:
        """Ids are random, but here they share long beginnings; the host's clock jumps; names are
        claimed, not true.
        """
        taken = {(info.uid, info.name) for info in (*self.running.values(), *self.kept.values())}
        if called and (user, called) in taken:
            return  # akiosd refuses it
        place = self._pick(which)
        self.clock, self.order = max(0, self.clock + jump), self.order + 1
        name = make_cage_id((seed + 32 * self.order).to_bytes(8, "big"))
        self.started_in[name] = place
        self.running[name] = CageInfo(
            name,
            user,
            "last",
            "running",
            (b"last",),
            b"/w/lie",
            self.clock,
            directory=place.id,
            order=self.order,
            name=called,
        )

    @rule(which=st.integers(0, 99), how=st.sampled_from(("changes", "nothing", "failed")))
    @precondition(lambda self: self.running)
    def end(self, which: int, how: str) -> None:
        name = sorted(self.running)[which % len(self.running)]
        info = msgspec.structs.replace(
            self.running.pop(name), state="ended", ended_ns=1, changes=how == "changes"
        )
        if how == "failed":
            self.unstarted.add(name)
        if info.changes:
            self.kept[name] = info
        else:
            self._remember(info)

    def _remember(self, info: CageInfo) -> None:
        self.on_disk[info.cage] = info
        for name in self.ended.add(info):
            del self.on_disk[name]

    @rule()
    def restart(self) -> None:
        """Killed: what ran has ended, and its changes are kept."""
        for name in list(self.running):
            self.kept[name] = msgspec.structs.replace(
                self.running.pop(name), state="ended", ended_ns=1, changes=True
            )
        self.ended = Remembered(self.on_disk.values())
        known = [*self.kept.values(), *self.ended.infos()]
        self.order = max((info.order for info in known), default=0)

    # ---- verbs -----------------------------------------------------------------------------------

    def _infos(self) -> list[CageInfo]:
        return [*self.running.values(), *self.kept.values(), *self.ended.infos()]

    def _ask(self, user: int, name: str, word: str, where: str | None) -> CageInfo | None:
        infos = self._infos()
        own = [info for info in infos if info.uid == user]
        others = [info for info in infos if info.uid != user] if user == 0 else []
        at = self._at(where) if where is not None else None
        need = {"attach": "running", "logs": "", "stop": ""}.get(word, "changes")
        try:
            return choose(
                own,
                others,
                at.id if at else None,
                name,
                writes=word not in ("diff", "logs"),
                need=need,
            )  # type: ignore[arg-type]
        except AkiosError as error:
            assert error.what and error.where and error.next
            return None

    @rule(
        user=st.sampled_from(USERS), where=st.sampled_from(("/w/a", "/w/a/below", "/w/b", "/link", "/w/link", None)),
        word=st.sampled_from(("commit", "discard", "diff", "logs", "attach", "stop")),
        back=st.integers(0, 3),
    )  # fmt: skip
    def verb_without_a_name(self, user: int, where: str | None, word: str, back: int) -> None:
        found = self._ask(user, f"last~{back}" if back else "last", word, where)
        if found is None:
            return
        here = self._at(where) if where is not None else None
        assert here is self.started_in[found.cage], "it was started in another directory"
        assert found.uid == user
        same = [
            info
            for info in self._infos()
            if info.uid == user and self.started_in[info.cage] is here
        ]
        newer = [info for info in same if info.order > found.order]
        assert len(newer) == back, "so many are newer here"
        if word in ("commit", "discard"):
            assert found.cage not in self.unstarted and found.changes
            self._settle(found)

    @rule(user=st.sampled_from(USERS), which=st.integers(0, 99), length=st.integers(0, 14), bare=st.booleans(),
          word=st.sampled_from(("commit", "discard", "diff", "attach")))  # fmt: skip
    def verb_with_a_name(self, user: int, which: int, length: int, bare: bool, word: str) -> None:
        if not self.started_in:
            return
        whole = sorted(self.started_in)[which % len(self.started_in)]
        name = whole[:length].removeprefix("c-") if bare else whole[:length]
        found = self._ask(user, name, word, None)
        if found is None:
            return
        assert name and found.cage.startswith((name, f"c-{name}"))
        alike = [info for info in self._infos() if info.cage.startswith((name, f"c-{name}"))]
        assert found.uid == user or (user == 0 and not [info for info in alike if info.uid == user])
        assert len([info for info in alike if info.uid == found.uid]) == 1
        if word != "diff":
            assert found.cage == name or (
                found.uid == user and len(name.removeprefix("c-")) >= MIN_PREFIX
            )
        if word in ("commit", "discard"):
            self._settle(found)

    @rule(
        user=st.sampled_from(USERS),
        called=st.sampled_from(("build", "0a")),
        word=st.sampled_from(("commit", "discard", "diff", "attach", "stop")),
    )
    def verb_with_a_given_name(self, user: int, called: str, word: str) -> None:
        found = self._ask(user, called, word, None)
        if found is None or found.name != called:
            return  # none has it: it may begin an id
        mine = [i for i in self._infos() if (i.uid, i.name) == (user, called)]
        if mine:
            assert found.uid == user and found.order == max(info.order for info in mine)
        else:
            assert word == "diff", "another's cage is written to by its whole id only"
        if word in ("commit", "discard"):
            self._settle(found)

    def _settle(self, found: CageInfo) -> None:
        self._remember(msgspec.structs.replace(self.kept.pop(found.cage), changes=False))

    @invariant()
    def what_waits_can_still_be_named(self) -> None:
        for name, info in self.kept.items():
            assert self._ask(info.uid, name, "diff", None) == info


World.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestEveryHistory = World.TestCase


def cage(number: int, directory: DirectoryId | None, **more: object) -> CageInfo:
    values = {"ended_ns": 1, "changes": True, "order": number, **more}
    name = make_cage_id(number.to_bytes(8, "big"))
    return CageInfo(name, 0, "me", "ended", (b"x",), b"/w/a", 0, directory=directory, **values)  # type: ignore[arg-type]


def test_a_directory_made_again_with_the_old_ones_number_is_another() -> None:
    old, new, unknown = DirectoryId(1, 2, 3), DirectoryId(1, 2, 4), DirectoryId(1, 2)
    assert not old.is_same(new) and not old.is_same(DirectoryId(2, 2, 3)) and old.is_same(unknown)
    with pytest.raises(AkiosError, match="no cage of yours was started in this directory"):
        choose([cage(1, old)], [], new, "last")
    assert choose([cage(1, old)], [], old, "last") == cage(1, old)


def test_what_still_runs_can_be_waited_for_or_stopped() -> None:
    here = DirectoryId(1, 2, 3)
    runs, clean = cage(1, here, ended_ns=0), cage(2, here, changes=False)
    with pytest.raises(AkiosError, match="still runs") as caught:
        choose([runs], [], here, runs.cage, need="changes")
    assert f"akiosctl stop {runs.cage}" in caught.value.next
    with pytest.raises(AkiosError, match="has no changes") as caught:
        choose([clean], [], here, clean.cage, need="changes")
    assert "stop" not in caught.value.next


def test_a_cage_of_an_older_daemon_has_no_directory_and_is_nobodys_last() -> None:
    with pytest.raises(AkiosError):
        choose([cage(1, None)], [], DirectoryId(1, 2, 3), "last")
    with pytest.raises(AkiosError):
        choose([cage(1, None)], [], None, "last")


def test_what_another_project_left_is_named_and_escaped() -> None:
    other = msgspec.structs.replace(
        cage(1, DirectoryId(1, 1)), workspace=b"/w/\x1b[2J\xe2\x80\xae\xf3\xa0\x81\x81"
    )
    with pytest.raises(AkiosError) as refused:
        choose([other], [], DirectoryId(1, 2), "last")
    assert (
        other.cage in refused.value.next
        and refused.value.next.isascii()
        and "\x1b" not in refused.value.next
    )


def test_a_name_is_nothing_that_means_something_else() -> None:
    good = ("build", "a", "0123456789ab", "v1.2_x-y", "lasting", "A" * 64)
    bad = ("", "c-build", "last", "last~1", "-x", ".", "a b", "a/b", "a\n", "ä", "A" * 65)
    assert [name for name in (*good, *bad) if is_cage_name(name)] == list(good)
    here = DirectoryId(1, 2, 3)
    cages = [cage(n, here, name="build", changes=n == 1) for n in (1, 2)]
    assert choose(cages, [], None, "build") == cages[1], "the newest"
    named = cage(3, here, name=cages[0].cage[2:9])
    assert choose([*cages, named], [], None, named.name) == named, "before the beginning of an id"


@pytest.mark.parametrize(
    ("word", "found"), [("last", 3), ("last~0", 3), ("last~2", 1), ("last~3", 0)]
)
def test_the_last_but_so_many(word: str, found: int) -> None:
    here, there = DirectoryId(1, 2, 3), DirectoryId(1, 9, 9)
    cages = [cage(n, here) for n in (1, 2, 3)] + [cage(4, there)]
    if found:
        assert choose(cages, [], here, word) == cages[found - 1]
        return
    with pytest.raises(AkiosError, match="only 3 cages"):
        choose(cages, [], here, word)


def test_one_user_is_remembered_in_so_many_workspaces() -> None:
    table = Remembered()
    dropped = [
        name for n in range(MAX_PER_USER + 9) for name in table.add(cage(n + 1, DirectoryId(1, n)))
    ]
    assert len(table.infos()) == MAX_PER_USER and len(dropped) == 9
    assert dropped == [make_cage_id(number.to_bytes(8, "big")) for number in range(1, 10)]


def test_the_newest_are_remembered_and_the_last_of_each_workspace_beyond() -> None:
    """And what one user runs pushes out nothing of another's."""
    here, there = DirectoryId(1, 1), DirectoryId(1, 2)
    theirs = msgspec.structs.replace(cage(1, here), uid=7)
    table = Remembered([theirs], most=3)
    first = cage(2, there)
    dropped = [name for n in range(8) for name in table.add(cage(n + 3, here))]
    assert table.add(first) == []
    assert [info.order for info in table.infos() if info.uid == 0] == [8, 9, 10, 2]
    assert dropped == [make_cage_id(number.to_bytes(8, "big")) for number in range(3, 8)]
    assert theirs in table.infos()
    old = {make_cage_id(number.to_bytes(8, "big")) for number in (1, 2, 9, 10)}
    assert table.expire(old.__contains__) == [make_cage_id((9).to_bytes(8, "big"))]
    assert {info.order for info in table.infos()} == {1, 2, 8, 10}


@pytest.mark.parametrize(
    ("count", "rows", "asks"), [(22, 24, False), (23, 24, True), (1, 1, False), (2, 1, True)]
)
def test_more_than_a_screenful(count: int, rows: int, asks: bool) -> None:
    assert is_too_much(count, rows) is asks
