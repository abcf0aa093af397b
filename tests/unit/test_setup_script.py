"""The shell functions of packaging/setup.sh, by what they are given and say; nothing is
installed.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "setup.sh"

# What the tools say when there is no network, and what of it is the cause.
CAUSES = {
    "Err:1 http://deb.debian.org/debian trixie InRelease\n"
    "  Temporary failure resolving 'deb.debian.org'\n"
    "E: Some index files failed to download.": "Temporary failure resolving 'deb.debian.org'",
    "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError("
    '"HTTPSConnection: Failed to establish a new connection: [Errno -3] Temporary failure in'
    " name resolution\")': /simple/trio/": "Temporary failure in name resolution",
    "Failed to establish a new connection: [Errno 101] Network is unreachable'))": (
        "Network is unreachable"
    ),
    "E: Could not connect to mirror (10.0.0.1). - connect (111: Connection refused)": (
        "Connection refused"
    ),
    "ERROR: No matching distribution found for trio>=99": "",
    "native/src/mount.c:14: error: expected ';'": "",
}
APT_2 = """Need to get 74.3 MB of archives.
After this operation, 282 MB of additional disk space will be used."""
APT_3 = """Summary:
  Upgrading: 0, Installing: 40, Removing: 0, Not Upgrading: 0
  Download size: 74.3 MB
  Space needed: 282 MB / 51.0 GB available"""


def sourced(command: str, *words: str, **env: str) -> str:
    """What a command prints after ``setup.sh`` was sourced."""
    script = f'source "{SCRIPT}"; set -euo pipefail; {command}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("log", CAUSES)
def test_the_cause_of_a_failure_of_the_network_is_found(log: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(log)
    assert sourced('find_cause "$1"', str(tmp_path / "log")).strip() == CAUSES[log]


@pytest.mark.parametrize("words", [APT_2, APT_3])
def test_apts_own_figures_are_told(words: str, tmp_path: Path) -> None:
    fake = tmp_path / "apt-get"
    # As --assume-no does, it fails.
    fake.write_text(f"#!/bin/sh\ncat <<'END'\n{words}\nEND\nexit 1\n")
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert sourced("apt_sizes gcc", PATH=path) == "74.3 MB to download, 282 MB on disk\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files that are root's")
@pytest.mark.parametrize(
    ("sudo", "owner"),
    [({"SUDO_UID": "65533", "SUDO_GID": "65534"}, (65533, 65534)), ({}, (65534, 65534))],
    ids=["sudo", "su"],
)
def test_what_it_made_is_given_to_who_typed_sudo_and_nothing_else(
    sudo: dict[str, str], owner: tuple[int, int], tmp_path: Path
) -> None:
    os.chown(tmp_path, 65534, 65534)
    (tmp_path / "before").mkdir(mode=0o700)
    steps = 'mkdir -p "$venv" before/made; touch "$venv/akios-made" made; give_back'
    env = {"SUDO_UID": "", "SUDO_GID": "", **sudo}
    sourced(f'repo=$1 venv=$1/.venv; cd "$1"; note_root_owned; {steps}', str(tmp_path), **env)

    def of(name: str) -> tuple[int, int]:
        found = (tmp_path / name).stat()
        return found.st_uid, found.st_gid

    for name in ("made", "before/made", ".venv", ".venv/akios-made"):
        assert of(name) == owner, name
    assert of("before") == (0, 0) and (tmp_path / "before").stat().st_mode & 0o777 == 0o700
