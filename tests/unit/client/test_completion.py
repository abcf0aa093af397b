"""Completion in the real shells: what a person who presses the tab key is offered.

Each shell is asked the same questions, with the script that ``akiosctl completion`` prints; names
of cages come from a daemon behind a socket.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.client.test_cli_run import World

BIN = Path(sys.executable).parent
# What was typed before the tab → what must be among the offers, and what must not.
OFFERS: dict[str, tuple[set[str], set[str]]] = {
    "akiosctl led": ({"ledger"}, {"run", "logs"}),
    "akiosctl ledger ver": ({"verify", "verify-proof"}, {"pin"}),
    "akiosctl --socket /nowhere ledger verify --reb": ({"--rebuild-tiles"}, {"--all"}),
    "akiosctl run --mem": ({"--memory"}, {"--mode"}),
    "akiosctl run --trace s": ({"security"}, {"files"}),
    "akiosctl run --policy str": ({"strict"}, {"default"}),
    "akiosctl keys set ope": ({"openai"}, {"anthropic"}),
    "akiosctl completion z": ({"zsh"}, {"bash"}),
    "akiosctl protect scan no": ({"notes.txt"}, {"other.txt"}),
    "akiosctl ledger pack x --dir st": ({"state"}, {"notes.txt"}),
    "akiosctl events --kind net_d": ({"net_denied"}, {"syscall"}),
    "akiosctl events --cage c-": ({"RUNS", "CHANGED"}, set()),
    "akiosctl logs c-": ({"RUNS", "CHANGED"}, set()),
    "akiosctl logs la": ({"last"}, set()),
    "akiosctl attach c-": ({"RUNS"}, {"CHANGED"}),
    "akiosctl discard c-": ({"CHANGED"}, {"RUNS"}),
    "akiosctl stop x c-": ({"RUNS"}, {"CHANGED"}),
    "akiosctl diff --stat c-": ({"CHANGED"}, set()),
    "akiosctl run -- print": ({"printenv"}, {"--policy"}),
    "akiosctl run --ro -- cat no": ({"notes.txt"}, {"other.txt"}),
    "akios led": ({"ledger"}, {"run", "logs"}),
    "akios keys set ope": ({"openai"}, {"anthropic"}),
    "akios attach c-": ({"RUNS"}, {"CHANGED"}),
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Path, dict[str, str]]]:
    """A daemon with a cage that runs and one whose changes wait, a directory with files, and what
    the names of cages stand for.
    """
    world = World(tmp_path_factory.mktemp("completion"))
    world.project.with_name("project-view").mkdir()  # what this daemon takes for changes
    report = world.run("run", "--json", "--", "true").stderr
    changed = json.loads(report)["cage"]
    runs = world.run("run", "-d", "--", "sleep", "300").stdout.decode().strip()
    for name in ("notes.txt", "other.txt"):
        (world.project / name).touch()
    (world.project / "state").mkdir()
    try:
        yield world, world.project, {"RUNS": runs, "CHANGED": changed}
    finally:
        world.run("stop", runs)
        world.close()


def ask_bash(script: Path, world: World, lines: list[str], out: Path) -> None:
    words = f"source {script}\n"
    for line in lines:
        typed = line.split(" ")
        words += f"COMP_WORDS=({' '.join(map(repr, typed))}) COMP_CWORD={len(typed) - 1}\n"
        # Whatever completes the command that was typed, as bash would call it.
        words += f"of=$(complete -p {typed[0]}); of=${{of##*-F }}\n"
        words += f"COMP_LINE={line!r} COMP_POINT={len(line)}\n${{of%% *}}\n"
        words += f'printf "%s\\n" "${{COMPREPLY[@]}}" == >> {out}\n'
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", words],
        cwd=world.project, env=_environment(world), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    # compopt works only while bash itself completes, and says so.
    assert done.returncode == 0 and not done.stderr, done.stderr


def ask_fish(script: Path, world: World, lines: list[str], out: Path) -> None:
    words = f"source {script}\n"
    words += "".join(f"complete -C {line!r} >> {out}\necho == >> {out}\n" for line in lines)
    done = subprocess.run(
        ["fish", "--no-config", "-c", words],
        cwd=world.project, env=_environment(world), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr


def ask_zsh(script: Path, world: World, lines: list[str], out: Path) -> None:
    """At a prompt of its own: each line is typed, then tab, and compadd tells what is offered."""
    (world.home / ".zshrc").write_text(
        "unsetopt auto_list auto_menu\nautoload -Uz compinit\ncompinit -D -u\n"
        f"source {script}\n"
        "compadd() {\n"
        '    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)* ]]; then builtin compadd "$@"; return; fi\n'
        '    local -a hits; builtin compadd -A hits "$@"\n'
        f"    print -rl -- $hits >> {out}\n"
        '    builtin compadd "$@"\n}\n'
        f"mark() {{ print -r '==' >> {out}; BUFFER=''; print -r NEXT }}\nzle -N mark\n"
        "bindkey '^]' mark\nbindkey '^I' complete-word\nPS1='NEXT> '\n"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-i"], stdin=slave, stdout=slave, stderr=slave, cwd=world.project,
        env={**_environment(world), "ZDOTDIR": str(world.home)}, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        _read_until(master, b"NEXT> ")
        for line in lines:
            os.write(master, line.encode() + b"\t\x1d")
            _read_until(master, b"NEXT\r\n")
    finally:
        os.close(master)  # it leaves: SIGHUP
        process.wait(60)


def _read_until(terminal: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        seen += os.read(terminal, 1 << 16)


def _environment(world: World) -> dict[str, str]:
    return {**world.env, "PATH": f"{BIN}:{world.env['PATH']}", "LC_ALL": "C.UTF-8"}


SHELLS: dict[str, Callable[[Path, World, list[str], Path], None]] = {
    "bash": ask_bash,
    "zsh": ask_zsh,
    "fish": ask_fish,
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_offers_what_can_stand_there(
    shell: str, scene: tuple[World, Path, dict[str, str]], tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    world, _, cages = scene
    script, out = tmp_path / "script", tmp_path / "offers"
    script.write_bytes(world.run("completion", shell).stdout)
    SHELLS[shell](script, world, list(OFFERS), out)
    answers = [part.split("\n") for part in out.read_text().split("==\n")]
    assert len(answers) == len(OFFERS) + 1, out.read_text()
    wrong = []
    for (typed, (wanted, unwanted)), answer in zip(OFFERS.items(), answers, strict=False):
        offered = {line.partition("\t")[0].strip().rstrip("/") for line in answer}
        wanted, unwanted = (
            {cages.get(name, name) for name in names} for names in (wanted, unwanted)
        )
        if not wanted <= offered or unwanted & offered:
            wrong.append((typed, sorted(offered)))
    assert wrong == []


def test_without_a_daemon_a_shell_is_offered_nothing_and_told_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [BIN / "akiosctl", "--socket", tmp_path / "none", "completion", "--cages"],
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
