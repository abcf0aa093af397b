"""Python that an agent left where a Python of ours could find it: none of it runs, as root or as a
user.

The control of each place: a program as installers write them, a script whose first line names the
interpreter and no more, runs what lies there.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import BIN, NOBODY, REPO, Daemon
from tests.test_layers import imports, read_sources

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
MARKING = "import os\nos.close(os.open({!r}, os.O_WRONLY | os.O_CREAT, 0o666))\n"
SCRIPT = "#!{}\nimport re\nimport sys\nfrom akiosctl.cli import main\nsys.exit(main())\n"
# None of them reaches a daemon; between them they import most of the client.
WORDS = (
    ["run", "--", "true"],
    ["ps"],
    ["policy", "explain"],
    ["ledger", "verify", "--help"],
    ["protect", "patterns"],
)


@functools.cache
def imported_names() -> list[str]:
    """Every top-level module that ours import, and those that Python imports by itself."""
    sources = read_sources(["akiosd", "akiosctl"])
    names = {
        target
        for module, text in sources.items()
        for _, target in imports(text, module, frozenset())
    }
    tops = {name.partition(".")[0] for name in names}
    assert {"trio", "msgspec", "click", "yaml", "cryptography"} <= tops
    return sorted(tops | {"sitecustomize", "usercustomize", "re", "encodings", "runpy", "site"})


class Trap:
    """A directory full of Python under every name of ours, an installation, and a mark that shows
    if any was run.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.said = ""
        self.mark = base / "marks" / "ran"
        self.mark.parent.mkdir()
        self.mark.parent.chmod(0o1777)
        self.cwd = base / "project"
        self.plant(self.cwd)
        self.home = base / "home"
        site = self.home / ".local" / "lib" / VERSION / "site-packages"
        self.plant(site)
        (site / "evil.pth").write_text(MARKING.format(str(self.mark)).replace("\n", ";") + "\n")
        self.prefix = base / "prefix"
        self.plant(self.prefix / "lib" / VERSION)
        self.pyc = base / "pyc"
        self.plant_compiled(REPO / "akiosctl" / "cli.py")
        self.plant_compiled(REPO / "akiosd" / "errors.py")
        self.bin = self.install(base / "install")

    def plant(self, place: Path) -> None:
        place.mkdir(parents=True)
        for name in imported_names():
            (place / f"{name}.py").write_text(MARKING.format(str(self.mark)))

    def plant_compiled(self, source: Path) -> None:
        """Bytecode that passes for that of ``source``: Python compares its time and size (PEP
        552).
        """
        evil = self.base / "evil.py"
        evil.write_text(MARKING.format(str(self.mark)))
        target = (
            self.pyc
            / str(source.parent)[1:]
            / Path(importlib.util.cache_from_source(str(source))).name
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        py_compile.compile(str(evil), str(target), doraise=True)
        status = source.stat()
        header = [int(status.st_mtime).to_bytes(4, "little"), status.st_size.to_bytes(4, "little")]
        target.write_bytes(target.read_bytes()[:8] + b"".join(header) + target.read_bytes()[16:])

    def install(self, place: Path) -> Path:
        """Our programs in a virtual environment that also knows the user's site-packages;
        ``script`` is the control.
        """
        packages = place / "lib" / VERSION / "site-packages"
        packages.mkdir(parents=True)
        (packages / "akios.pth").write_text(f"{sysconfig.get_path('purelib')}\n{REPO}\n")
        programs = place / "bin"
        programs.mkdir()
        base = Path(sys._base_executable)  # type: ignore[attr-defined]
        (place / "pyvenv.cfg").write_text(
            f"home = {base.parent}\ninclude-system-site-packages = true\n"
        )
        (programs / VERSION).symlink_to(base)
        for name in ("akiosctl", "akiosd"):
            shutil.copy(BIN / name, programs / name)
        (programs / "script").write_text(SCRIPT.format(programs / VERSION))
        (programs / "script").chmod(0o755)
        return programs

    def places(self) -> dict[str, dict[str, str]]:
        return {
            "a directory of PYTHONPATH": {"PYTHONPATH": str(self.cwd)},
            "the current directory by PYTHONPATH": {"PYTHONPATH": ":"},
            "the user's site-packages": {"HOME": str(self.home)},
            "PYTHONUSERBASE": {"PYTHONUSERBASE": str(self.home / ".local")},
            "PYTHONPYCACHEPREFIX": {"PYTHONPYCACHEPREFIX": str(self.pyc)},
            "PYTHONHOME": {"PYTHONHOME": str(self.prefix)},
        }

    def springs(self, command: list[str], variables: dict[str, str], uid: int = 0) -> bool:
        """Run it in the project's directory; whether anything planted was run."""
        self.mark.unlink(missing_ok=True)
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }
        ids = {"user": uid, "group": NOBODY, "extra_groups": []} if uid else {}
        done = subprocess.run(
            command, cwd=self.cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, **ids
        )  # type: ignore[call-overload]
        self.said = done.stdout.decode()
        return self.mark.exists()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    with tempfile.TemporaryDirectory(prefix="akios-trap-") as base:
        os.chmod(base, 0o755)  # not pytest's own directory, which others may not enter
        yield Trap(Path(base))


