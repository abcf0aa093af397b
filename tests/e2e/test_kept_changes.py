"""Changes that wait: bounded, told about, and settled in masses; a user's own only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.terminal import Terminal
from tests.e2e.test_ended_cages import rows, run, verb


@pytest.fixture(scope="module")
def bounded() -> Iterator[Daemon]:
    """With room for the changes of two cages, which go after so short a time that each run warns of
    it.
    """
    own = Daemon("quotas: {kept_per_user: 2}\nended: {changes_days: 5}\n")
    try:
        yield own.start()
    finally:
        own.close()


@pytest.mark.parametrize("uid", [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")])
def test_what_keeps_nothing_is_not_bounded_and_all_of_ones_own_can_go(
    bounded: Daemon, uid: int
) -> None:
    where, other = bounded.workspace(uid=uid), bounded.workspace(uid=OTHER)
    theirs = run(bounded, other, "--", "touch", "new", uid=OTHER)
    kept = [run(bounded, where, "--", "touch", "new", uid=uid) for _ in range(2)]
    for flags, code in ((), 125), (("--rw",), 125), (("--ro",), 0), (("--discard",), 0):
        script = "true" if flags == ("--ro",) else "touch x"
        done = verb(bounded, where, "run", *flags, "--", "sh", "-c", script, uid=uid)
        assert done.returncode == code, done.stderr
        if code:
            assert "2 ended cages of yours wait" in done.stderr and "--older-than" in done.stderr
        else:
            assert "changes of 2 cages" in done.stderr and kept[0] in done.stderr, "told"
    after = rows(bounded, uid)
    assert [row["settled"] for row in after.values() if row["argv"][-1:] == ["touch x"]] == [
        "discarded"
    ]
    young = verb(bounded, where, "discard", "--older-than", "1h", uid=uid)
    assert young.returncode == 0 and not young.stdout and "wait for so long" in young.stderr
    with Terminal(bounded, "discard", "--all", uid=uid) as terminal:
        terminal.expect(r"destroy all changes of 2 cages\? \[y/N\] ")
        terminal.type("\n")
        assert terminal.wait() == 125
    both = verb(bounded, where, "discard", "--all", kept[0], uid=uid)
    assert both.returncode == 125 and not both.stdout
    done = verb(bounded, where, "discard", "--all", uid=uid)
    assert done.returncode == 0 and sorted(done.stdout.split()) == sorted(kept), done.stderr
    assert rows(bounded, OTHER)[theirs]["changes"], "nobody else's"
    told = verb(bounded, where, "run", "--", "touch", "new", uid=uid)
    assert "kept until 2" in told.stderr and "soon destroyed" not in told.stderr
    for owner in (uid, OTHER):
        again = verb(bounded, where, "discard", "--older-than", "0s", uid=owner)
        assert again.returncode == 0 and again.stdout, again.stderr


def test_a_detached_run_discards_without_a_client(bounded: Daemon) -> None:
    where = bounded.workspace(uid=NOBODY)
    words = ("run", "--detach", "--discard", "--", "touch", "new")
    cage = verb(bounded, where, *words).stdout.strip()
    assert verb(bounded, where, "stop", cage).returncode in (0, 125)
    row = rows(bounded)[cage]
    assert (row["ended_ns"] > 0, row["changes"], row["settled"]) == (True, False, "discarded")


@pytest.mark.parametrize("uid", [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")])
def test_a_running_cage_is_compared_while_it_stands_still(bounded: Daemon, uid: int) -> None:
    """Its agent writes the same number into two files again and again: they are always told apart
    by one at most, and it goes on afterwards.
    """
    where = bounded.workspace(uid=uid)
    # What is read between the two takes its time.
    script = (
        "import os\n"
        "for k in range(400): open('m%03d' % k, 'w').write('x\\n' * 99)\n"
        "a, z = (os.open(n, os.O_WRONLY | os.O_CREAT) for n in 'az'); n = 0\n"
        "while True: n += 1; [os.pwrite(f, b'%09d\\n' % n, 0) for f in (a, z)]"
    )
    cage = verb(
        bounded, where, "run", "--detach", "--", "python3", "-c", script, uid=uid
    ).stdout.strip()
    seen: list[int] = []
    for _ in range(5):
        done = verb(bounded, where, "diff", "--patch", uid=uid)
        assert done.returncode == 0 and f"{cage}, which runs, in {where}" in done.stderr, (
            done.stderr
        )
        found = [line[1:] for line in done.stdout.splitlines() if line[1:].isdigit()]
        if len(found) == 2 and all(found):  # a file may have been caught between open and write
            first, second = map(int, found)
            assert first - second in (0, 1)
            seen.append(first)
    assert seen == sorted(set(seen)) and seen, "it went on between"
    other = verb(bounded, where, "diff", cage, uid=OTHER)
    assert other.returncode == 125 and not other.stdout
    assert verb(bounded, where, "commit", cage, uid=uid).returncode == 125, "it still runs"
    assert list(where.iterdir()) == []
    assert verb(bounded, where, "stop", "--kill", cage, uid=uid).returncode == 0
    assert verb(bounded, where, "discard", cage, uid=uid).returncode == 0
