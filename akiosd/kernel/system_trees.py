"""Whether the system that cages show has changed.

A cage's overlays were mounted over the system of its start, and what is replaced under them is
seen, or not, file by file.  Package managers rename new files into place, so directories tell.
"""

from __future__ import annotations

import glob
import os
import time

_BELOW = (
    "", "bin", "sbin", "lib", "lib64", "lib/*-linux-gnu", "libexec", "local/bin", "local/sbin",
    "local/lib", "lib/python3/dist-packages",
)  # fmt: skip
_PACKAGES = (
    "/var/lib/dpkg/status", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/lib/apk/db/installed",
    "/var/lib/pacman/local",
)  # fmt: skip
_CHECK_EVERY_S = 2.0


class SystemTrees:
    """``names``: the directories of the root that cages see."""

    def __init__(self, names: tuple[bytes, ...], packages: tuple[str, ...] = _PACKAGES) -> None:
        below = (f"/{os.fsdecode(name)}/{part}" for name in names for part in _BELOW)
        self._paths = [path for pattern in below for path in sorted(glob.glob(pattern))] + list(
            packages
        )
        self._last: tuple[float, tuple[tuple[int, int], ...]] = (-1e9, ())

    def state(self) -> tuple[tuple[int, int], ...]:
        """Equal as long as nothing was put in or taken out; looked at again after two seconds."""
        now = time.monotonic()
        if now - self._last[0] > _CHECK_EVERY_S:
            self._last = (now, tuple(map(_look, self._paths)))
        return self._last[1]


def _look(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)
