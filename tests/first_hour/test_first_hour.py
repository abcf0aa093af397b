"""The first hour of an ordinary user on a fresh system: the README line by line, as printed.

``packaging/test --set first_hour``.  What was typed and seen is kept in ``.cache/first_hour``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.first_hour.fresh_root import CACHE, FreshRoot
from tests.first_hour.readme_lines import CODES, REPO, Line, read_lines

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
PROJECT = """mkdir -p ~/project && cd ~/project && python3 -m venv .venv &&
  printf 'print("hello")\\n' > agent.py"""


@pytest.fixture(scope="module", params=list(SUITES), ids=lambda suite: SUITES[suite])
def root(request: pytest.FixtureRequest) -> Iterator[FreshRoot]:
    if request.param == "noble" and not (CACHE / "noble.tar").exists():
        pytest.skip(f"no root of Ubuntu 24.04 as {CACHE / 'noble.tar'}")
    try:
        fresh = FreshRoot(request.param)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{SUITES[request.param]} cannot be had: {error.stderr[-600:]}")
    try:
        yield fresh.start()
    finally:
        fresh.close()


def test_without_a_network_the_cause_is_said(root: FreshRoot) -> None:
    done = root.run(f"cd akios && {OFFLINE} packaging/quickstart --setup-only")
    assert done.returncode == 1, done.stdout
    assert "Temporary failure resolving" in done.stdout and "next:" in done.stdout, done.stdout
    assert "setup: for the system, by apt: " in done.stdout and len(done.stdout) < 1500


def test_each_line_works_as_printed(root: FreshRoot) -> None:
    # What is root's in the checkout before is not ours to give away.
    root.run("cd akios && sudo sh -c 'mkdir -m 700 kept && touch kept/file'")
    setup, everyday = read_lines(REPO)
    lines = setup + everyday
    script = ["cd ~/akios"]
    for number, line in enumerate(lines):
        if number == len(setup):
            script.append(PROJECT)
        mark = shlex.quote(MARK)
        script += [f"echo {mark} {number}", line.typed, f"echo {mark} =$?"]
    done = root.run("\n".join(script))
    seen = read_answers(done.stdout)
    write_record(root, lines, seen)
    wrong = [
        f"{line.page}:{line.number}: {line.printed}\n  {code}: {text[-800:]}"
        for line, (code, text) in zip(lines, seen, strict=True)
        if code != CODES.get(line.printed, 0)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_was_made_belongs_to_who_typed_sudo(root: FreshRoot) -> None:
    found = root.run("cd akios && sudo find . -user 0 | sort; sudo stat -c %a kept").stdout
    assert found.split() == ["./kept", "./kept/file", "700"]
    assert root.run("cd akios && git status --porcelain").stdout == "?? kept/\n"


def test_what_is_said_of_sizes_is_so(root: FreshRoot) -> None:
    setup = (root.record).read_text()
    apt = re.search(r"apt-get install, with what they need: (.+) to download, (.+) on disk", setup)
    assert apt is not None, "apt's own figures"
    said = re.search(r"PyPI: trio.*about (\d+) MB on disk", setup)
    took = root.run("cd akios && du -sm --exclude=quickstart .venv | cut -f1")
    assert said is not None
    assert int(took.stdout) * 2 // 3 <= int(said[1]) <= int(took.stdout) * 3 // 2, took.stdout


def test_once_set_up_it_works_without_a_network(root: FreshRoot) -> None:
    root.run(
        'sudo sh -c \'printf "#!/bin/sh\\ntouch /tmp/apt-was-called; exit 1\\n" >'
        " /usr/local/sbin/apt-get; chmod +x /usr/local/sbin/apt-get'"
    )
    done = root.run(f"cd akios && {OFFLINE} packaging/quickstart")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "ledger verify: OK" in done.stdout and "setup:" not in done.stdout
    assert root.run("ls /tmp | grep was-called").stdout == ""


def test_nothing_is_left_behind(root: FreshRoot) -> None:
    stopped = root.run(
        "sudo kill $(pgrep -f 'state-dir /var/tmp/akios ' -u 0 || true); ls /var/tmp"
    )
    assert "akios-quickstart" not in stopped.stdout


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
    with root.record.open("w") as file:
        for line, (code, text) in zip(lines, seen, strict=False):
            file.write(f"$ {line.typed}\n{text}\n")
            if code:
                file.write(f"[exit code {code}]\n")
            file.write("\n")
