"""Finding the workspace, the policy files and the toolchain in real directories laid out as each
manager does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosctl.locate import (
    CommandNotExecutableError,
    CommandNotFoundError,
    Toolchain,
    locate_toolchain,
    locate_workspace,
)
from akiosd.errors import AkiosError


class Machine:
    """A home, a workspace and a PATH that start empty."""

    def __init__(self, base: Path) -> None:
        self.home, self.workspace = base / "home/dev", base / "home/dev/project"
        self.workspace.mkdir(parents=True)
        (self.home / ".ssh").mkdir()
        (self.home / ".ssh/id_ed25519").write_text("secret")
        self.env: dict[str, str] = {}
        self.path: list[str] = ["/usr/bin", "/bin"]
        self.found: list[Toolchain] = []

    def program(self, path: str, text: str = "\x7fELF") -> Path:
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755)
        return target

    def link(self, path: str, target: str) -> None:
        (self.home / path).parent.mkdir(parents=True, exist_ok=True)
        (self.home / path).symlink_to(target)

    def locate(self, argv0: str, cwd: Path | None = None) -> Toolchain:
        env = {"PATH": ":".join(self.path), **self.env}
        found = locate_toolchain(
            argv0, env, str(self.workspace), str(self.home), str(cwd or self.workspace)
        )
        self.found.append(found)
        for bind in found.binds:
            assert os.readlink(f"/proc/self/fd/{bind.fd}") == os.path.realpath(bind.inside)
            assert not os.get_inheritable(bind.fd)
            assert not os.path.lexists(f"{bind.inside}/.ssh")
        return found

    def trees(self, found: Toolchain) -> dict[str, str]:
        return {os.path.relpath(bind.inside, self.home): bind.why for bind in found.binds}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for found in made.found:
        found.close()


def make_pyenv(machine: Machine, *versions: str) -> None:
    root = machine.home / ".pyenv"
    for version in versions:
        for name in ("python3", "pip"):
            machine.program(f".pyenv/versions/{version}/bin/{name}")
    for name in ("python3", "pip", "pytest"):
        machine.program(f".pyenv/shims/{name}", "#!/usr/bin/env bash\nexec pyenv exec\n")
    machine.program(".pyenv/libexec/pyenv", "#!/bin/bash\n")
    machine.program(".pyenv/bin/pyenv", "#!/bin/bash\n")
    (root / "version").write_text(f"{versions[0]}\n")
    machine.path[:0] = [f"{root}/shims", f"{root}/bin"]


def test_system_programs_need_nothing(machine: Machine) -> None:
    found = machine.locate("sh")
    assert found.command == "/usr/bin/sh" and found.binds == []
    assert found.env["PATH"].split(":")[:2] == ["/usr/bin", "/bin"]


def test_pyenv_shims_become_the_version_they_select(machine: Machine) -> None:
    make_pyenv(machine, "3.11.7", "3.12.1", "3.12.10")
    versions = machine.home / ".pyenv/versions"
    for name in ("python3", "pip"):
        found = machine.locate(name)
        assert found.command == f"{versions}/3.11.7/bin/{name}"
        assert machine.trees(found) == {".pyenv/versions/3.11.7": "pyenv"}
        assert found.env["PATH"].split(":")[0] == f"{versions}/3.11.7/bin"
        assert ".pyenv/shims" not in found.env["PATH"]
    (machine.workspace / ".python-version").write_text("3.12  # the newest\n")
    assert machine.locate("python3").command == f"{versions}/3.12.10/bin/python3"
    assert machine.locate("bash").env["PATH"].startswith(f"{versions}/3.12.10/bin:")
    machine.env["PYENV_VERSION"] = "3.12.1:3.11.7"
    found = machine.locate("python3", machine.workspace)
    assert found.command == f"{versions}/3.12.1/bin/python3"
    assert set(machine.trees(found)) == {".pyenv/versions/3.12.1", ".pyenv/versions/3.11.7"}
    assert (
        machine.locate(f"{machine.home}/.pyenv/shims/pip").command == f"{versions}/3.12.1/bin/pip"
    )


@pytest.mark.parametrize(
    "text", ["../../.ssh", "/etc", "..", "system", "9.9.9", "3.11.7/../../..", "\0", "a" * 5000]
)
def test_a_hostile_version_file_selects_nothing(machine: Machine, text: str) -> None:
    make_pyenv(machine, "3.11.7")
    (machine.workspace / ".python-version").write_text(text)
    found = machine.locate("sh")
    assert found.binds == []
    with pytest.raises(CommandNotFoundError):
        machine.locate("pytest")


def test_a_version_file_that_is_a_fifo_does_not_hang(machine: Machine) -> None:
    make_pyenv(machine, "3.11.7")
    os.mkfifo(machine.workspace / ".python-version")
    os.mkfifo(machine.workspace / "rust-toolchain")
    (machine.workspace / ".venv").mkdir()
    os.mkfifo(machine.workspace / ".venv/pyvenv.cfg")
    assert machine.locate("python3").command.endswith("3.11.7/bin/python3")


def test_a_venv_in_the_workspace_brings_its_python(machine: Machine) -> None:
    make_pyenv(machine, "3.11.7")
    real = f"{machine.home}/.pyenv/versions/3.11.7/bin"
    machine.link("project/.venv/bin/python", "python3")
    machine.link("project/.venv/bin/python3", f"{real}/python3")
    (machine.workspace / ".venv/pyvenv.cfg").write_text(f"home = {real}\nversion = 3.11.7\n")
    machine.program("project/.venv/bin/pytest", f"#!{machine.workspace}/.venv/bin/python\n")
    machine.path[:] = ["/usr/bin", "/bin"]
    for command in (".venv/bin/pytest", ".venv/bin/python", "sh"):
        found = machine.locate(command)
        assert machine.trees(found) == {".pyenv/versions/3.11.7": "pyenv"}, command
        assert found.notes == []
    assert machine.locate(".venv/bin/pytest").command == f"{machine.workspace}/.venv/bin/pytest"


def test_an_active_venv_elsewhere_is_shown_with_its_python(machine: Machine) -> None:
    machine.program(".local/share/uv/python/cpython-3.12-linux/bin/python3.12")
    machine.link(
        "envs/one/bin/python3",
        f"{machine.home}/.local/share/uv/python/cpython-3.12-linux/bin/python3.12",
    )
    (machine.home / "envs/one/pyvenv.cfg").write_text("home = /nonexistent\n")
    machine.env["VIRTUAL_ENV"] = f"{machine.home}/envs/one"
    machine.path.insert(0, f"{machine.home}/envs/one/bin")
    found = machine.locate("python3")
    assert machine.trees(found) == {
        ".local/share/uv/python/cpython-3.12-linux": "uv python",
        "envs/one": "venv",
    }
    assert found.env["VIRTUAL_ENV"] == machine.env["VIRTUAL_ENV"]
    assert found.command == f"{machine.home}/envs/one/bin/python3"


def test_a_pyenv_virtualenv_is_shown_under_both_its_names(machine: Machine) -> None:
    make_pyenv(machine, "3.11.7")
    machine.link(".pyenv/versions/3.11.7/envs/tool/bin/python3", "../../../bin/python3")
    (machine.home / ".pyenv/versions/3.11.7/envs/tool/pyvenv.cfg").write_text("home = /usr/bin\n")
    machine.link(".pyenv/versions/tool", f"{machine.home}/.pyenv/versions/3.11.7/envs/tool")
    machine.env["PYENV_VERSION"] = "tool"
    found = machine.locate("python3")
    assert set(machine.trees(found)) == {".pyenv/versions/3.11.7", ".pyenv/versions/tool"}


def test_nvm_npm_and_its_node(machine: Machine) -> None:
    node = ".nvm/versions/node/v20.1.0"
    machine.program(f"{node}/bin/node")
    machine.program(f"{node}/lib/node_modules/npm/bin/npm-cli.js", "#!/usr/bin/env node\n")
    machine.link(f"{node}/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js")
    machine.path.insert(0, f"{machine.home}/{node}/bin")
    found = machine.locate("npm")
    assert found.command == f"{machine.home}/{node}/bin/npm"
    assert machine.trees(found) == {node: "nvm"}


def test_packages_of_npm_in_a_prefix_of_ones_own(machine: Machine) -> None:
    """A package's program needs the packages beside it; what only the workspace names stays out."""
    modules = ".npm-global/lib/node_modules"
    machine.program(f"{modules}/@vendor/tool/bin/tool.js", "#!/usr/bin/env node\n")
    machine.program(f"{modules}/@vendor/tool-linux-x64/tool")
    machine.link(".npm-global/bin/tool", "../lib/node_modules/@vendor/tool/bin/tool.js")
    machine.path.insert(0, f"{machine.home}/.npm-global/bin")
    found = machine.locate("tool")
    assert machine.trees(found)[modules] == "npm"
    (machine.workspace / "tool").symlink_to(machine.home / modules / "@vendor/tool/bin/tool.js")
    machine.path.pop(0)
    assert machine.trees(machine.locate("./tool")) == {}


