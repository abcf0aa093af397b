"""What an administrator does to an installed package over the years: upgrades, a downgrade, files of
their own, an installation that fails halfway, a purge with work lying about.

The named set `package`, in the guest (`tests/vm/package --all`), in the order of this file.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.package.machine import (
    DEBS,
    GROUPS,
    HANDED_IN,
    cage,
    install,
    join_groups,
    leftovers,
    profiles,
    run,
    sh,
)

CONFIG = Path("/etc/akios/akiosd.yaml")
LABEL = "usr.lib.akios.akiosd (unconfined)"
# How a system keeps user namespaces from unprivileged programs: (where it does, where it does not).
# The first is Debian's, the second Ubuntu's since 24.04, where it does by default.
SWITCHES = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
}
pytestmark = [
    pytest.mark.named_set("package"),
    pytest.mark.skipif("newer" not in DEBS, reason="one package only (tests/vm/package --all)"),
]


def main_pid() -> str:
    return sh("systemctl", "show", "-P", "MainPID", "akiosd").stdout.strip()


def version() -> str:
    return sh("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", "akios").stdout


def works() -> bool:
    return run("--discard", "--", "echo", "caged").stdout == "caged\n"


@pytest.fixture(scope="module", autouse=True)
def installed(before: dict[str, set[str]]) -> Iterator[None]:
    """A host in use: a log, changes that wait, a cage that runs."""
    # Tests before may have left a newer one.
    sh(
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "--allow-downgrades",
        str(DEBS["akios"]),
    )
    join_groups()
    run("--name", "waits", "--", "sh", "-c", "echo kept >new")
    run("--detach", "--name", "runs", "--", "sleep", "3600")
    yield


def nothing_is_lost() -> None:
    """The log holds, changes wait, and of the cage that ran it is known what became of it."""
    assert "OK" in sh("akiosctl", "ledger", "verify").stdout
    assert "new" in sh("akiosctl", "diff", "waits", user="dev").stdout
    listed = json.loads(sh("akiosctl", "ps", "--all", "--json", user="dev").stdout)
    [ran] = [one for one in listed if one["name"] == "runs"]
    assert ran["state"] == "running" or ran["reason"], ran
    assert works()


def test_an_upgrade_takes_the_place_of_the_running_daemon() -> None:
    old, first = version(), main_pid()
    install(DEBS["newer"])
    assert "+newer" in version() and "+newer" not in old
    assert main_pid() not in (first, "0")
    nothing_is_lost()


def test_a_downgrade_does_so_too() -> None:
    first = main_pid()
    sh("apt-get", "install", "-y", "--allow-downgrades", str(DEBS["akios"]))
    assert "+newer" not in version() and main_pid() not in (first, "0")
    nothing_is_lost()


def test_a_service_that_was_disabled_stays_so() -> None:
    sh("systemctl", "disable", "--now", "akiosd")
    install(DEBS["newer"])
    assert sh("systemctl", "is-enabled", "akiosd", ok=False).stdout == "disabled\n"
    assert main_pid() == "0"
    sh("systemctl", "enable", "--now", "akiosd")
    sh("apt-get", "install", "-y", "--reinstall", str(DEBS["newer"]))  # the control
    assert sh("systemctl", "is-enabled", "akiosd").stdout == "enabled\n" and works()


def test_an_installation_that_fails_halfway_leaves_the_old_daemon_at_work() -> None:
    first = main_pid()
    assert install(DEBS["broken"], ok=False).returncode != 0
    assert version().startswith("iF")
    assert main_pid() == first and works()
    sh("apt-get", "install", "-y", "--allow-downgrades", str(DEBS["newer"]))
    assert version().startswith("ii") and main_pid() not in (first, "0")
    nothing_is_lost()


def test_a_file_nobody_touched_is_renewed_and_one_of_the_administrators_asked_about() -> None:
    install(DEBS["changed"])
    assert "later version" in CONFIG.read_text()  # the control: nothing to ask
    sh("apt-get", "install", "-y", "--allow-downgrades", str(DEBS["newer"]))
    mine = "# Mine.\nlog_level: debug\n"
    CONFIG.write_text(mine)
    first = main_pid()
    asked = install(DEBS["changed"], ok=False)  # standard input is empty: no answer
    assert asked.returncode != 0 and str(CONFIG) in asked.stdout
    assert main_pid() == first and works()
    sh("dpkg", "--force-confold", "--configure", "akios")
    assert CONFIG.read_text() == mine
    assert "later version" in Path(f"{CONFIG}.dpkg-dist").read_text()
    assert main_pid() not in (first, "0") and works()


def test_a_setting_that_akiosd_refuses_is_told_by_the_upgrade() -> None:
    keep = ("-o", "Dpkg::Options::=--force-confold", "--allow-downgrades", "--reinstall")
    again = ("apt-get", "install", "-y", *keep, str(DEBS["newer"]))
    mine = CONFIG.read_text()
    CONFIG.write_text("quotas: {cages: many}\n")
    try:
        told = sh(*again)
    finally:
        CONFIG.write_text(mine)
    said = told.stdout + told.stderr
    assert "akiosd does not start" in said and str(CONFIG) in said, said
    quiet = sh(*again)  # the control
    assert "akiosd does not start" not in quiet.stdout + quiet.stderr
    nothing_is_lost()


def test_needrestart_asks_before_it_restarts_akiosd() -> None:
    conf = Path("/etc/needrestart/conf.d/akios.conf")
    mapped = Path(f"/proc/{main_pid()}/maps").read_text().split()
    [library] = {name for name in mapped if "/libcap.so" in name}
    shutil.copy(library, f"{library}.new")
    os.replace(f"{library}.new", library)  # as an upgrade of that library does
    # In its "easy" mode (-m e) it restarts nothing at all.
    automatic = ("needrestart", "-r", "a", "-m", "a", "-q", "-l")
    first = main_pid()
    sh(*automatic)
    assert main_pid() == first
    told = sh("needrestart", "-b", "-l").stdout
    assert "NEEDRESTART-SVC: akiosd.service" in told.splitlines()
    kept = conf.read_text()
    conf.unlink()
    sh(*automatic)  # the control
    assert main_pid() != first
    conf.write_text(kept)


def test_apparmor_keeps_nothing_from_akiosd() -> None:
    if not Path("/sys/kernel/security/apparmor/profiles").exists():
        pytest.skip("this kernel has no AppArmor")
    # Where a profile has a say in user namespaces, one of ours would be a way around for all users.
    label = "unconfined" if Path("/etc/apparmor.d/abi/4.0").exists() else LABEL
    assert profiles() == {label} - {"unconfined"}
    assert Path(f"/proc/{main_pid()}/attr/current").read_text().strip() == label
    run("--detach", "--name", "label", "--", "sleep", "600")
    agent = int(cage("label")["pid"])
    assert Path(f"/proc/{agent}/attr/current").read_text().strip() == label
    sh("akiosctl", "stop", "label", user="dev")
    # The control: what has no profile has no name.
    assert Path("/proc/self/attr/current").read_text().strip() == "unconfined"


@pytest.mark.parametrize("switch", SWITCHES)
def test_cages_need_no_user_namespaces_of_users(switch: str) -> None:
    files = {name: Path("/proc/sys", name.replace(".", "/")) for name in SWITCHES}
    there = {name: file for name, file in files.items() if file.exists()}
    if switch not in there:
        pytest.skip(f"this kernel has no {switch}")
    before = {name: file.read_text().strip() for name, file in there.items()}
    own = ("unshare", "--user", "--map-root-user", "--net", "true")
    try:
        for name, file in there.items():
            file.write_text(SWITCHES[name][1])
        assert sh(*own, user="dev").returncode == 0
        there[switch].write_text(SWITCHES[switch][0])
        assert sh(*own, user="dev", ok=False).returncode != 0  # the control
        sh("systemctl", "restart", "akiosd")
        assert works()
        if Path("/usr/bin/aa-exec").exists():  # The profile's name is no way around it.
            assert sh("aa-exec", "-p", LABEL.split()[0], *own, user="dev", ok=False).returncode != 0
    finally:
        for name, file in there.items():
            file.write_text(before[name])


def test_autopkgtest_passes(tmp_path: Path) -> None:
    source = tmp_path / "akios"
    shutil.copytree(HANDED_IN.parent / "tests/package", source / "tests/package")
    (source / "tests/__init__.py").touch()
    shutil.copytree(HANDED_IN.parent / "packaging/deb/debian", source / "debian")
    (source / "debian/files").touch()  # so it counts as built, and dpkg-dev is not asked for
    changelog = "akios (1.0.0) trixie; urgency=medium\n\n  * New.\n\n -- A <a@b>  Sun, 29 Nov 2026 00:00:00 +0000\n"
    (source / "debian/changelog").write_text(changelog)
    words = ("--no-built-binaries", "--ignore-restrictions=isolation-machine", f"{source}/")
    # What it leaves beside its own files would look as if akios had left it.
    unmarked = {"PYTHONDONTWRITEBYTECODE": "1"}
    done = sh("autopkgtest", *words, "--", "null", ok=False, env=unmarked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout and " passed" in done.stdout


def test_a_purge_with_work_lying_about_leaves_nothing(before: dict[str, set[str]]) -> None:
    run("--detach", "--name", "final", "--", "sleep", "3600")
    sh("apt-get", "remove", "-y", "akios")
    assert Path("/var/lib/akios/ledger").is_dir() and CONFIG.is_file()
    install(DEBS["newer"])
    nothing_is_lost()
    run("--detach", "--name", "later", "--", "sleep", "3600")
    sh("apt-get", "purge", "-y", "akios")
    left = {what: names - before[what] for what, names in leftovers().items()}
    # Groups stay, as Debian's policy has it: files of theirs may lie anywhere.
    assert left.pop("accounts") <= {*GROUPS, "akios-api"}
    left["files"] -= {f"/etc/{name}" for name in ("group-", "gshadow-", "passwd-", "shadow-")}
    assert not any(left.values()), left
