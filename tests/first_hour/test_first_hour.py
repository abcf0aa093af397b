"""The first hour of an ordinary user on a fresh system: the README line by line, as printed.

``packaging/test --set first_hour``.  What was typed and seen is kept in ``.cache/first_hour``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.first_hour.fresh_root import USER, FreshRoot
from tests.first_hour.readme_lines import CODES, REPO, Line, read_pages, read_readme

pytestmark = [
    pytest.mark.named_set("first_hour"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a fresh system"),
    pytest.mark.timeout(3000),
]

SUITES = {"trixie": "debian-13", "bookworm": "debian-12", "noble": "ubuntu-24.04"}
MARK = "=== first hour"
# A network of its own in which nothing but this machine answers.
OFFLINE = """sudo PIP_LOG=/tmp/pip-was-called unshare --net python3 -c '
import fcntl, os, socket, struct, sys
with socket.socket() as one:
    fcntl.ioctl(one, 0x8914, struct.pack("16sh", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])' """
# In MB: what the daemon needs, what the quickstart's project needs.
SIZES = "(cd ~/akios/.venv && du -sm --exclude=quickstart . && du -sm quickstart) | cut -f1"
# What a package would do, and an administrator for a user.
INSTALL = """set -e
sudo ln -s ~/akios/.venv/bin/akiosctl ~/akios/.venv/bin/akiosd /usr/local/bin/
sudo groupadd --system akios
sudo groupadd --system akios-admin
sudo groupadd --system akios-monitor
sudo usermod -aG akios $USER
sudo mkdir -p /etc/akios
akiosctl policy shipped | sudo tee /etc/akios/policy.yaml > /dev/null
"""
PROJECT = """mkdir -p ~/project && cd ~/project && python3 -m venv .venv &&
  printf 'open("notes", "a").write("one more")\nprint("hello")\n' > agent.py"""


@pytest.fixture(scope="module", params=list(SUITES), ids=lambda suite: SUITES[suite])
def root(request: pytest.FixtureRequest) -> Iterator[FreshRoot]:
    with enter(request.param) as fresh:
        yield fresh


@contextmanager
def enter(suite: str, by: str = USER) -> Iterator[FreshRoot]:
    """A fresh system, and the file for what ``by`` types and sees there."""
    try:
        fresh = FreshRoot(suite)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{SUITES[suite]} cannot be had: {error.stderr[-600:]}")
    if by != USER:
        fresh.record = fresh.record.with_name(f"{suite}-seen-by-{by}.txt")
    fresh.record.unlink(missing_ok=True)
    try:
        yield fresh.start()
    finally:
        fresh.close()


def test_without_a_network_the_cause_is_said(root: FreshRoot) -> None:
    done = root.run(f"cd akios && {OFFLINE} packaging/quickstart --setup-only")
    assert done.returncode == 1, done.stdout
    assert "Temporary failure resolving" in done.stdout and "next:" in done.stdout, done.stdout
    assert "setup: for the system, by apt: " in done.stdout and len(done.stdout) < 1500


def test_each_line_of_the_readme_works_as_printed(root: FreshRoot) -> None:
    # What is root's in the checkout before is not ours to give away.
    root.run("cd akios && sudo sh -c 'mkdir -m 700 kept && touch kept/file'")
    setup, afterwards = read_readme()
    follow(root, typed_in_turn(setup, afterwards), setup + afterwards)


def test_each_line_of_the_pages_works_as_printed(root: FreshRoot) -> None:
    """As where akiosd is installed, and its reader a member of the group."""
    private = re.search(r"akiosd is ready: process (\d+)", root.record.read_text())
    assert private is not None, "the README's own daemon did not start"
    installed = root.run(f"{INSTALL}sudo kill {private[1]}")
    assert installed.returncode == 0, installed.stdout
    lines = read_pages()
    script = ["cd ~/project"]
    for number, line in enumerate(lines):
        in_clone = ".venv/bin/akios" in line.printed
        script += typed(number, line, "cd ~/akios" if in_clone else "cd ~/project")
    follow(root, script, lines)


def test_the_policy_that_the_pages_show_works(root: FreshRoot) -> None:
    shown = re.search(
        r"^    version: 1\n(    .*\n)+", (REPO / "docs/developer.md").read_text(), re.M
    )
    assert shown is not None
    text = "".join(line[4:] + "\n" for line in shown[0].splitlines())
    write = f"cd ~/project && printf %s {shlex.quote(text)} > akios.yaml"
    run = "akiosctl run -- sh -c 'cat agent.py' && akiosctl policy explain"
    done = root.run(f"{write} && {run}")
    assert done.returncode == 0, done.stdout
    assert re.search(r"budget\.usd +\$2\.00 +project: .*akios\.yaml", done.stdout), done.stdout


