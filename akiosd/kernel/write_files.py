"""Writes many small files in one native call, which releases the interpreter lock however busy the
event loop is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from akiosd.kernel._shim import ffi, lib


def write_files(folder: int, files: Sequence[tuple[str, bytes]], mode: int) -> None:
    """Create or overwrite files, given as (path below the open directory, content); nothing is
    synced.

    Raises ``OSError`` with the path of the file that failed: those before it are written, those
    after it are not.
    """
    paths = [os.fsencode(path) for path, _ in files]
    if any(b"\0" in path for path in paths):
        raise ValueError("embedded null byte")
    c_paths = [ffi.from_buffer("char[]", path + b"\0") for path in paths]
    contents = [ffi.from_buffer("uint8_t[]", data) for _, data in files]
    failed = ffi.new("size_t *")
    result = lib.akios_write_files(
        folder,
        ffi.new("char *[]", c_paths),
        ffi.new("uint8_t *[]", contents),
        ffi.new("size_t[]", [len(data) for _, data in files]),
        len(files),
        mode,
        failed,
    )
    if result < 0:
        raise OSError(-result, os.strerror(-result), files[failed[0]][0])
