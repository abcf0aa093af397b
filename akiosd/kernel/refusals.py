"""What the kernel refuses, in the words of the house."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from akiosd.errors import KernelError


@contextmanager
def named_refusal(what: str, where: str) -> Iterator[None]:
    """Inside, an OSError becomes a KernelError: ``what`` was refused, ``where`` is the mechanism it
    belongs to.
    """
    try:
        yield
    except OSError as error:
        raise KernelError(
            f"the kernel refused {what}: {error.strerror}", where, errno=error.errno or 0
        ) from None
