"""Parts of a run of a workflow: one budget of several cages, questions, and where results go."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosctl.approvals import (
    directory,
    give_answer,
    list_waiting,
    question_of,
    stop_question,
    wait_answer,
)
from akiosctl.cli import run_command
from akiosctl.purse import Purse, Rate, Sum
from akiosctl.results_tree import write_tree
from akiosctl.workflow_run import Drive
from akiosd.errors import AkiosError
from akiosd.values.approval import Approval
from akiosd.values.policy import Budget

OTHER = 65533


# ---- money ---------------------------------------------------------------------------------------


@given(st.data(), st.integers(0, 50), st.integers(0, 50))
def test_several_never_spend_more_than_there_is(
    data: st.DataObject, usd_micro: int, calls: int
) -> None:
    """Whoever holds a part spends at most that; what is not known to be spent counts whole."""
    purse = Purse(Sum(usd_micro, 0, calls), Sum(0, 0, 0))
    held: dict[int, Budget] = {}
    for number in range(20):
        if len(held) > 0 and data.draw(st.booleans()):
            whom = data.draw(st.sampled_from(sorted(held)))
            given_ = held.pop(whom)
            used = Sum(
                data.draw(st.integers(0, given_.usd_micro or 9)), 0,
                data.draw(st.integers(0, given_.calls or 9)),
            )  # fmt: skip
            is_known, before = data.draw(st.booleans()), purse.spent
            purse.take_back(whom, used if is_known else None, 0)
            gone = used.calls if is_known else given_.calls
            assert purse.spent.calls == before.calls + gone
            continue
        own = Budget(usd_micro=data.draw(st.integers(0, 60)), calls=data.draw(st.integers(0, 60)))
        part = purse.give(number, own, data.draw(st.integers(1, 5)), 0)
        if part is None:
            assert held or purse.is_empty(), "nobody holds any, and there is some left"
            continue
        held[number] = part
        for limit, of_own, of_part in (
            (usd_micro, own.usd_micro, part.usd_micro), (calls, own.calls, part.calls)
        ):  # fmt: skip
            assert of_part or not (limit or of_own), "0 is no limit, and there was one"
            assert not of_own or of_part <= of_own
        for limit, spent, parts in (
            (usd_micro, purse.spent.usd_micro, [one.usd_micro for one in held.values()]),
            (calls, purse.spent.calls, [one.calls for one in held.values()]),
        ):
            assert not limit or spent + sum(parts) <= limit


MINUTE_NS = 60 * 10**9


@given(st.data(), st.integers(1, 9))
def test_several_are_no_hastier_than_one(data: st.DataObject, calls: int) -> None:
    """In no minute more calls than the policy says, though each cage counts for itself and makes
    all that it may, at its end and at its beginning.
    """
    purse = Purse(Sum(0, 0, 0), Sum(0, 0, 0), Rate(0, calls))
    held: dict[int, Budget] = {}
    made: list[tuple[int, int]] = []
    now = 0
    for number in range(20):
        now += data.draw(st.integers(0, 40)) * 10**9
        if held and data.draw(st.booleans()):
            whom = data.draw(st.sampled_from(sorted(held)))
            part = held.pop(whom)
            made.append((now, part.requests_per_minute))
            is_known = data.draw(st.booleans())
            purse.take_back(whom, Sum(0, 9, 1) if is_known else None, now)
        elif part_ := purse.give(number, Budget(), data.draw(st.integers(1, 5)), now):
            assert part_.requests_per_minute >= 1, "0 is no limit, and there was one"
            held[number] = part_
        else:
            assert held or purse.wake_ns() is not None, "it would wait forever"
        recent = sum(some for at, some in made if at > now - MINUTE_NS)
        assert recent + sum(one.requests_per_minute for one in held.values()) <= calls


def test_what_was_not_used_of_a_minute_is_free_at_once() -> None:
    purse = Purse(Sum(0, 0, 0), Sum(0, 0, 0), Rate(50, 1))
    assert purse.give("a", Budget(), 1, 0) and purse.give("b", Budget(), 1, 0) is None
    purse.take_back("a", Sum(0, 0, 0), 1)
    assert purse.give("b", Budget(), 1, 2)
    purse.take_back("b", Sum(1, 1, 1), 3)
    assert purse.give("c", Budget(), 1, 4) is None and purse.wake_ns() == 3 + MINUTE_NS
    assert purse.give("c", Budget(), 1, 3 + MINUTE_NS), "control: a minute later"


# ---- questions -----------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[queue.Queue[Approval]]:
    """A question ``q`` waits, at a place that everybody can reach; the queue gets what it became."""
    # pytest's own directories are closed to others.
    place = Path(tempfile.mkdtemp(prefix="akios-test-"))
    monkeypatch.setenv("XDG_STATE_HOME", str(place))
    answers: queue.Queue[Approval] = queue.Queue()
    ready = threading.Event()
    question = Approval("well?", 0, 30 * 10**9)

    def wait() -> None:
        answers.put(wait_answer(question, "q", {"run": "r"}, 30, ready.set))

    thread = threading.Thread(target=wait)
    # The times are of this moment, or the answer comes too late.
    monkeypatch.setattr("akiosctl.approvals.time.time_ns", lambda: 10**9)
    thread.start()
    assert ready.wait(20)
    for path in (place, place / "akios", directory(), directory() / "q"):
        path.chmod(0o777)
    try:
        yield answers
    finally:
        if answers.empty():
            give_answer("q", True, "")
        thread.join()
        shutil.rmtree(place)


def test_a_question_is_answered_once(asked: queue.Queue[Approval]) -> None:
    assert [(one["id"], one["message"]) for one in list_waiting()] == [("q", "well?")]
    assert give_answer("q", False, "no time")["state"] == "refused"
    found = asked.get(timeout=20)
    assert (found.state, found.comment, found.by) == ("refused", "no time", "root")
    asked.put(found)
    with pytest.raises(AkiosError, match="no question 'q'"):
        give_answer("q", True, "")


def test_a_question_whose_run_is_stopped_is_answered_by_nobody(
    asked: queue.Queue[Approval],
) -> None:
    stop_question("q")
    found = asked.get(timeout=20)
    assert (found.state, found.by, found.comment, found.answered_ns) == ("stopped", "", "", 0)
    asked.put(found)
    stop_question("q")  # it is over, which is no error


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_showing_a_question_that_does_not_wait_says_which_do(
    asked: queue.Queue[Approval], capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert run_command(["approvals", "show", "q", *flags]) == 0
    assert "well?" in capsys.readouterr().out
    assert run_command(["approvals", "show", "nosuch", *flags]) == 125
    said = "".join(capsys.readouterr())
    assert "no question 'nosuch' waits" in said and "those that wait: q" in said


ANSWER = """
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.settimeout(20)
print("connected", s.recv(10000).decode())
s.sendall(b'{"yes": true}\\n')
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
@pytest.mark.parametrize("uid", [OTHER, 0])
def test_nobody_else_answers(asked: queue.Queue[Approval], uid: int) -> None:
    """Also where they can connect; the user is the control."""
    path = str(directory() / "q")
    done = subprocess.run(
        [sys.executable, "-I", "-c", ANSWER, path], user=uid, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert "connected" in done.stdout, done.stderr
    assert ("well?" in done.stdout) == (uid == 0)
    if uid:
        assert list_waiting(), "it waits still"
    else:
        found = asked.get(timeout=20)
        assert found.state == "approved"
        asked.put(found)


def test_a_step_does_not_answer_itself() -> None:
    """What comes out of a cage may say that somebody agreed, and to another question."""
    said = {"message": "no harm", "asked_ns": 1, "until_ns": 5, "state": "approved", "by": "root"}
    assert question_of(said, "delete all?") == Approval("delete all?", 1, 5)
    with pytest.raises(AkiosError, match="could not ask"):
        question_of({"state": "yes"}, "x")


def test_its_time_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert wait_answer(Approval("x", 0, 1), "q", {}, 0, lambda: None).state == "expired"


# ---- results -------------------------------------------------------------------------------------

REPORT = {"run": "r", "steps": [{"name": "a", "outputs": {"text": "x"}}]}


@pytest.mark.parametrize("place", ["r", "r/steps", "r/output.json", "r/steps/a.json"])
def test_results_follow_no_link(tmp_path: Path, place: str) -> None:
    """A program of a cage put a link where a result is to be."""
    output, outside = tmp_path / "output", tmp_path / "outside"
    outside.mkdir()
    (outside / "output.json").write_text("mine")
    link = output / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "output.json" if "." in place else outside)
    fd = os.open(output, os.O_PATH)
    try:
        if "." in place:
            write_tree(fd, "r", REPORT)
            assert not link.is_symlink() and "{" in link.read_text()
        else:
            with pytest.raises(AkiosError, match="cannot be written"):
                write_tree(fd, "r", REPORT)
            link.unlink()
            write_tree(fd, "r", REPORT)  # control
            assert json.loads((output / "r/output.json").read_text()) == REPORT
    finally:
        os.close(fd)
    assert [one.name for one in outside.iterdir()] == ["output.json"]
    assert (outside / "output.json").read_text() == "mine"


# ---- the end of the process ----------------------------------------------------------------------


def test_a_run_that_is_interrupted_ends_when_what_it_writes_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, whole, ended = threading.Event(), threading.Event(), threading.Event()

    def write(*_: Any, **__: Any) -> bool:
        begun.set()
        return whole.wait(60)

    def interrupted(_: int) -> list[Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr("akiosctl.workflow_run.dispose_of_changes", write)
    runner, rw = SimpleNamespace(ready=interrupted), SimpleNamespace(workspace="rw")
    stub: Any = SimpleNamespace(filesystem=rw)
    drive = Drive(runner, stub, stub, stub, "", True)  # type: ignore[arg-type]
    found: list[bool] = []

    def run() -> None:
        with pytest.raises(KeyboardInterrupt):
            drive.run()
        found.append(whole.is_set())
        ended.set()

    threading.Thread(target=drive._settle_changes, args=(stub, stub, "c-1"), daemon=True).start()
    assert begun.wait(60)
    threading.Thread(target=run, daemon=True).start()
    assert not ended.wait(0.3)
    whole.set()
    assert ended.wait(60) and found == [True]
