"""The workspace of somebody else: whatever its files say, and whatever he calls his command, nothing
of this user is shown because of it.  The control of each is the user's own run, which shows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akiosctl.locate import CommandNotFoundError, Toolchain, locate_toolchain
from akiosctl.programs import find_command
from akiosctl.version_managers import Host, known_roots
from tests.unit.client.test_locate import Machine, make_pyenv


class ForeignMachine(Machine):
    def locate_foreign(
        self, argv0: str, cwd: Path | None = None, *, own_command: bool = False
    ) -> Toolchain:
        env = {"PATH": ":".join(self.path), **self.env}
        found = locate_toolchain(
            *(argv0, env, str(self.workspace), str(self.home), str(cwd or self.workspace)),
            foreign=True,
            own_command=own_command,
        )
        self.found.append(found)
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[ForeignMachine]:
    made = ForeignMachine(tmp_path)
    (made.workspace / ".venv/bin").mkdir(parents=True)
    yield made
    for found in made.found:
        found.close()


def _root_places() -> dict[str, str]:
    """Where a program of each known manager lies, below a home."""
    roots = known_roots(Host({}, "/home", "/home/w", "/home/w"))
    below = ("/tool", "/tool/1.2")
    return {
        f"{root.why} in {root.path.removeprefix('/home/')}": root.path.removeprefix("/home/")
        + "".join(below[root.depth - 1 : root.depth] if root.depth else ())
        for root in roots
        if root.path.startswith("/home/") and root.why != "homebrew"
    }


PLACES = _root_places() | {"a tree shaped like a Python": "any/where"}
Way = Callable[[ForeignMachine, Path], str]


def _as_home(machine: ForeignMachine, program: Path) -> str:
    (machine.workspace / ".venv/pyvenv.cfg").write_text(f"home = {program.parent}\n")
    return "sh"


def _as_shebang(machine: ForeignMachine, program: Path) -> str:
    (machine.workspace / ".venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    script = machine.workspace / ".venv/bin/python3"
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    return "sh"


def _as_link(machine: ForeignMachine, program: Path) -> str:
    (machine.workspace / ".venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (machine.workspace / ".venv/bin/python3").symlink_to(program)
    return "sh"


def _as_command(machine: ForeignMachine, program: Path) -> str:
    script = machine.workspace / "tool"
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    return "./tool"


def _beside_the_command(machine: ForeignMachine, program: Path) -> str:
    """The command is of another environment in the workspace."""
    (machine.workspace / "other/bin").mkdir(parents=True)
    (machine.workspace / "other/pyvenv.cfg").write_text(f"home = {program.parent}\n")
    command = machine.workspace / "other/bin/agent"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return "other/bin/agent"


def _in_path(machine: ForeignMachine, program: Path) -> str:
    """An entry of PATH that is relative leads into the workspace."""
    machine.path.insert(0, "env/bin")
    (machine.workspace / "env/bin").mkdir(parents=True)
    (machine.workspace / "env/pyvenv.cfg").write_text(f"home = {program.parent}\n")
    return "sh"


def _link_in_path(machine: ForeignMachine, program: Path) -> str:
    machine.env["VIRTUAL_ENV"] = str(machine.workspace / "env")
    (machine.workspace / "env/bin").mkdir(parents=True)
    (machine.workspace / "env/pyvenv.cfg").write_text("home = /usr/bin\n")
    (machine.workspace / "env/bin/python3").symlink_to(program)
    return "sh"


WAYS: tuple[Way, ...] = (
    *(_as_home, _as_shebang, _as_link, _as_command, _beside_the_command, _in_path, _link_in_path),
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_it_leads_to_an_installation(
    machine: ForeignMachine, place: str, way: Way
) -> None:
    where = PLACES[place]
    program = machine.program(
        where + "/python3" if where.endswith("/bin") else where + "/bin/python3"
    )
    if where == "any/where":
        (machine.home / where / "lib/python3.99").mkdir(parents=True)
        (machine.home / where / "lib/python3.99/os.py").touch()
    command = way(machine, program)
    for own_command in (False, True):
        asked = "sh" if own_command else command
        assert machine.trees(machine.locate_foreign(asked, own_command=own_command)) == {}
    shown = machine.locate(command)  # the control
    assert any(program.is_relative_to(bind.inside) for bind in shown.binds)


def test_its_version_files_choose_nothing(machine: ForeignMachine) -> None:
    make_pyenv(machine, "3.11.7", "3.12.1")
    (machine.workspace / ".python-version").write_text("3.12.1\n")
    for version in ("20.1.0", "22.2.0"):
        machine.program(f".asdf/installs/nodejs/{version}/bin/node")
        machine.program(f".rustup/toolchains/{version}-x/bin/rustc")
    machine.program(".asdf/shims/node")
    (machine.home / ".tool-versions").write_text("nodejs 20.1.0\n")
    (machine.workspace / ".tool-versions").write_text("nodejs 22.2.0\n")
    machine.program(".cargo/bin/cargo")
    (machine.home / ".rustup/settings.toml").write_text('default_toolchain = "20.1.0-x"\n')
    (machine.workspace / "rust-toolchain").write_text("22.2.0\n")
    machine.path[:0] = [f"{machine.home}/.asdf/shims", f"{machine.home}/.cargo/bin"]
    own = {
        ".pyenv/versions/3.11.7",
        ".asdf/installs/nodejs/20.1.0",
        ".rustup/toolchains/20.1.0-x",
        ".cargo/bin",
    }
    # What this process's own PATH, variables and home choose is shown as ever.
    assert set(machine.trees(machine.locate_foreign("sh"))) == own
    found = machine.locate_foreign("python3")
    assert found.command == f"{machine.home}/.pyenv/versions/3.11.7/bin/python3"
    chosen = {
        ".pyenv/versions/3.12.1",
        ".asdf/installs/nodejs/22.2.0",
        ".rustup/toolchains/22.2.0-x",
        ".cargo/bin",
    }
    assert set(machine.trees(machine.locate("sh"))) == chosen  # the control


def test_its_command_shows_nothing_and_does_not_tell_what_there_is(
    machine: ForeignMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = machine.program("any/where/tool", "#!/bin/sh\n")
    machine.path.insert(0, str(program.parent))
    (machine.workspace / "link").symlink_to(program)
    (machine.workspace / "up").symlink_to(program.parent)
    said = set()
    for word in (str(program), f"{program.parent}/none", f"{machine.home}/.ssh/id_ed25519"):
        with pytest.raises(CommandNotFoundError) as refused:
            machine.locate_foreign(word)
        said.add(str(refused.value).replace(word, "it"))
    assert len(said) == 1 and "neither a program of the system" in said.pop()
    for word in ("./link", "up/tool", "../../../any/where/tool"):
        with pytest.raises(CommandNotFoundError, match="neither a program of the system"):
            machine.locate_foreign(word)
    with pytest.raises(CommandNotFoundError, match="tool: command not found"):
        machine.locate_foreign("tool")
    for word in (str(program), "tool"):  # the control
        assert machine.trees(machine.locate(word)) == {"any/where/tool": "command"}
    # So, too, where a program is for a cage that stands already.
    monkeypatch.setenv("HOME", str(machine.home))
    monkeypatch.setenv("PATH", ":".join(machine.path))
    place = str(machine.workspace)
    assert find_command("tool", place, place) == str(program)
    with pytest.raises(CommandNotFoundError, match="command not found"):
        find_command("tool", place, place, foreign=True)


def test_what_it_may_name_is_found(machine: ForeignMachine) -> None:
    """The system, the workspace, and what this process's own PATH shows."""
    tool = machine.workspace / "tool"
    tool.write_text("#!/usr/bin/env python3\n")
    tool.chmod(0o755)
    (machine.workspace / "link").symlink_to("tool")
    for word, command in (
        ("./tool", tool),
        ("link/../tool", tool),
        ("./link", tool.with_name("link")),
    ):
        found = machine.locate_foreign(word)
        assert (found.command, found.binds) == (str(command), [])
    assert machine.locate_foreign("sh").command == "/usr/bin/sh"
    assert machine.locate_foreign("/bin/sh").command == "/bin/sh"
    make_pyenv(machine, "3.11.7")
    inside = machine.home / ".pyenv/versions/3.11.7/bin"
    (inside / "python").symlink_to("python3")
    for word in ("python", str(inside / "python")):
        found = machine.locate_foreign(word)
        assert found.command == str(inside / "python")
        assert machine.trees(found) == {".pyenv/versions/3.11.7": "pyenv"}


def test_its_runs_own_command_is_shown(machine: ForeignMachine) -> None:
    """The program that does the steps of a workflow is this process's, not its author's."""
    program = machine.program("env/bin/python3", "#!/bin/sh\n")
    (machine.home / "env/pyvenv.cfg").write_text("home = /usr/bin\n")
    found = machine.locate_foreign(str(program), own_command=True)
    assert found.command == str(program) and set(machine.trees(found)) == {"env"}
    with pytest.raises(CommandNotFoundError):
        machine.locate_foreign(str(program))
    assert os.path.exists(program)