def test_uv_and_pipx_tools_behind_local_bin(machine: Machine) -> None:
    machine.program(".local/share/uv/python/cp312/bin/python3.12")
    for place in ("uv/tools/ruff", "pipx/venvs/black"):
        name = os.path.basename(place)
        python = f"{machine.home}/.local/share/{place}/bin/python"
        machine.link(
            f".local/share/{place}/bin/python",
            f"{machine.home}/.local/share/uv/python/cp312/bin/python3.12",
        )
        machine.program(f".local/share/{place}/bin/{name}", f"#!{python}\n")
        machine.link(f".local/bin/{name}", f"{machine.home}/.local/share/{place}/bin/{name}")
    machine.program(".local/bin/uv")
    machine.path.insert(0, f"{machine.home}/.local/bin")
    found = machine.locate("ruff")
    assert found.command == f"{machine.home}/.local/share/uv/tools/ruff/bin/ruff"
    assert set(machine.trees(found)) == {
        ".local/share/uv/tools/ruff",
        ".local/share/pipx/venvs/black",
        ".local/share/uv/python/cp312",
        ".local/bin/ruff",
        ".local/bin/black",
    }
    assert found.env["PATH"].startswith(f"{machine.home}/.local/bin:"), "an agent starts them, too"
    assert machine.locate("black").command.endswith("pipx/venvs/black/bin/black")
    single = machine.locate("uv")
    assert (f"{machine.home}/.local/bin/uv", False) in {
        (b.inside, b.is_directory) for b in single.binds
    }
    assert f"{machine.home}/.local/bin/uv" not in {b.inside for b in found.binds}, (
        "of no known tool"
    )


