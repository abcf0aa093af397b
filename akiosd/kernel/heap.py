"""The C library's heap of this process."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Return free pages to the kernel, also those between pages in use: malloc_trim(3).  Blocks for
    milliseconds.

    After many cages what is still in use lies scattered, and the heap does not shrink by itself.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in every C library
    if malloc_trim is not None:
        malloc_trim(0)
