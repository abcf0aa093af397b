"""Runs a row in a cage and outside, and judges."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.compat.installs import Had, find
from tests.compat.row import Row
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.models import Models

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class Outcome(NamedTuple):
    """One line of the table.  ``verdict``: works, refused or skipped; ``words``: the last line it
    printed, those of the refusal, or what is missing.
    """

    row: Row
    version: str
    verdict: str
    words: str = ""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def try_row(row: Row, daemon: Daemon, models: Models) -> Outcome:
    """Raises AssertionError where the row is not what it says, MissingError without its program."""
    had = find(row.source)
    for package in row.needs:
        find(f"debian:{package}")
    models.received.clear()
    models.plan = (row.plan[0], dict(row.plan[1]))
    inside = _inside(row, had, daemon)
    shown = f"inside: {inside.code}\n{inside.out}\n{inside.err}"
    asked = len(models.received)
    if row.refused:
        assert inside.code != 0, shown
        found = re.search(f".*({row.refused}).*", inside.err + inside.out, re.IGNORECASE)
        assert found, shown
        if not row.control:
            outside = _outside(row, had, models)
            assert outside.code == 0, f"the control fails: {outside}"
        return Outcome(row, had, "refused", _one_line(found[0]))
    assert inside.code == 0, shown
    assert asked or not row.models, f"no model was asked; {shown}"
    assert re.search(row.shows, inside.out, re.DOTALL), shown
    if not row.control:
        outside = _outside(row, had, models)
        assert outside.code == 0, f"the control fails: {outside}"
        assert inside.out == outside.out and inside.out, f"{shown}\noutside:\n{outside}"
    return Outcome(row, had, "works", _one_line((inside.out.strip().splitlines() or [""])[-1]))


def _one_line(text: str) -> str:
    # Where the program lies, and the process and time with which chromium begins its lines.
    text = re.sub(r"^(/bin/|/usr/bin/|\S+: line \d+: |\[\d+:\d+:\d+/[\d.]+:)", "", text.strip())
    return re.sub(r"\x1b\[[0-9;]*m|`|\|", "", text)[:160]


def _prepare(row: Row, where: Path, had: Had, uid: int) -> dict[str, str]:
    """Lay out the row's files and a fresh home; the environment."""
    for name, text in row.files.items():
        file = where / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    # One path for all: akiosd remembers the homes it has seen of a user, and bounds them.
    home = Path(tempfile.gettempdir()) / f"akios-compat-home-{os.getpid()}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    for place in (where, home):
        subprocess.run(["chown", "-R", f"{uid}:{NOBODY if uid else 0}", place], check=True)
    path = [*map(str, had.path), SYSTEM_PATH]
    if row.as_root:
        path.insert(0, str(Path.home() / ".cargo" / "bin"))
    env = {
        "PATH": ":".join(path),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "USER": "nobody" if uid else "root",
        "LOGNAME": "nobody" if uid else "root",
        "SHELL": "/bin/bash",
        "TERM": "dumb",
        "CI": "true",
    }
    if row.as_root:
        env["RUSTUP_HOME"], env["CARGO_HOME"] = (f"{Path.home()}/.{n}" for n in ("rustup", "cargo"))
    if had.modules is not None:
        env["NODE_MODULES"] = str(had.modules)
    return env


def _inside(row: Row, had: Had, daemon: Daemon) -> Ran:
    uid = 0 if row.as_root else NOBODY
    where = daemon.workspace(uid=uid)
    env = _prepare(row, where, had, uid)
    if row.policy:
        (where / "akios.yaml").write_text(f"version: 1\n{row.policy}\n")
    keep = [f"--env=NODE_MODULES={had.modules}"] if had.modules else []
    flags = ["--discard", "--timeout", f"{row.seconds}s", *keep, *row.flags]
    try:
        done = daemon.run(
            *("bash", "-euc", row.script),
            flags=flags,
            cwd=where,
            uid=uid,
            env=env,
            timeout=row.seconds + 60,
        )
    finally:
        shutil.rmtree(env["HOME"], ignore_errors=True)
    err = _without_places(done.stderr, where, env)
    return Ran(done.returncode, _blurred(row, done.stdout, where, env), err)


def _outside(row: Row, had: Had, models: Models) -> Ran:
    uid = 0 if row.as_root else NOBODY
    where = Path(tempfile.mkdtemp(prefix="akios-compat-"))
    env = _prepare(row, where, had, uid)
    env |= {name: text.replace("{url}", models.url) for name, text in row.outside.items()}
    who = {} if uid == 0 else {"user": uid, "group": NOBODY, "extra_groups": []}
    running = subprocess.Popen(
        ["bash", "-euc", row.script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=where,
        env=env,
        start_new_session=True,
        **who,  # type: ignore[call-overload]
    )
    try:
        out, err = running.communicate(timeout=row.seconds + 60)
        return Ran(running.returncode, _blurred(row, out, where, env), err)
    finally:
        # What the row left running in its own session ends with it.
        try:
            os.killpg(running.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        running.wait()
        for place in (where, Path(env["HOME"])):
            shutil.rmtree(place, ignore_errors=True)


def _blurred(row: Row, text: str, where: Path, env: dict[str, str]) -> str:
    text = _without_places(text, where, env)
    for expression in row.blur:
        text = re.sub(expression, "", text)
    return text


def _without_places(text: str, where: Path, env: dict[str, str]) -> str:
    return text.replace(str(where), "HERE").replace(env["HOME"], "HOME")
