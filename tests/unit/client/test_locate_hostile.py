"""A workspace is an agent's work of yesterday: whatever stands in its files, the next run starts,
and shows no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosctl.locate import locate_toolchain
from akiosctl.toolchain import venv_home
from akiosd.errors import AkiosError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.client.test_locate import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    made.program(".pyenv/versions/3.11.7/bin/python3")
    (made.workspace / ".venv/bin").mkdir(parents=True)
    yield made
    for found in made.found:
        found.close()


# What means something to one of the readers, and what breaks one.
PIECES = st.sampled_from(
    [
        b"home",
        b" = ",
        b"=",
        b"/",
        b"\0",
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
        b"..",
        b"/usr/bin",
        b"/nowhere/bin",
        b"HOME=/x\0y",
        b"\xff",
        b"\xed\xa0\x80",
        "\u202e".encode(),
        b"#!",
        b"/usr/bin/env ",
        b"'''exec' ",
        b'channel = "',
        b'"',
        b"[",
        b"#",
        b"3.11",
        b"python ",
        b"a" * 300,
        b"/" * 5000,
        b"9" * 5000,
        b"HERE/.ssh",
        b"HERE/bin",
        b"home = /x\0y\n",
        b"HERE/.pyenv/versions/3.11.7/bin",
    ]
)
CONTENTS = st.one_of(st.lists(PIECES, max_size=12).map(b"".join), st.binary(max_size=64))
FILES = (".venv/pyvenv.cfg", ".venv/bin/tool", ".python-version", ".tool-versions", "rust-toolchain",
         "rust-toolchain.toml", "venv", "tool")  # fmt: skip


@given(files=st.dictionaries(st.sampled_from(FILES), CONTENTS, max_size=4), link=st.sampled_from(
    ["", "python3", "../..", "HERE/.ssh/id_ed25519", "HERE", "/", "/proc/self/exe", "x" * 200, "/" + "y/" * 500]
))  # fmt: skip
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_content_stops_a_run_or_shows_more(
    machine: Machine, files: dict[str, bytes], link: str
) -> None:
    here = os.fsencode(machine.home)
    for name in FILES:
        (machine.workspace / name).unlink(missing_ok=True)
    (machine.workspace / ".venv/bin/python3").unlink(missing_ok=True)
    for name, content in files.items():
        (machine.workspace / name).write_bytes(content.replace(b"HERE", here))
        (machine.workspace / name).chmod(0o755)
    if link:
        (machine.workspace / ".venv/bin/python3").symlink_to(
            link.replace("HERE", str(machine.home))
        )
    for command in ("sh", "./tool", ".venv/bin/tool"):
        try:
            found = machine.locate(command)
        except AkiosError:
            continue
        assert set(machine.trees(found)) <= {".pyenv/versions/3.11.7"}
        found.close()
        machine.found.remove(found)


@pytest.mark.parametrize(("text", "home"), [
    ("home = /a/bin", "/a/bin"), ("  HOME=/a b/bin \r\nversion = 3", "/a b/bin"),
    ("x\n\thome\t=\t/a/b/../bin\n", "/a/bin"),
    ("home = a/bin\n", ""), ("homes = /a/bin", ""), ("home /a/bin", ""), ("home = /a\0/bin", ""), ("home\n=\n/a", ""),
    ("home = /a\nhome = /b", "/a"), ("", ""), ("home =", ""),
])  # fmt: skip
def test_the_home_that_a_pyvenv_cfg_names(text: str, home: str) -> None:
    assert venv_home(text.encode()) == home


def test_a_python_that_only_the_workspace_names_is_shown_if_it_is_nothing_else(
    machine: Machine,
) -> None:
    """The control is the same tree without a file that no installation has."""
    machine.program("mixed/bin/python3")
    (machine.home / "mixed/lib/python3.11").mkdir(parents=True)
    (machine.home / "mixed/lib/python3.11/os.py").touch()
    (machine.home / "mixed/credentials.json").write_text("secret")
    (machine.workspace / ".venv/pyvenv.cfg").write_text(f"home = {machine.home}/mixed/bin\n")
    assert machine.trees(machine.locate("sh")) == {}
    (machine.home / "mixed/credentials.json").unlink()
    assert machine.trees(machine.locate("sh")) == {"mixed": "python"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user in a child")
def test_a_directory_that_cannot_be_listed_is_no_installation(machine: Machine) -> None:
    machine.program("closed/bin/python3")
    (machine.home / "closed/lib").mkdir()
    (machine.home / "closed/lib").chmod(0o711)
    (machine.workspace / ".venv/pyvenv.cfg").write_text(f"home = {machine.home}/closed/bin\n")
    for place in (machine.home, *machine.home.parents):
        if place.stat().st_uid == 0 and place.is_relative_to("/tmp") and place != Path("/tmp"):
            place.chmod(0o755)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setresuid(65534, 65534, 65534)
            env = {"PATH": "/usr/bin:/bin"}
            locate_toolchain(
                "sh", env, str(machine.workspace), str(machine.home), str(machine.workspace)
            ).close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
