"""A fresh Debian or Ubuntu in a directory, with a user who has sudo and a clean clone in their home.

It is made once for each release and kept in ``.cache/first_hour``.  What runs in it
has own namespaces and control groups, and a ``/dev`` without loop devices, as in a container; it
reaches the package registries as this host does.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
CACHE = REPO / ".cache" / "first_hour"
USER = "dev"
# What the README asks for, and what a release has anyway once somebody can log in to it.
PACKAGES = "python3,sudo,ca-certificates"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_base(suite: str) -> Path:
    """The packed root of a release; made if it can be.  CalledProcessError with the words why not."""
    base = CACHE / f"{suite}.tar"
    if not base.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = base.with_suffix(".new.tar")
        command = [REPO / "packaging" / "fresh_root", suite, fresh, f"--include={PACKAGES}"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        fresh.rename(base)
    return base


class FreshRoot:
    """Entered from :meth:`start` to :meth:`close`, or to the end of this process."""

    def __init__(self, suite: str) -> None:
        base = find_base(suite)
        self.tree = Path(tempfile.mkdtemp(prefix="akios-first-hour-", dir="/var/tmp"))
        self.tree.chmod(0o755)
        subprocess.run(["tar", "-xf", base, "-C", self.tree, "--exclude=./dev/*"], check=True)
        self.record = CACHE / f"{suite}-seen.txt"
        self._keeper: subprocess.Popen[str] | None = None
        self._first = 0

    def start(self) -> FreshRoot:
        """Bring in what a machine would have been given, and start its process 1."""
        self._give_network()
        self._make_user()
        group = self.tree.name
        self._keeper = subprocess.Popen(
            [HERE / "keep.sh", self.tree, group],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == "up\n", "process 1 did not come up"
        for status in Path("/proc").glob("[0-9]*/root"):
            try:
                inside = status.samefile(self.tree) or os.readlink(status) == str(self.tree)
                if inside and self._is_first(status.parent):
                    self._first = int(status.parent.name)
            except OSError:
                continue
        assert self._first, "process 1 is not to be found"
        return self

    @staticmethod
    def _is_first(process: Path) -> bool:
        lines = (process / "status").read_text().splitlines()
        return any(line.startswith("NSpid:") and line.endswith("\t1") for line in lines)

    def _give_network(self) -> None:
        etc = self.tree / "etc"
        shutil.copyfile("/etc/resolv.conf", etc / "resolv.conf")
        hosts = f"127.0.0.1 localhost\n127.0.0.1 {socket.gethostname()}\n"
        (etc / "hosts").write_text(Path("/etc/hosts").read_text() + hosts)
        certificates = Path("/usr/local/share/ca-certificates")
        if certificates.is_dir():
            shutil.copytree(certificates, self.tree / "usr" / certificates.relative_to("/usr"),
                            dirs_exist_ok=True)  # fmt: skip
            self._chroot("update-ca-certificates")

    def _make_user(self) -> None:
        self._chroot("useradd", "--create-home", "--shell", "/bin/bash", USER)
        (self.tree / "etc" / "sudoers.d" / USER).write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
        clone = self.tree / "home" / USER / "akios"
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", REPO, clone], check=True)
        self._chroot("chown", "-R", f"{USER}:{USER}", f"/home/{USER}")

    def _chroot(self, *command: str) -> None:
        subprocess.run(
            ["chroot", self.tree, *command],
            check=True,
            capture_output=True,
            env={"PATH": _PATH[5:]},
        )

    def run(
        self, script: str, timeout: float = 1500, user: str = USER
    ) -> subprocess.CompletedProcess[str]:
        """A login shell of ``user``, who may be root, that runs ``script``; both outputs are one."""
        enter = ["nsenter", f"--target={self._first}", *["-m", "-p", "-u", "-i", "-C", "-r", "-w"]]
        return subprocess.run(
            [*enter, "env", "-i", _PATH, "TERM=dumb", "su", "-l", user, "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
        )

    def close(self) -> None:
        """End everything in it and remove it."""
        if self._keeper is None:
            shutil.rmtree(self.tree)
            return
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(600)