def everything(trap: Trap) -> list[dict[str, str]]:
    """All at once, without and with the variable that hides the others' effect."""
    places = trap.places()
    home = places.pop("PYTHONHOME")
    rest = {
        "PYTHONSTARTUP": str(trap.cwd / "trio.py"),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "trio.x",
    }
    together = {name: value for place in places.values() for name, value in place.items()} | rest
    together["PYTHONPATH"] = f":.:{trap.cwd}"
    return [together, together | home]


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_akiosctl_runs_nothing_planted(trap: Trap, uid: int) -> None:
    for name, variables in trap.places().items():
        assert trap.springs([str(trap.bin / "script"), "ps"], variables, uid), (
            f"the control: {name}"
        )
    for variables in everything(trap):
        for words in WORDS:
            command = [str(trap.bin / "akiosctl"), "--socket", "/nonexistent/socket", *words]
            assert not trap.springs(command, variables, uid), words
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(
        [trap.bin / "akiosctl", "protect", "patterns"], cwd=trap.cwd, env=env, capture_output=True
    )
    assert done.returncode == 0, "it does work there"


def test_a_link_to_the_program_names_no_other_interpreter(trap: Trap) -> None:
    false = trap.cwd / VERSION
    false.write_text(f"#!/bin/sh\ntouch {trap.mark}\n")
    false.chmod(0o755)
    (trap.cwd / "akiosctl").symlink_to(trap.bin / "akiosctl")
    assert trap.springs([str(false)], {})
    assert not trap.springs(["./akiosctl", "ps"], {"PATH": ".:/usr/bin:/bin"})
    assert not trap.springs([str(trap.bin / "akiosctl"), "ps"], {"PATH": ".:/usr/bin:/bin"})


def test_a_standalone_daemon_runs_nothing_of_the_projects(trap: Trap) -> None:
    """As root, in a directory where an agent left a ``trio.py``."""
    by_module = [str(trap.bin / VERSION), "-m", "akiosd.daemon.main", "--version"]
    assert trap.springs(by_module, {}), (
        "the control: started by its module, the directory comes first"
    )
    command = [str(trap.bin / "akiosctl"), "run", "--standalone", "--quiet", "--", "ls"]
    for variables in everything(trap):
        assert not trap.springs(command, variables)
        assert "trio.py" in trap.said.split(), "it did run, there"


@pytest.mark.parametrize("at", [0, 1])
def test_akiosd_and_its_gateways_run_nothing_planted(trap: Trap, at: int) -> None:
    variables = [f"{name}={value}" for name, value in everything(trap)[at].items()]
    by_module = [str(trap.bin / VERSION), "-m", "akiosd.daemon.main", "--version"]
    assert trap.springs(by_module, everything(trap)[at])
    trap.mark.unlink()
    daemon = Daemon(prefix=["env", "-C", str(trap.cwd), *variables])
    try:
        daemon.start()
        assert daemon.process is not None
        assert os.readlink(f"/proc/{daemon.process.pid}/cwd") == "/"
        assert Path(f"/proc/{daemon.process.pid}/comm").read_text() == "akiosd\n"
        done = daemon.run("sh", "-c", "getent hosts api.openai.com")
        assert done.returncode == 0, f"its gateway answers: {done.stderr}"
    finally:
        daemon.close()
    assert not trap.mark.exists()
