"""Random histories of runs, failures, directories, names, restarts and verbs, by the real client
and daemon.

Every run that changes something makes one file of its own, so that each directory tells which cages
were written to it.  After each step all directories must hold exactly what the model says: no verb
touched one in which its cage was not started, and the cage it took was the newest there, or the one
that was named.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon

USERS = (0, NOBODY, OTHER)
STEPS = 25


@dataclasses.dataclass(eq=False)
class Place:
    """One directory, whatever it is called; ``files`` is what it must hold."""

    path: Path
    files: set[str]


@dataclasses.dataclass(eq=False)
class Run:
    cage: str
    user: int
    place: Place
    order: int
    file: str
    waits: bool


class History:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        # Nobody keeps its cages: a killed daemon takes them with it.
        self.daemon = Daemon("pools: {userns: 2}\nrestart: {come_back_s: 0}\n")
        self.daemon.start()
        self.runs: list[Run] = []
        self.count = 0
        self.log: list[str] = []
        self.places = [self.make(self.daemon.base / name) for name in ("a", "b", "a/below", "c")]
        self.link = self.daemon.base / "link"

    def make(self, path: Path) -> Place:
        path.mkdir()
        path.chmod(0o777)
        (path / "bad").write_text("#!/no/such/program\n")
        (path / "bad").chmod(0o755)
        (path / "akios.yaml").write_text(
            "version: 1\n"
        )  # the run's workspace is this one, not the one around it
        return Place(path, {"bad", "akios.yaml"})

    # ---- steps -----------------------------------------------------------------------------------

    def step(self) -> None:
        steps = (
            self.run,
            self.run,
            self.run,
            self.verb,
            self.verb,
            self.verb,
            self.named,
            self.named,
            self.move,
            self.swap,
            self.make_again,
            self.restart,
            self.kill,
        )
        self.chance.choice(steps)()
        self.check()

    def pick(self) -> tuple[Place, Path, int]:
        """A place, a name of it, a user."""
        place = self.chance.choice(self.places)
        where = place.path
        if self.chance.random() < 0.3:
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(where)
            where = self.link
        return place, where, self.chance.choice(USERS)

    def ctl(self, where: Path, user: int, *words: str) -> subprocess.CompletedProcess[str]:
        done = self.daemon.ctl(*words, uid=user, cwd=where)
        self.log.append(
            f"{user} in {where}: {' '.join(words)} -> {done.returncode} {done.stdout!r} {done.stderr!r}"
        )
        assert "Traceback" not in done.stderr
        return done

    def run(self) -> None:
        place, where, user = self.pick()
        self.count += 1
        file = f"run-{self.count}"
        script = self.chance.choice((f"touch {file}", f"touch {file}", "true", "./bad"))
        words = ["./bad"] if script == "./bad" else ["sh", "-c", script]
        done = self.ctl(where, user, "run", "--json", "--", *words)
        cage = json.loads(done.stderr.splitlines()[-1]).get("cage", "")
        if not cage:  # it failed to start: its name is in the daemon's list
            rows = json.loads(self.daemon.ctl("ps", "--all", "--json").stdout)
            known = {run.cage for run in self.runs}
            (cage,) = [row["cage"] for row in rows if row["cage"] not in known]
        self.runs.append(Run(cage, user, place, self.count, file, "touch" in script))

    def verb(self) -> None:
        place, where, user = self.pick()
        here = [run for run in self.runs if run.place is place and run.user == user]
        newest = max(here, key=lambda run: run.order, default=None)
        word = self.chance.choice(("commit", "commit", "discard", "diff"))
        done = self.ctl(where, user, word)
        expected = newest is not None and newest.waits
        assert (done.returncode == 0) == expected, (
            "it takes the newest here if that has changes, and nothing else"
        )
        if expected and newest is not None:
            self.settle(newest, word, done)

    def named(self) -> None:
        if not self.runs:
            return
        _, where, user = self.pick()
        run = self.chance.choice(self.runs)
        word = self.chance.choice(("commit", "discard", "diff"))
        name = run.cage[: self.chance.choice((5, 14, 14))]
        done = self.ctl(where, user, word, name)
        if done.returncode == 0:
            assert run.waits and user in (0, run.user), (
                "only what waits, and only for its user or root"
            )
            assert name == run.cage or word == "diff", "three characters are no name to write by"
            self.settle(run, word, done)

    def settle(self, run: Run, word: str, done: subprocess.CompletedProcess[str]) -> None:
        assert run.cage in done.stdout + done.stderr
        if word == "commit":
            run.place.files.add(run.file)
            assert str(run.place.path) in done.stdout, "it says where"
        run.waits = run.waits and word == "diff"

    def move(self) -> None:
        place = self.chance.choice(self.places)
        self.count += 1
        self.rename(place, place.path.with_name(f"moved-{self.count}"))

    def swap(self) -> None:
        one, other = self.chance.sample(self.places, 2)
        if one.path in other.path.parents or other.path in one.path.parents:
            return
        first, second, aside = one.path, other.path, self.daemon.base / "aside"
        self.rename(one, aside)
        self.rename(other, first)
        self.rename(one, second)

    def rename(self, place: Place, path: Path) -> None:
        before = place.path
        before.rename(path)
        for other in self.places:
            if other is place or before in other.path.parents:
                other.path = path / other.path.relative_to(before)
        self.log.append(f"{before} is {path} now")

    def make_again(self) -> None:
        place = self.chance.choice(self.places)
        if any(place.path in other.path.parents for other in self.places):
            return
        shutil.rmtree(place.path)
        self.places[self.places.index(place)] = self.make(place.path)
        self.log.append(f"{place.path} was made again")

    def restart(self) -> None:
        self.daemon.stop()
        self.daemon.start()
        self.log.append("restarted")

    def kill(self) -> None:
        """With a cage at work: what it did is kept."""
        place, where, user = self.pick()
        self.count += 1
        file = f"run-{self.count}"
        words = ("run", "--", "sh", "-c", f"touch {file}; echo did; exec sleep 600")
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = self.daemon.popen(*words, uid=user, cwd=where, **streams)
        assert process.stdout is not None and process.stdout.readline() == "did\n"
        (row,) = [
            row for row in json.loads(self.daemon.ctl("ps", "--json").stdout) if not row["ended_ns"]
        ]
        self.daemon.stop(signal.SIGKILL)
        process.communicate(timeout=60)
        self.daemon.start()
        self.runs.append(Run(row["cage"], user, place, self.count, file, True))
        self.log.append(f"killed with {row['cage']} of {user} in {where}")

    # ---- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        for place in self.places:
            inner = {other.path.name for other in self.places if other.path.parent == place.path}
            assert set(os.listdir(place.path)) == place.files | inner, place.path
        rows = json.loads(self.daemon.ctl("ps", "--json").stdout)
        assert {row["cage"] for row in rows} == {run.cage for run in self.runs if run.waits}, (
            "nothing is lost"
        )


LONG = [pytest.param(seed, marks=pytest.mark.named_set("histories")) for seed in range(1, 13)]


@pytest.mark.parametrize("seed", [0, *LONG])
def test_no_verb_touches_what_it_was_not_meant_for(seed: int) -> None:
    history = History(seed)
    try:
        for _ in range(STEPS if seed else STEPS // 3):
            history.step()
    except BaseException:
        print("\n".join(history.log))
        raise
    finally:
        history.daemon.close()
