"""What a user keeps of logs, outside the reach of the host's log: ``$XDG_STATE_HOME/akios/pins``.

Of a log: a checkpoint (``<origin>``), the public key it was verified with (``.vkey``), a checkpoint
that witnesses cosigned (``.cosigned``) and these witnesses' keys (``.witnesses``).  Of a place
where logs are read: which host was met there (``hosts``), as ssh keeps known hosts: another one
there is an alarm, not an addition.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from akiosctl.open_regular import open_regular
from akiosd.errors import AkiosError, LedgerError
from akiosd.kernel.syscalls import sync_directory
from akiosd.ledger.epochs import host_of
from akiosd.ledger.note import MAX_NOTE_BYTES, Vkey
from akiosd.ledger.witness import WitnessKey

_MAX_HOSTS_BYTES = 1 << 20


class KeptDamagedError(AkiosError):
    """What is kept is there and cannot be used: an anchor that cannot be checked, which is no good
    verdict.
    """

    NEXT = (
        "put this file back from a copy; without a copy, delete it, and trust the log as it is now:"
        " akiosctl ledger pin"
    )

    def __init__(self, what: str, path: Path, next: str = "") -> None:
        super().__init__(what, str(path), next)


def pins_directory() -> Path:
    """The directory, which may not exist."""
    base = os.environ.get("XDG_STATE_HOME") or ""
    return (
        (Path(base) if base.startswith("/") else Path.home() / ".local" / "state")
        / "akios"
        / "pins"
    )


@dataclass(frozen=True)
class Known:
    """What is kept of one log."""

    pin: bytes | None = None
    vkey: Vkey | None = None
    cosigned: bytes | None = None
    witnesses: tuple[WitnessKey, ...] = ()


def _path(origin: str) -> Path:
    # Origins are akios/<host>/<log>; nothing in one may name another directory.
    return pins_directory() / origin.replace("%", "%25").replace("/", "%2F")


def _beside(origin: str, suffix: str) -> Path:
    path = _path(origin)
    return path.with_name(path.name + suffix)


def load_known(origin: str) -> Known:
    """What is kept of the log with this origin.  Raises :class:`KeptDamagedError`, as all that
    reads here.
    """
    path = _beside(origin, ".cosigned")
    cosigned, witnesses = _read(path), _load_witnesses(origin)
    if cosigned is not None and not witnesses:
        what = (
            "a checkpoint that witnesses signed is kept for this log, but the file with these"
            " witnesses' public keys is missing or empty"
        )
        path = _beside(origin, ".witnesses")
        raise KeptDamagedError(
            what,
            path,
            "put this file back from a copy; without a copy, delete the one that ends in .cosigned,"
            " and ask the witnesses again: akiosctl ledger witness",
        )
    return Known(load_pin(origin), load_pinned_key(origin), cosigned, witnesses)


def _load_witnesses(origin: str) -> tuple[WitnessKey, ...]:
    path = _beside(origin, ".witnesses")
    lines = (_read(path) or b"").decode("utf-8", "replace").split("\n")
    try:
        return tuple(WitnessKey.parse(line) for line in lines if line)
    except LedgerError:
        raise KeptDamagedError(
            "the file that keeps the witnesses' public keys of this log is damaged", path
        ) from None


def load_pin(origin: str) -> bytes | None:
    """The checkpoint kept for this log, or None."""
    path = _path(origin)
    return _read(path)


def load_pinned_key(origin: str) -> Vkey | None:
    """The public key of this log as it was when its checkpoint was kept."""
    path = _beside(origin, ".vkey")
    data = _read(path)
    try:
        return Vkey.parse(data.decode("utf-8", "replace")) if data is not None else None
    except LedgerError:
        raise KeptDamagedError(
            "the file that keeps the public key of this log is damaged", path
        ) from None


def trusted_key(origin: str) -> Vkey | None:
    """The key kept for this log, else the one kept for its host's own: under its own name."""
    return load_pinned_key(origin) or load_pinned_key(f"{host_of(origin)}/host")


def pinned_origins(log: str) -> list[str]:
    """The origins of kept checkpoints of logs called so, on whatever host."""
    end = f"%2F{log}"
    try:
        names = [path.name for path in pins_directory().iterdir() if path.name.endswith(end)]
    except FileNotFoundError:
        return []
    return [name.replace("%2F", "/").replace("%25", "%") for name in sorted(names)]


def save_pin(vkey: Vkey, note: bytes) -> Path:
    """Keep ``note`` and the key; durable on return."""
    path = _path(vkey.name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(_beside(vkey.name, ".vkey"), f"{vkey}\n".encode())
    _write(path, note)
    return path


def save_cosigned(vkey: Vkey, note: bytes, witnesses: Sequence[WitnessKey]) -> None:
    """Keep a cosigned checkpoint apart from the pin, which moves on, and whose cosignatures are to
    be looked for.
    """
    _write(_beside(vkey.name, ".witnesses"), "".join(f"{key}\n" for key in witnesses).encode())
    _write(_beside(vkey.name, ".cosigned"), note)


def forget(origin: str) -> None:
    """Keep nothing of this log any more."""
    for suffix in ("", ".vkey", ".cosigned", ".witnesses"):
        _beside(origin, suffix).unlink(missing_ok=True)


def known_hosts(places: Sequence[str]) -> dict[str, str]:
    """Place → the host (``akios/<16 hex digits>``) whose logs were pinned from there, for those of
    ``places`` where one is known.
    """
    hosts = _read_hosts()
    return {place: hosts[place] for place in places if place in hosts}


def known_elsewhere(host: str) -> list[str]:
    """All hosts that were ever pinned, unless ``host`` is one of them."""
    known = set(_read_hosts().values())
    return [] if host in known else sorted(known)


def remember_host(places: Sequence[str], host: str) -> None:
    """Remember which host's logs are read at ``places``."""
    hosts = _read_hosts()
    found = {**hosts, **dict.fromkeys(places, host)}
    if found != hosts:
        _write_hosts(found)


def _write_hosts(hosts: dict[str, str]) -> None:
    _hosts_path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(_hosts_path(), json.dumps(hosts, indent=1, sort_keys=True).encode() + b"\n")


def forget_places(places: Sequence[str]) -> None:
    """Forget which host was met at ``places``."""
    hosts = _read_hosts()
    left = {place: host for place, host in hosts.items() if place not in places}
    if left != hosts:
        _write_hosts(left)


def _hosts_path() -> Path:
    return pins_directory() / "hosts"


def _read_hosts() -> dict[str, str]:
    data = _read(_hosts_path(), _MAX_HOSTS_BYTES)
    try:
        found = json.loads(data) if data is not None else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(host, str) for host in found.values()):
        raise KeptDamagedError(
            "the list of the hosts whose logs were pinned is damaged", _hosts_path()
        )
    return found


def _read(path: Path, limit: int = MAX_NOTE_BYTES) -> bytes | None:
    try:
        with open(open_regular(str(path)), "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "it is not a regular file" if error.errno == errno.EINVAL else error.strerror
        raise KeptDamagedError(
            f"a file that ledger pin keeps cannot be read: {why}", path
        ) from None
    if len(data) > limit:
        raise KeptDamagedError(
            f"a file that ledger pin keeps is damaged: it is larger than {limit} bytes", path
        )
    return data


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise AkiosError(
            f"the pin cannot be kept: {error.strerror}",
            str(path),
            "check the mode of that directory, and the room on its disk: ls -ld, df",
        ) from None
