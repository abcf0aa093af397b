"""The image of ``packaging/docker``, built and run by podman as a user would: uid 1001, no
capability, a read-only root, no_new_privs.

Nothing is pulled: the base is made by mmdebstrap, and the Python packages are those of akios.deb.
Both are kept in ``.cache/podman``.  The host's network is used, so that a test's own servers can be
reached at the loopback address, where nothing but the cage keeps an agent from them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.daemon import REPO
from tests.e2e.policy_mode import PolicyModeDaemon

CACHE = REPO / ".cache" / "podman"
UID = 1001
BASE, IMAGE = "localhost/akios-test-base", "localhost/akios-test"
NEEDED = ("podman", "runc", "catatonit", "mmdebstrap")
PACKAGES = (
    *("python3", "python3-venv", "python3-dev", "gcc", "libc6-dev", "libcap-dev", "libssl-dev"),
    *("libffi-dev", "ca-certificates", "libseccomp2", "git", "curl", "procps"),
)
PROFILE = Path("/usr/share/containers/seccomp.json")
_LOCK = REPO / "packaging" / "deb" / "lock" / "bookworm.txt"
# On hosts with v1 groups podman 4 cannot use its defaults; without these limits runc wants to raise
# them, which a container's own host may forbid.
_ENGINE = ("--runtime", "runc", "--cgroup-manager", "cgroupfs")
_HARDENED = (
    *("--user", f"{UID}:{UID}", "--cap-drop", "ALL", "--read-only"),
    *("--security-opt", "no-new-privileges", "--ulimit", "nofile=4096:4096"),
    *("--ulimit", "nproc=4096:4096", "--network", "host"),
)


def podman(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """CalledProcessError with podman's words."""
    options: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    options |= {"timeout": 900, "check": True} | more
    return subprocess.run(["podman", *_ENGINE, *map(str, words)], **options)


def missing() -> str:
    """The first program that this needs and the host lacks, "" for none."""
    return next((name for name in NEEDED if shutil.which(name) is None), "")


@functools.cache
def build_image() -> str:
    """The image of this checkout; layers that did not change are used again."""
    CACHE.mkdir(parents=True, exist_ok=True)
    base, wheels = CACHE / "base.tar", CACHE / "wheels"
    if not base.exists():
        fresh = base.with_suffix(".new.tar")
        made = [REPO / "packaging" / "fresh_root", "bookworm", fresh]
        subprocess.run(
            [*made, f"--include={','.join(PACKAGES)}"], check=True, capture_output=True, text=True
        )
        fresh.rename(base)
    if not wheels.exists():
        words = ["download", "-q", "--no-deps", "--require-hashes", "-r", _LOCK, "-d"]
        subprocess.run(
            [sys.executable, "-m", "pip", *words, CACHE / "wheels.new"],
            check=True,
            capture_output=True,
        )
        (CACHE / "wheels.new").rename(wheels)
    if podman("image", "exists", BASE, check=False).returncode:
        podman("import", base, BASE)
    podman(
        *("build", "-q", "--network", "none", "--build-arg", f"BASE={BASE}"),
        *("--volume", f"{wheels}:/wheels:ro"),
        *("--env", "PIP_NO_INDEX=1", "--env", "PIP_FIND_LINKS=/wheels"),
        *("-f", REPO / "packaging/docker/Dockerfile", "-t", IMAGE, REPO),
    )
    return IMAGE


def stricter_profile() -> str:
    """A seccomp profile without what Docker's leaves out and Debian's has: pidfd_getfd, new
    namespaces, mounts, keys; what is not listed is EPERM, and clone3 is ENOSYS.
    """
    found = json.loads(PROFILE.read_text())
    out = {
        *("pidfd_getfd", "setns", "unshare", "mount", "umount", "umount2", "fanotify_init"),
        *("kcmp", "keyctl", "add_key", "request_key", "fsopen", "fsmount", "open_tree"),
        *("move_mount", "clone3", "process_madvise_never"),
    }
    for rule in found["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in out]
    found["syscalls"] = [rule for rule in found["syscalls"] if rule["names"]]
    found["syscalls"].append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
    found |= {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "defaultErrno": "EPERM"}
    path = CACHE / "stricter.json"
    path.write_text(json.dumps(found))
    return str(path)


class Container(PolicyModeDaemon):
    """akiosd in a container; its client and every control run in the same one."""

    uid = UID

    def __init__(self, config: str = "", system_policy: str = "", profile: str = "") -> None:
        super().__init__(config, system_policy)
        self.name = f"akios-test-{uuid.uuid4().hex[:12]}"
        self._profile = ("--security-opt", f"seccomp={profile}") if profile else ()

    def start(self) -> Container:
        image = build_image()
        podman(
            *("run", "--detach", "--init", "--name", self.name, *_HARDENED, *self._profile),
            *("--volume", f"{self.base}:{self.base}", "--tmpfs", "/tmp:mode=1777"),
            *("--workdir", "/", image, "--config", self.config),
        )
        end = time.monotonic() + 60
        while not self.socket.exists():
            assert time.monotonic() < end, podman("logs", self.name).stderr
            time.sleep(0.1)
        return self

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            podman("rm", "--force", "--volumes", "--time", "20", self.name)
        shutil.rmtree(self.base, ignore_errors=True)

    def _exec(self, cwd: object) -> list[str]:
        words = ["podman", *_ENGINE, "exec", "--interactive", "--env", f"HOME={self.home}"]
        return [*words, "--env", "USER=agent", "--workdir", str(cwd), self.name]

    def ctl(
        self, *arguments: str | os.PathLike[str], uid: int = 0, **more: Any
    ) -> subprocess.CompletedProcess[Any]:
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120}
        if "input" not in more:
            options["stdin"] = subprocess.DEVNULL
        cwd = more.pop("cwd", "/")
        command = [*self._exec(cwd), "akiosctl", "--socket", self.socket, *arguments]
        return subprocess.run(command, **options | more)

    def popen(
        self, *arguments: str | os.PathLike[str], uid: int = 0, **more: Any
    ) -> subprocess.Popen[Any]:
        command = [*self._exec("/"), "akiosctl", "--socket", self.socket, *arguments]
        return subprocess.Popen(command, **more)

    def outside(self, *argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        words: Sequence[object] = [*self._exec(cwd), "env", f"TMPDIR={self.home}", *argv]
        return subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._exec("/"), *argv], stdin=subprocess.DEVNULL)

    def pid_inside(self, pid: int) -> int:
        """The number that a process of the host's has in the container."""
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
        raise ProcessLookupError(pid)
