"""What a tree takes on disk, however deep an agent made it."""

from __future__ import annotations

import os
from collections.abc import Iterator


def sizes_below(path: str) -> Iterator[tuple[str, int]]:
    """(name, bytes on disk) of what ``path`` is, whose name is ".", and of all that is below it.

    What goes meanwhile is left out, and so is what lies deeper than a path may be long
    (path_resolution(7)). Not ``os.walk``, which in Python 3.11 recurses with the tree.
    """
    try:
        yield ".", os.stat(path, follow_symlinks=False).st_blocks * 512  # stat(2)
    except OSError:
        return
    folders = [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    try:
                        size = entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                    except OSError:
                        continue
                    yield entry.name, size
        except OSError:
            continue


def size_of_tree(path: str) -> int:
    """The bytes on disk of all of it; 0 where there is nothing."""
    return sum(size for _, size in sizes_below(path))
