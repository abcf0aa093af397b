"""Files a user names on the command line: read up to a limit, written whole, and errors
in words.
"""

from __future__ import annotations

import os
from pathlib import Path

from akiosd.errors import AkiosError
from akiosd.ledger.note import MAX_NOTE_BYTES


def read_file(path: Path, limit: int, what: str) -> bytes:
    """The whole file.  Raises :class:`AkiosError` if it cannot be read or is larger than a ``what``
    may be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise AkiosError(
            f"it cannot be read: {error.strerror}", str(path), "check the path and its mode"
        ) from None
    if len(data) > limit:
        raise AkiosError(
            f"it is larger than {limit} bytes",
            str(path),
            f"name a {what}: this file is too large to be one",
        )
    return data


def read_key_text(text: str) -> str:
    """A public key as it was given: itself, or the name of a file that holds it."""
    if "+" in text and not os.path.exists(text):
        return text
    return read_file(Path(text), MAX_NOTE_BYTES, "public key").decode("utf-8", "replace")


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` whole.  Raises :class:`AkiosError`."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise AkiosError(
            f"it cannot be written: {error.strerror}", str(path), "check the path and its mode"
        ) from None