def test_an_entry_of_path_stays_where_something_in_it_is_shown(machine: Machine) -> None:
    """The command itself, or what the policy shows; the control: without either it is left out."""
    machine.program("bin/mine")
    machine.path.insert(0, f"{machine.home}/bin")
    assert machine.locate("mine").env["PATH"].split(":")[0] == f"{machine.home}/bin"
    other = machine.locate("/usr/bin/env")
    assert f"{machine.home}/bin" not in other.env["PATH"]
    assert any(f"{machine.home}/bin" in note for note in other.notes)
    shown = locate_toolchain(
        "/usr/bin/env",
        {"PATH": ":".join(machine.path)},
        str(machine.workspace),
        str(machine.home),
        shown=(f"{machine.home}/bin",),
    )
    machine.found.append(shown)
    assert shown.env["PATH"].split(":")[0] == f"{machine.home}/bin" and not shown.notes


def test_a_link_whose_program_looks_beside_itself_is_not_shown_alone(machine: Machine) -> None:
    machine.program(".local/share/uv/python/cp312/bin/python3.12")
    machine.program(".local/lib/node_modules/tool/cli.js", "#!/usr/bin/env node\n")
    machine.link(".local/bin/tool", f"{machine.home}/.local/lib/node_modules/tool/cli.js")
    python = f"{machine.home}/.local/share/uv/python/cp312/bin/python3.12"
    machine.link(".local/bin/python3.12", python)
    machine.link(".local/bin/secrets", f"{machine.home}/.ssh/id_ed25519")
    machine.path.insert(0, f"{machine.home}/.local/bin")
    assert machine.trees(machine.locate("/usr/bin/env")) == {}


