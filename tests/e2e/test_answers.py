"""Every answer that a call gets in a cage, against the kernel's own to the same call outside.

An ordinary program makes each call of the table with different arguments (``answers/shapes.py``):
valid ones, closed descriptors, unknown flags, pointers to nothing, registers with garbage above the
int that the kernel reads.  What AKIOS refuses or answers by itself is written down in
``answers/denials.py``; everything else must be answered as outside, the order of the kernel's
checks included.  (That order changes between kernels; AKIOS keeps to that of 6.18.)
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from akiosd.kernel.seccomp import resolve
from akiosd.values.syscalls import (
    ABSENT,
    CHECKED,
    DENIED,
    FACTS,
    OPTIONAL,
    known_names,
)
from tests.e2e.answers.both import Answer, compare, shapes_of
from tests.e2e.answers.denials import DOCUMENTED, STATES, documented
from tests.e2e.answers.shapes import KERNEL, MINUS, Shape
from tests.e2e.answers.signatures import SIGNATURES
from tests.e2e.daemon import Daemon

Answers = dict[str, list[Answer]]
_WHATEVER = dict.fromkeys(DENIED, "EPERM") | dict.fromkeys((*OPTIONAL, *ABSENT), "ENOSYS")
_NAMES = sorted(name for name in {*_WHATEVER, *CHECKED, *FACTS} if resolve(name) >= 0)
"""What the filter or the pump has a say in, at one trace level or another; the others pass."""


def by_name(answers: list[Answer]) -> Answers:
    found: Answers = defaultdict(list)
    for answer in answers:
        found[answer.name].append(answer)
    return found


FOUND: list[tuple[str, Shape]] = [
    ("ioprio_set", (MINUS, 1, 0x2000)),
    ("ioprio_set", (0, 1, 0x4000)),
    ("sendto", (MINUS, KERNEL, 8, 0x200, KERNEL, 0x80)),
    ("sendto", (10, KERNEL, MINUS, 0x4000, KERNEL, 0x80)),
]
"""What a longer comparison found."""


@pytest.fixture(scope="module")
def answers(daemon: Daemon) -> Answers:
    return by_name(compare(daemon, shapes_of(_NAMES, 20, seed=1), "security"))


def is_right(answer: Answer) -> bool:
    """As outside; or as documented, but for an error that the kernel finds earlier."""
    if answer.name in _WHATEVER:
        return answer.inside == _WHATEVER[answer.name]
    if answer.name in STATES and STATES[answer.name](answer.shape):
        return True
    own = documented(answer.name, answer.shape)
    if own is None:
        return answer.inside == answer.outside
    return answer.inside == own or (
        answer.inside == answer.outside and answer.outside.startswith("E")
    )


def wrong(answers: list[Answer]) -> list[str]:
    return [answer.text for answer in answers if not is_right(answer)]


def test_every_call_of_the_table_has_a_signature() -> None:
    assert set(SIGNATURES) == known_names()


@pytest.mark.parametrize("name", _NAMES)
def test_a_call_is_answered_as_by_the_kernel(answers: Answers, name: str) -> None:
    assert wrong(answers[name]) == []


def test_the_control_sees_calls_of_every_kind(answers: Answers) -> None:
    """Outside, the same arguments succeed and fail in many ways: equal answers mean something."""
    outside = {answer.outside for all_of in answers.values() for answer in all_of}
    assert {"0", "+", "EFAULT", "EBADF", "EINVAL", "ENOTSOCK", "ENOENT"} <= outside
    several = [name for name in _NAMES if len({one.outside for one in answers[name]}) > 1]
    assert len(several) > 0.8 * len([name for name in _NAMES if SIGNATURES[name]])


def test_what_a_longer_comparison_found_stays_mended(daemon: Daemon) -> None:
    assert wrong(compare(daemon, FOUND, "all")) == []


LONG = [("security", 200, 2), ("all", 100, 3), ("files", 100, 4)]


@pytest.mark.named_set("answers")
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("trace", "count", "seed"), LONG)
def test_random_arguments_are_answered_as_by_the_kernel(
    daemon: Daemon, trace: str, count: int, seed: int
) -> None:
    found = compare(daemon, shapes_of(SIGNATURES, count, seed), trace)
    assert wrong(found) == []
    if trace == "security":
        _every_denial_was_met(by_name(found))


def _every_denial_was_met(answers: Answers) -> None:
    """The control: each documented answer was given at least once where the kernel gives another;
    a row that says more than is refused would excuse what it should not.
    """
    met = {
        (name, answer.inside)
        for name in DOCUMENTED
        for answer in answers[name]
        if answer.inside == documented(name, answer.shape) != answer.outside
    }
    traced_at_all = {"utimes", "futimesat", "utimensat", "inotify_add_watch", "getxattr"}
    traced_at_all |= {"lgetxattr", "getxattrat"}
    expected = {
        (name, own)
        for name, rows in DOCUMENTED.items()
        for _, own in rows
        if resolve(name) >= 0 and name not in traced_at_all
    }
    assert expected - met == set()
