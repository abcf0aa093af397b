"""``ledger verify --all`` over a state directory: every cage that the host's log tells of must be
there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from akiosctl.commands import run_verb
from akiosctl.pins import pins_directory
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import CageBirth, CageDestroyed, CageEnd, Record, Roots, Started
from tests.unit.store.test_tombstone import write

KEY = LedgerKey("akios/test", bytes(range(32)))
CAGE, OTHER = LogId("c-000000000001"), LogId("c-000000000002")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    return tmp_path / "state"


def verify_all(state: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    code = run_verb(
        ["ledger", "verify", "--all", "--dir", str(state), "--json"], "/nonexistent", False
    )
    return code, {
        log: found["verdict"] for log, found in json.loads(capsys.readouterr().out)["logs"].items()
    }


def host_of(state: Path, *more: Record) -> None:
    """A host log that lists one cage, whose log is there, and says ``more``."""
    found = write(state, CAGE, KEY, [Started(ts=1, pid=1)])
    roots = Roots(ts=2, roots=((CAGE, found.size, found.root),))
    write(state, HOST_LOG, KEY, [CageBirth(ts=1, cage=CAGE), roots, *more])


BIRTH, END = CageBirth(ts=3, cage=OTHER), CageEnd(ts=4, cage=OTHER)
# What the host's log tells of a cage of which nothing is on disk, and whose root it never listed.
TOLD: dict[str, tuple[tuple[Record, ...], int, dict[str, str]]] = {
    "nothing": ((), 0, {}),
    "that it runs": (
        (BIRTH,),
        0,
        {},
    ),  # its log is published within ten seconds, or with the next start
    "that it began and ended": ((BIRTH, END), 3, {OTHER: "INCOMPLETE"}),
    "its end alone": ((END,), 3, {OTHER: "INCOMPLETE"}),
    "that it was destroyed": (
        (BIRTH, END, CageDestroyed(ts=5, cage=OTHER, size=1, root=bytes(32))),
        0,
        {OTHER: "DESTROYED"},
    ),
}


@pytest.mark.parametrize("told", TOLD)
def test_a_cage_that_ended_and_left_nothing_is_missed(
    state: Path, capsys: pytest.CaptureFixture[str], told: str
) -> None:
    records, code, more = TOLD[told]
    host_of(state, *records)
    assert verify_all(state, capsys) == (code, {HOST_LOG: "OK", CAGE: "OK", **more})


GONE: dict[str, Callable[[Path], object]] = {
    "all cages": lambda state: shutil.rmtree(state / "cages"),
    "all cages, a file in their place": lambda state: (
        shutil.rmtree(state / "cages"),
        (state / "cages").write_text("x"),
    ),
    "the log": lambda state: shutil.rmtree(state / directory(CAGE)),
}


@pytest.mark.parametrize("gone", GONE)
def test_what_is_gone_has_a_verdict(
    state: Path, capsys: pytest.CaptureFixture[str], gone: str
) -> None:
    host_of(state)
    GONE[gone](state)
    assert verify_all(state, capsys) == (3, {HOST_LOG: "OK", CAGE: "INCOMPLETE"})


@pytest.mark.parametrize("suffix", ["", ".vkey", ".witnesses"])
@pytest.mark.parametrize("log", [HOST_LOG, CAGE])
def test_what_is_kept_and_damaged_is_a_verdict_here_too(
    state: Path, capsys: pytest.CaptureFixture[str], log: LogId, suffix: str
) -> None:
    host_of(state)
    path = pins_directory() / (KEY.origin(log).replace("/", "%2F") + suffix)
    path.mkdir(parents=True)
    code, found = verify_all(state, capsys)
    assert (code, found[log]) == (3, "INCOMPLETE")
    path.rmdir()
    assert verify_all(state, capsys)[0] == 0
