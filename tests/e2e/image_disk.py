"""A file system in an image, on which a daemon has its state, or its user a project."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until


@contextmanager
def on_image(daemon: Daemon, image: Path, where: Path, size: int, *options: str) -> Iterator[None]:
    """Start ``daemon`` with an ext4 of ``size`` bytes in the new file ``image`` mounted at
    ``where``; at the end both are gone.  ``options`` are those of mke2fs(8).
    """
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", *options, image], check=True)
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, where], check=True)
    # Ends at end of file, also when this process is killed; the daemon is told to stop then, too.
    command = ["sh", "-c", 'cat; umount -l "$0"', where]
    tidy = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        daemon.start()
        yield
    finally:
        if daemon.process is not None:
            daemon.stop()
        assert tidy.stdin is not None
        tidy.stdin.close()
        assert tidy.wait(60) == 0
        daemon.close()
        assert not [line for line in resources.mounts() if str(daemon.base) in line]
        assert wait_until(
            lambda: not [line for line in resources.loop_devices() if str(image.parent) in line]
        )
