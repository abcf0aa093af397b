"""Trees that are deeper than paths and frames reach, as an agent makes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akiosd.kernel.disk import remove_tree

SECRET = b"deep secret"


@contextmanager
def directory_for_deep_trees() -> Iterator[Path]:
    """Not one of pytest's: what cleans those up fails where such a tree is left in one."""
    made = Path(tempfile.mkdtemp(prefix="akios-test-deep-"))
    try:
        yield made
    finally:
        remove_tree(made)


def dig(top: Path, depth: int, name: str = "dddd") -> int:
    """Directories in each other; the descriptor of a file at the bottom, with the secret in it."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open("f", os.O_RDWR | os.O_CREAT, dir_fd=fd)
    os.write(file, SECRET)
    os.close(fd)
    return file
