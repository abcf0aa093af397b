"""What packages keep in /etc is there inside; what holds secrets is not, also where a policy names
it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon


@pytest.fixture
def package() -> Iterator[Path]:
    """A directory of /etc as a package would bring it, with files of other modes and names."""
    with tempfile.TemporaryDirectory(prefix="akios-test-", dir="/etc") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "tool.conf").write_text("setting\n")
        (place / "tool.key").write_text("secret\n")
        (place / "closed.conf").write_text("secret\n")
        (place / "closed.conf").chmod(0o600)
        (place / "behind").mkdir(mode=0o700)
        (place / "behind/open.conf").write_text("secret\n")
        os.symlink("behind", place / "link")
        yield place


def show(daemon: Daemon, what: str, script: str) -> tuple[int, str, str]:
    where = daemon.workspace(uid=NOBODY)
    (where / "akios.yaml").write_text(f"version: 1\nfilesystem: {{read: [{what}]}}\n")
    done = daemon.run("sh", "-c", script, cwd=where, uid=NOBODY)
    return done.returncode, done.stdout, done.stderr


def test_what_a_policy_names_is_shown_as_far_as_everybody_may_read_it(
    daemon: Daemon, package: Path
) -> None:
    script = f"cd {package} && ls && cat tool.conf; touch x; cat link/open.conf"
    code, out, errors = show(daemon, str(package), script)
    assert out.split() == ["link", "tool.conf", "setting"] and code == 1, errors
    assert "Read-only file system" in errors
    assert show(daemon, "/etc/debian_version", f"ls {package}")[0] == 2, (
        "the control: unnamed, unseen"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/shadow", "secrets"),
        ("/etc/ssl/private", "the cage has its own"),
        ("/etc/ssh", "secrets"),
        ("/etc/NetworkManager/system-connections", "secrets"),
        ("{}/tool.key", "secrets"),
        ("{}/closed.conf", "not everybody can read it"),
        ("{}/behind/open.conf", "not a directory that everybody can enter"),
        ("{}/link/open.conf", "not a directory that everybody can enter"),
        ("/etc/akios-test-absent", "No such file"),
    ],
)
def test_what_holds_secrets_is_refused_with_the_reason(
    daemon: Daemon, package: Path, name: str, reason: str
) -> None:
    code, out, errors = show(daemon, name.format(package), "echo ran")
    assert (code, out) == (125, "") and reason in errors
    assert "secret\n" not in errors


def test_what_packages_bring_is_there_by_default(daemon: Daemon) -> None:
    from akiosd.kernel.cage_etc import BROUGHT

    there = [name for name in BROUGHT if os.path.exists(f"/etc/{name}")]
    if not there:
        pytest.skip("no package of the list is installed here")
    done = daemon.run("ls", "-d", *(f"/etc/{name}" for name in there), uid=NOBODY)
    assert done.stdout.split() == sorted(f"/etc/{name}" for name in there), done.stderr
