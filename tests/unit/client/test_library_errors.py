"""What a program gets as an exception holds what helps, and nothing that drives its terminal."""

from __future__ import annotations

from akiosctl.library.values import Denial, Done, done_of, failed, too_slow, with_denials

DENIAL = Denial("network.allowed_domains", "names", 2, ("evil.example",), "allow it there", "x")


def test_a_failure_tells_the_rule_or_else_the_last_words() -> None:
    done = Done(3, b"", b"first\nlast \x1b[2J words\n")
    plain = failed(done, "make", ())
    assert plain.next == "last \\x1b[2J words" and plain.rule == plain.hint == ""
    assert plain.what == "make ended with exit code 3" and plain.done is done
    denied = failed(done, "make", (DENIAL,))
    assert (denied.rule, denied.hint, denied.next) == (DENIAL.rule, "allow it there", denied.hint)
    assert failed(Done(3, b"", b""), "make", ()).next.startswith("see what it printed")
    assert failed(Done(137, b"", b"", "memory", "memory limit"), "m", ()).what == "memory limit"
    assert len(failed(Done(1, b"", b"x" * 10**6), "m", ()).next) <= 400


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