def test_what_was_made_belongs_to_who_typed_sudo(root: FreshRoot) -> None:
    found = root.run("cd akios && sudo find . -user 0 | sort; sudo stat -c %a kept").stdout
    assert found.split() == ["./kept", "./kept/file", "700"]
    assert root.run("cd akios && git status --porcelain 2>/dev/null").stdout in ("", "?? kept/\n")


def test_what_is_said_of_sizes_is_so(root: FreshRoot) -> None:
    seen = root.record.read_text()
    assert re.search(r"apt-get install, with what they need: .+ to download, .+ on disk", seen)
    said = [int(found) for found in re.findall(r"from PyPI: .*: about (\d+) MB on disk", seen)]
    run, chat = map(int, root.run("cat ~/sizes-0").stdout.split())
    test, _ = map(int, root.run("cat ~/sizes-1").stdout.split())
    for told, took in zip(said, (run, chat, test), strict=True):
        assert took * 2 // 3 <= told <= took * 3 // 2, (said, run, chat, test)


def test_once_set_up_it_works_without_a_network(root: FreshRoot) -> None:
    root.run(
        'sudo sh -c \'printf "#!/bin/sh\\ntouch /tmp/apt-was-called; exit 1\\n" >'
        " /usr/local/sbin/apt-get; chmod +x /usr/local/sbin/apt-get'"
    )
    done = root.run(f"cd akios && {OFFLINE} packaging/quickstart")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "ledger verify: OK" in done.stdout and "setup:" not in done.stdout
    assert root.run("ls /tmp | grep was-called").stdout == ""


def test_the_quickstart_leaves_nothing_behind(root: FreshRoot) -> None:
    assert "akios-quickstart" not in root.run("ls /var/tmp").stdout


@pytest.mark.parametrize("suite", list(SUITES), ids=list(SUITES.values()))
def test_root_of_a_container_without_sudo_types_the_same(suite: str) -> None:
    """All lines of the README, without the word that is not there."""
    with enter(suite, by="root") as fresh:
        taken = fresh.run(
            "rm /usr/bin/sudo && mv /home/dev/akios ~ && chown -R 0:0 akios", user="root"
        )
        assert taken.returncode == 0, taken.stdout
        setup, afterwards = (
            [line._replace(typed=line.typed.replace("sudo ", "")) for line in part]
            for part in read_readme()
        )
        follow(fresh, typed_in_turn(setup, afterwards), setup + afterwards, user="root")


def typed_in_turn(setup: list[Line], afterwards: list[Line]) -> list[str]:
    """The README's lines; what the set-up takes on disk is noted behind each of its own."""
    script = ["cd ~/akios"]
    for number, line in enumerate(setup):
        script += [*typed(number, line), f"{SIZES} > ~/sizes-{number}"]
    script.append(PROJECT)
    for number, line in enumerate(afterwards, len(setup)):
        script += typed(number, line)
    return script


def typed(number: int, line: Line, before: str = "true") -> list[str]:
    """The line between marks, with its exit code."""
    mark = shlex.quote(MARK)
    return [before, f"echo {mark} {number}", line.typed, f"echo {mark} =$?"]


def follow(root: FreshRoot, script: list[str], lines: list[Line], user: str = USER) -> None:
    """Type the script as ``user``; every line must end as it should."""
    seen = read_answers(root.run("\n".join(script), user=user).stdout)
    write_record(root, lines, seen)
    wrong = [
        f"{line.page}:{line.number}: {line.printed}\n  {code}: {text[-800:]}"
        for line, (code, text) in zip(lines, seen, strict=True)
        if code not in CODES.get(line.printed, (0,))
    ]
    assert not wrong, "\n".join(wrong)


def read_answers(output: str) -> list[tuple[int, str]]:
    """(exit code, what was seen) of each line."""
    parts = re.split(rf"^{MARK} \d+$", output, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        text, _, code = part.partition(f"{MARK} =")
        found.append((int(code.split()[0]) if code.strip() else -1, text.strip()))
    return found


def write_record(root: FreshRoot, lines: list[Line], seen: list[tuple[int, str]]) -> None:
    """The commands and what was seen, for people."""
    with root.record.open("a") as file:
        for line, (code, text) in zip(lines, seen, strict=False):
            file.write(f"$ {line.typed}\n{text}\n")
            if code:
                file.write(f"[exit code {code}]\n")
            file.write("\n")
