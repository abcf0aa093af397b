"""What a program gets as an exception holds what helps, and nothing that drives its terminal."""

from __future__ import annotations

import pytest

from akiosctl.library.values import (
    Denial,
    Done,
    done_of,
    failed,
    next_after,
    too_slow,
    with_denials,
)
from akiosd.cage.reasons import EndFacts, explain_end
from akiosd.values.policy import Limits

DENIAL = Denial("network.allowed_domains", "names", 2, ("evil.example",), "allow it there", "x")


def test_a_failure_tells_the_last_words_as_what_was_said_and_the_rule_as_what_helps() -> None:
    done = Done(3, b"", b"first\nlast \x1b[2J words\n")
    plain = failed(done, "make", ())
    assert plain.next.startswith("see what the program printed") and plain.rule == plain.hint == ""
    said = "make ended with exit code 3; the last that it said: last \\x1b[2J words"
    assert plain.what == said and plain.done is done
    denied = failed(done, "make", (DENIAL,))
    assert (denied.rule, denied.hint, denied.next) == (DENIAL.rule, "allow it there", denied.hint)
    assert failed(Done(3, b"", b""), "make", ()).next.startswith("see what the program printed")
    assert failed(Done(137, b"", b"", "memory", "memory limit"), "m", ()).what == "memory limit"
    assert len(failed(Done(1, b"", b"x" * 10**6), "m", ()).what) < 500


@pytest.mark.parametrize(
    "kind, option",
    [("memory", "memory"), ("pids", "pids"), ("disk", "disk"), ("wall_clock", "timeout"),
     ("budget", "budget"), ("loop", ""), ("down", "")],
)  # fmt: skip
def test_a_limit_is_told_with_the_option_that_moves_it(kind: str, option: str) -> None:
    facts = EndFacts(kind, limits=Limits(memory=1 << 20, pids=1), detail="$1.00 spent")
    reason = explain_end(facts).reason
    within = explain_end(EndFacts("cage_ended", detail=reason.removeprefix("killed: "))).reason
    for one in (reason, within):
        more = f"raise the limit in a new cage: Cage({option}=…)" if option else "look"
        assert next_after(one, "look") == more
    if option:
        assert f"Cage({option}=…)" in failed(Done(137, b"", b"", kind, within), "m", ()).next


def test_what_ended_by_itself_has_no_reason_but_a_remark() -> None:
    done = done_of({"exit_code": 3, "kind": "exited", "reason": "exited 3"}, b"out")
    assert done == Done(3, b"out", b"")
    assert failed(done, "make", ()).what == "make ended with exit code 3"
    remark = {"exit_code": 1, "kind": "exited", "reason": "exited 1; 2 OOM kills"}
    assert done_of(remark).reason == "exited 1; 2 OOM kills"
    assert done_of({"exit_code": 137, "kind": "memory", "reason": "memory limit"}).kind == "memory"


def test_a_time_out_holds_what_was_printed() -> None:
    slow = too_slow(2.5, "make", b"out", b"err")
    assert "2.5 s" in slow.what and (slow.done.stdout, slow.done.stderr) == (b"out", b"err")
    assert slow.rule == "" and "timeout=" in slow.next
    told = with_denials(slow, (DENIAL,))
    assert (told.what, told.done) == (slow.what, slow.done)
    assert (told.rule, told.hint, told.next) == (DENIAL.rule, "allow it there", told.hint)
    assert with_denials(slow, ()).next == slow.next
