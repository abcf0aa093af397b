"""Checkpoints a user keeps as anchors, outside the reach of the host's log: ``$XDG_STATE_HOME/akios/pins``."""

from __future__ import annotations

import os
from pathlib import Path

from akiosd.errors import AkiosError
from akiosd.ledger.note import MAX_NOTE_BYTES, Vkey


def pins_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "akios" / "pins"


def _path(origin: str) -> Path:
    # Origins are akios/<host>/<log>; nothing in one may name another directory.
    return pins_directory() / origin.replace("%", "%25").replace("/", "%2F")


def load_pin(origin: str) -> bytes | None:
    """The checkpoint kept for this log, or None."""
    return _read(_path(origin))


def load_pinned_key(origin: str) -> Vkey | None:
    """The public key of this log as it was when its checkpoint was kept."""
    data = _read(_path(origin).with_name(_path(origin).name + ".vkey"))
    return Vkey.parse(data.decode("utf-8", "replace")) if data is not None else None


def save_pin(vkey: Vkey, note: bytes) -> Path:
    """Keep ``note`` and the key; durable on return."""
    path = _path(vkey.name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path.with_name(path.name + ".vkey"), f"{vkey}\n".encode())
    _write(path, note)
    return path


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_NOTE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AkiosError(f"a kept checkpoint cannot be read: {error.strerror}", str(path)) from None
    return data


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise AkiosError(f"the checkpoint cannot be kept: {error.strerror}", str(path)) from None
