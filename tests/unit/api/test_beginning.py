"""Requests that begin something: twice the same is once, and their files stay in their directory."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from akiosctl.api.kept_keys import KeptKeys, Line, name_of
from akiosctl.api.once import MOST, Once
from akiosctl.api.problems import Refusal
from akiosctl.api.ranges import parse_range
from akiosctl.api.scratch import Scratch
from akiosctl.api.workflow_runs import MOST as MOST_RUNS
from akiosctl.api.workflow_runs import Runs
from akiosd.errors import AkiosError
from akiosd.wire.messages import Cages


def test_the_same_request_begins_once() -> None:
    once, begun = Once(), []

    def work() -> str:
        begun.append("")
        return f"c-{len(begun)}"

    assert once.do("token", "k", b"a", work) == "c-1"
    assert once.do("token", "k", b"a", work) == "c-1"
    assert once.do("other", "k", b"a", work) == "c-2"  # another token's key is another key
    assert once.do("token", "", b"a", work) == "c-3"  # control: it is the key that does it
    with pytest.raises(Refusal, match="another request"):
        once.do("token", "k", b"b", work)


def test_a_second_request_waits_for_the_first_and_a_failed_one_is_done_again() -> None:
    once, entered, go = Once(), threading.Event(), threading.Event()
    found: list[str] = []

    def slow() -> str:
        entered.set()
        go.wait(30)
        return "c-1"

    threads = [
        threading.Thread(target=lambda: found.append(once.do("t", "k", b"", slow)))
        for _ in range(2)
    ]
    threads[0].start()
    entered.wait(30)
    entered.clear()
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert found == ["c-1", "c-1"] and not entered.is_set()

    def failing() -> str:
        raise AkiosError("no")

    with pytest.raises(AkiosError):
        once.do("t", "other", b"", failing)
    assert once.do("t", "other", b"", lambda: "c-2") == "c-2"


def test_keys_outlive_the_server(tmp_path: Path) -> None:
    path = tmp_path / "state" / "keys"
    count: list[int] = []

    def work() -> str:
        count.append(1)
        return f"c-{len(count)}"

    def failing() -> str:
        raise AkiosError("no")

    first = KeptKeys(path, MOST)
    once = Once(first)
    assert once.do("token", "secret-key", b"a", work) == "c-1"
    with pytest.raises(AkiosError):
        once.do("token", "failed", b"a", failing)
    first.write(Line(name_of("token", "lost"), "00" * 32, "begun"))  # as one that is killed leaves
    assert path.stat().st_mode & 0o777 == 0o600 and b"secret-key" not in path.read_bytes()
    # Another server beside it does not have the file, and works.
    assert Once(KeptKeys(path, MOST)).do("token", "secret-key", b"a", work) == "c-2"
    first.close()

    with path.open("ab") as file:
        file.write(b'\n{"name": "torn')
    later = KeptKeys(path, MOST)
    again = Once(later)
    assert again.do("token", "secret-key", b"a", work) == "c-1" and len(count) == 2
    assert again.do("other", "secret-key", b"a", work) == "c-3"
    with pytest.raises(Refusal, match="another request"):
        again.do("token", "secret-key", b"b", work)
    assert again.do("token", "failed", b"a", work) == "c-4"
    with pytest.raises(Refusal, match="another request"):
        again.do("token", "lost", b"a", work)
    later.write(Line(name_of("token", "at it"), sha256(b"a").hexdigest(), "begun"))
    later.close()
    third = KeptKeys(path, MOST)
    with pytest.raises(Refusal, match="was ended while") as refused:
        Once(third).do("token", "at it", b"a", work, "GET /api/v1/workflows/runs")
    assert refused.value.status == 409 and len(count) == 4
    assert "began: GET /api/v1/workflows/runs;" in refused.value.next
    third.close()


def test_kept_keys_are_bounded_and_their_file_is_trusted_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    kept = KeptKeys(path, 10)
    once = Once(kept)
    for number in range(200):
        assert once.do("t", str(number), b"", lambda number=number: f"c-{number}")  # type: ignore[misc]
    assert len(path.read_bytes().splitlines()) <= 2 * 4 * 10 + 2
    assert list(kept.read()) == [name_of("t", str(number)) for number in range(190, 200)]
    kept.close()
    path.chmod(0o644)
    with pytest.raises(AkiosError, match="users other than you"):
        KeptKeys(path, 10)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AkiosError, match="the file of Idempotency-Keys cannot be written") as told:
        KeptKeys(path, 10)
    assert "--tokens" in told.value.next
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_cannot_be_kept_begins_nothing(tmp_path: Path) -> None:
    kept = KeptKeys(tmp_path / "keys", 10)
    once = Once(kept)
    with Path("/dev/full").open("rb+", buffering=0) as full:
        kept.file = full
        with pytest.raises(AkiosError, match="No space left"):
            once.do("t", "k", b"", lambda: pytest.fail("it began"))
    kept.file = None
    assert once.do("t", "k", b"", lambda: "c-1") == "c-1"


def test_files_stay_in_their_directory(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "workspaces")
    with scratch.make("one", [("src/a.py", b"x", False), ("run", b"y", True)]) as place:
        made = Path(place)
    assert (made / "src" / "a.py").read_bytes() == b"x" and scratch.has(place)
    assert os.access(made / "run", os.X_OK) and not os.access(made / "src/a.py", os.X_OK)
    for path in ("../x", "/etc/x", "a/../../x", "a//b", ".", "a/."):
        with (
            pytest.raises(Refusal, match="not a relative path"),
            scratch.make("one", [(path, b"", False)]),
        ):
            pass
    with pytest.raises(Refusal, match="cannot be made"):
        with scratch.make("one", [("a", b"", False), ("a/b", b"", False)]):
            pass
    assert os.listdir(scratch.base) == [made.name]  # those that failed are gone
    assert not scratch.has(str(tmp_path)) and not scratch.has(f"{place}/src")


@pytest.mark.parametrize(
    ("number", "deep", "fits"), [(20, 60, True), (20, 70, False), (40, 60, False)]
)
def test_files_of_one_request_make_so_many_directories(
    number: int, deep: int, fits: bool, tmp_path: Path
) -> None:
    """Each is a block of the disk, and few bytes of a request name hundreds."""
    scratch = Scratch(tmp_path / "workspaces")
    files = [(f"{n}/" + "a/" * deep + "x", b"", False) for n in range(number)]
    if fits:
        with scratch.make("one", [*files, *files[:0]]) as place:
            assert (Path(place) / files[-1][0]).is_file()
    else:
        with pytest.raises(Refusal, match="directories at most"), scratch.make("one", files):
            pass
        assert os.listdir(scratch.base) == []


def test_what_one_token_began_is_not_forgotten_because_of_another() -> None:
    once = Once()
    assert once.do("one", "k", b"", lambda: "c-1") == "c-1"
    for number in range(1100):
        once.do("two", str(number), b"", lambda: "c-2")
    assert once.do("one", "k", b"", lambda: "c-3") == "c-1"
    # Control: of its own the oldest go, and are begun anew.
    assert once.do("two", "0", b"", lambda: "c-4") == "c-4"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=5-", (5, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=100-", (100, 100)),
        ("bytes=9-0", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-9", None),
        ("bytes=-", None),
        ("", None),
    ],
)
def test_a_range_is_read_as_rfc_9110_says(text: str, found: tuple[int, int] | None) -> None:
    assert parse_range(text, 100) == found


def test_a_tree_deeper_than_python_goes_is_removed_too(tmp_path: Path) -> None:
    scratch, here = Scratch(tmp_path / "cages"), os.open(".", os.O_PATH)

    class BegunError(Exception):
        pass

    try:
        with pytest.raises(BegunError), scratch.make("one", [("a", b"x", False)]) as place:
            os.chdir(place)
            for _ in range(1500):
                os.mkdir("d")
                os.chdir("d")
            raise BegunError
    finally:
        os.fchdir(here)
        os.close(here)
    assert not os.path.lexists(place)


class NoCages:
    """akiosd, as far as it is asked which cages there are: none."""

    def call(self, request: object, reply: object, fds: object) -> tuple[Cages, list[int]]:
        return Cages(), []


def make(scratch: Scratch, owner: str) -> str:
    with scratch.make(owner, [("a", b"x", False)]) as place:
        return place


def test_one_token_leaves_directories_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akiosctl.api.scratch.MOST", 12)
    scratch = Scratch(tmp_path / "cages")
    first = [make(scratch, "one") for _ in range(6)]
    with pytest.raises(Refusal, match="6 of them of this") as refused:
        make(scratch, "one")
    assert "stop" in refused.value.next and "/down" in refused.value.next
    for owner, most in (("two", 3), ("three", 2), ("four", 1)):
        for _ in range(most):
            assert os.path.isdir(make(scratch, owner))
    with pytest.raises(Refusal, match="0 of them of this"):
        make(scratch, "five")
    os.rename(first[0], tmp_path / "ended")
    assert make(scratch, "five"), "the control"


def test_runs_that_failed_take_no_room_that_their_token_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akiosctl.api.scratch.MOST", 8)
    scratch, client = Scratch(tmp_path / "cages"), cast(Any, NoCages())
    failed = [make(scratch, "one") for _ in range(4)]  # the last first, as journals are listed
    others = [make(scratch, "two"), make(scratch, "two")]
    scratch.sweep(client, [*failed, *others])
    assert all(map(os.path.isdir, [*failed, *others])), "the control"
    with scratch.keep(failed[3]):  # somebody goes on with this one
        scratch.sweep(client, [*failed, *others], "one")
        assert [os.path.isdir(one) for one in failed] == [True, False, False, True]
        assert all(map(os.path.isdir, others))
    assert make(scratch, "one")
    with pytest.raises(AkiosError, match="is gone"), scratch.keep(failed[2]):
        pass


def test_one_token_leaves_runs_of_workflows_to_others() -> None:
    runs = Runs()
    with ExitStack() as greedy, ExitStack() as other:
        for _ in range(MOST_RUNS // 2):
            greedy.enter_context(runs.take_place("greedy"))
        with pytest.raises(Refusal, match="4 workflows run on this server, 4 of them") as refused:
            greedy.enter_context(runs.take_place("greedy"))
        assert refused.value.status == 429 and "/stop" in refused.value.next
        for owner in ("a", "a", "b", "c"):
            other.enter_context(runs.take_place(owner))
        with pytest.raises(Refusal, match="8 workflows run on this server, 0 of them"):
            other.enter_context(runs.take_place("d"))
        greedy.close()
        other.enter_context(runs.take_place("d"))
    with runs.take_place("greedy"):
        pass


def test_runs_that_begin_at_once_are_counted_before_they_begin() -> None:
    runs, barrier, taken = Runs(), threading.Barrier(MOST_RUNS), []

    def begin() -> None:
        barrier.wait(30)
        with suppress(Refusal), runs.take_place("greedy"):
            taken.append("")
            over.wait(30)

    over = threading.Event()
    threads = [threading.Thread(target=begin) for _ in range(MOST_RUNS)]
    for one in threads:
        one.start()
    while sum(one.is_alive() for one in threads) > MOST_RUNS // 2:
        threading.Event().wait(0.001)
    assert len(taken) <= MOST_RUNS // 2
    over.set()
    for one in threads:
        one.join(30)
    assert len(taken) == MOST_RUNS // 2
