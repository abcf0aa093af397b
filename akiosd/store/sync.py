"""What a rename, a new name or an unlink needs to outlive a power loss."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Return once the names in the directory are on disk (fsync(2)).  Raises OSError; never to be tried again."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
