"""The Debian packages of every suite: the same bytes whoever builds them and where, nothing that
lintian minds, and, in a guest of each suite, all that `tests/package` asks of them.

The named set `package`; it needs root and a network, and takes about an hour and a half.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SUITES = ("bookworm", "trixie", "noble")
pytestmark = [
    pytest.mark.named_set("package"),
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0, reason="a fresh system is made by root"),
]


def build(
    repo: Path, suite: str, out: Path, *words: str, umask: int = 0o022, zone: str = "UTC"
) -> bytes:
    """The bytes of the packages that ``repo`` gives."""
    command = ["packaging/deb/build", "--suite", suite, "--out", str(out), *words]
    cache = os.environ.get("AKIOS_DEB_CACHE", str(REPO / ".cache/deb"))
    env = {**os.environ, "AKIOS_DEB_CACHE": cache, "TZ": zone}
    done = subprocess.run(command, cwd=repo, env=env, umask=umask, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built = sorted(out.glob("*.deb"))
    names = {deb.name.partition("_")[0] for deb in built}
    assert names == {"akios", "akios-api", "akios-workflow"} and len(built) == len(names)
    return b"".join(deb.read_bytes() for deb in built)


@pytest.mark.parametrize("suite", SUITES)
def test_the_same_commit_is_the_same_bytes(suite: str, tmp_path: Path) -> None:
    """From two checkouts, of other names, masks and time zones; the second is held to lintian."""
    for name in ("one", "another-with-a-longer-name"):
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", REPO, tmp_path / name], check=True)
    one = build(tmp_path / "one", suite, tmp_path / "a")
    other = tmp_path / "another-with-a-longer-name"
    two = build(other, suite, tmp_path / "b", "--lint", umask=0o077, zone="Asia/Tokyo")
    assert one == two
    # The control: another source is not.
    with (other / "SECURITY.md").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert build(other, suite, tmp_path / "c") != one


@pytest.mark.parametrize("suite", SUITES)
def test_it_is_installed_used_upgraded_and_purged(suite: str) -> None:
    words = ["tests/vm/package", "--suite", suite, "--all"]
    assert subprocess.run(words, cwd=REPO).returncode == 0