def test_cargo_uses_the_toolchain_and_not_the_proxy(machine: Machine) -> None:
    machine.program(".cargo/bin/rustup")
    machine.link(".cargo/bin/cargo", "rustup")
    (machine.home / ".cargo/credentials.toml").write_text("secret")
    for name in ("stable-x86_64-unknown-linux-gnu", "nightly-x86_64-unknown-linux-gnu"):
        machine.program(f".rustup/toolchains/{name}/bin/cargo")
    (machine.home / ".rustup/settings.toml").write_text(
        'default_toolchain = "stable-x86_64-unknown-linux-gnu"\n'
    )
    machine.path.insert(0, f"{machine.home}/.cargo/bin")
    found = machine.locate("cargo")
    assert (
        found.command
        == f"{machine.home}/.rustup/toolchains/stable-x86_64-unknown-linux-gnu/bin/cargo"
    )
    assert set(machine.trees(found)) == {
        ".cargo/bin",
        ".rustup/toolchains/stable-x86_64-unknown-linux-gnu",
    }
    (machine.workspace / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "nightly"\n')
    assert "nightly" in machine.locate("cargo").command


def test_asdf_volta_and_fnm(machine: Machine) -> None:
    machine.program(".asdf/shims/ruby", "#!/bin/bash\n")
    machine.program(".asdf/installs/ruby/3.3.0/bin/ruby")
    (machine.workspace / ".tool-versions").write_text("ruby 3.3.0\nevil ../../../.ssh\n")
    machine.program(".volta/bin/node")
    machine.program(".volta/tools/image/node/20.0.0/bin/node")
    (machine.home / ".volta/tools/user").mkdir()
    (machine.home / ".volta/tools/user/platform.json").write_text(
        '{"node": {"runtime": "20.0.0", "npm": null}}'
    )
    machine.program(".local/share/fnm/node-versions/v18/installation/bin/node")
    machine.link("run/fnm_1", f"{machine.home}/.local/share/fnm/node-versions/v18/installation")
    machine.path[:0] = [f"{machine.home}/.asdf/shims", f"{machine.home}/.volta/bin"]
    assert machine.locate("ruby").command == f"{machine.home}/.asdf/installs/ruby/3.3.0/bin/ruby"
    assert (
        machine.locate("node").command == f"{machine.home}/.volta/tools/image/node/20.0.0/bin/node"
    )
    machine.path[:] = [f"{machine.home}/run/fnm_1/bin", "/usr/bin"]
    found = machine.locate("node")
    assert (
        found.command == f"{machine.home}/.local/share/fnm/node-versions/v18/installation/bin/node"
    )
    assert set(machine.trees(found)) == {".local/share/fnm/node-versions/v18"}


def test_a_manager_behind_a_link_is_shown_under_both_paths(machine: Machine) -> None:
    make_pyenv(machine, "3.11.7")
    real = machine.home.parent.parent / "disk/pyenv"
    real.parent.mkdir()
    (machine.home / ".pyenv").rename(real)
    (machine.home / ".pyenv").symlink_to(real)
    found = machine.locate("python3")
    insides = {bind.inside for bind in found.binds}
    assert insides == {f"{machine.home}/.pyenv/versions/3.11.7", f"{real}/versions/3.11.7"}


def test_links_of_the_workspace_show_nothing_private(machine: Machine) -> None:
    machine.program("private/bin/tool", "#!/bin/sh\nTOKEN=1\n")
    (machine.home / "private/lib").mkdir()
    (machine.home / "private/pyvenv.cfg").write_text("home = /usr/bin\n")
    machine.link("project/.venv/bin/python3", "../../../private/bin/tool")
    (machine.workspace / ".venv/pyvenv.cfg").write_text(f"home = {machine.home}/private/bin\n")
    machine.link("project/run", f"{machine.home}/private/bin/tool")
    machine.link("project/key", f"{machine.home}/.ssh/id_ed25519")
    machine.link("project/loop", "loop")
    for command in ("sh", ".venv/bin/python3", "./run"):
        found = machine.locate(command)
        assert found.binds == [], command
        assert any("which no known tool installed" in note for note in found.notes)
    with pytest.raises(CommandNotExecutableError):
        machine.locate("./key")
    with pytest.raises(CommandNotExecutableError):
        machine.locate("./loop")


def test_a_home_is_never_shown(machine: Machine) -> None:
    machine.program("bin/mine", "#!/bin/sh\n")
    (machine.home / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (machine.home / "lib/python3.11").mkdir(parents=True)
    (machine.home / "lib/python3.11/os.py").touch()
    machine.env.update(
        VIRTUAL_ENV=str(machine.home), PYENV_ROOT=str(machine.home.parent), JAVA_HOME="/"
    )
    machine.path.insert(0, f"{machine.home}/bin")
    found = machine.locate("mine")
    assert [(bind.inside, bind.is_directory) for bind in found.binds] == [
        (f"{machine.home}/bin/mine", False)
    ]


def test_commands_that_cannot_run_say_why(machine: Machine) -> None:
    (machine.workspace / "data").write_text("x")
    (machine.workspace / "dir").mkdir()
    for command in ("", "no-such-command", "./nothing", "a\0b"):
        with pytest.raises(CommandNotFoundError) as missing:
            machine.locate(command)
        assert missing.value.exit_code == 127
    hints = {
        "./data": f"chmod +x {machine.workspace}/data",
        "./dir": "name a program in it",
        "/etc/passwd": "name a program",
    }
    for command, hint in hints.items():
        with pytest.raises(CommandNotExecutableError) as refused:
            machine.locate(command)
        assert (refused.value.exit_code, refused.value.next) == (126, hint)


def test_the_python_of_this_machine_runs_from_what_is_found(tmp_path: Path) -> None:
    """Everything python needs is in the system or in a bind: its own idea of its prefix and modules
    says so.
    """
    home = os.path.expanduser("~")
    found = locate_toolchain("python3", os.environ, str(tmp_path), home)
    try:
        code = "import sys, json, os, ssl; print(sys.executable, sys.base_prefix, json.__file__, sep='\\n')"
        env = {"PATH": found.env["PATH"]}
        text = subprocess.run(
            [found.command, "-c", code], env=env, check=True, capture_output=True, text=True
        ).stdout
        for path in text.split("\n")[:3]:
            roots = [bind.inside for bind in found.binds] + ["/usr", "/bin", "/lib"]
            assert any(path.startswith(root) for root in roots), path
    finally:
        found.close()


def test_finding_imports_nothing_heavy() -> None:
    code = (
        "import sys, akiosctl.locate\n"
        "heavy = {'yaml', 'click', 'trio', 'msgspec', 'subprocess', 'tomllib'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=root, env={"PYTHONPATH": str(root)}, check=True
    )


# The workspace.


def test_the_project_around_cwd_is_the_workspace(machine: Machine) -> None:
    below = machine.workspace / "src/pkg"
    below.mkdir(parents=True)
    plain = locate_workspace(str(below), None, str(machine.home))
    (machine.workspace / ".git").mkdir()
    found = locate_workspace(str(below), None, str(machine.home))
    named = locate_workspace(str(below), "..", str(machine.home))
    elsewhere = locate_workspace(str(machine.home), "project/src", str(machine.home))
    try:
        assert (plain.path, plain.cwd) == (str(below), ".")
        assert (found.path, found.cwd) == (str(machine.workspace), "src/pkg")
        assert (named.path, named.cwd) == (str(machine.workspace / "src"), "pkg")
        assert (elsewhere.path, elsewhere.cwd) == (str(machine.workspace / "src"), ".")
        assert os.path.samestat(os.fstat(found.fd), os.stat(machine.workspace))
        assert not os.get_inheritable(found.fd)
    finally:
        for workspace in (plain, found, named, elsewhere):
            os.close(workspace.fd)


def test_home_is_not_a_project_even_with_a_repository(machine: Machine) -> None:
    (machine.home / ".git").mkdir()
    found = locate_workspace(str(machine.workspace), None, str(machine.home))
    os.close(found.fd)
    assert found.path == str(machine.workspace)


def test_places_that_are_no_workspace(machine: Machine) -> None:
    (machine.home / ".config").mkdir()
    (machine.workspace / "link").symlink_to(machine.home)
    places = [
        "/",
        "/usr",
        "/etc",
        "/usr/bin",
        "/tmp",
        "/proc/self",
        "/dev",
        "/home",
        str(machine.home),
    ]
    places += [str(machine.home.parent), str(machine.home / ".ssh"), str(machine.home / ".config")]
    places += [str(machine.workspace / "link"), str(machine.workspace / "missing"), "/etc/passwd"]
    before = len(os.listdir("/proc/self/fd"))
    for place in places:
        with pytest.raises(AkiosError) as refused:
            locate_workspace(str(machine.workspace), place, str(machine.home))
        assert refused.value.where == "workspace" and refused.value.next
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_npm_of_this_machine(tmp_path: Path) -> None:
    found = locate_toolchain("npm", os.environ, str(tmp_path), os.path.expanduser("~"))
    found.close()
    version = subprocess.run(
        [found.command, "--version"],
        env={"PATH": found.env["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    )
    assert version.stdout.strip()[0].isdigit()
