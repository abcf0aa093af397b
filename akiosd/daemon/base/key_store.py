"""The API keys of LLM providers: kept by akiosd for gateways, written by administrators, read by
nobody else.

A key stands in ``keys/providers/NAME`` of the state directory (owned by root, mode 0600), or is a
credential of the service (systemd.exec(5), LoadCredential=) under the provider's name or the one
that akiosd.yaml gives. A key that was set takes precedence over a credential. A file holds the
lines of ``ProviderSetup.key``, and may end with one line ``region=NAME``.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from akiosd.daemon.base.gateway_config import check_region
from akiosd.errors import AkiosError, LedgerError
from akiosd.store.durable import Directory, write_durably
from akiosd.values.policy import PROVIDERS
from akiosd.wire.check import MAX_KEY, check_key
from akiosd.wire.messages import KeyInfo

_DIRECTORY = "keys/providers"
_MAX_BYTES = MAX_KEY + 64
_REGION = b"region="


class Key(msgspec.Struct, frozen=True):
    """``value`` as in ``ProviderSetup.key``; ``source``: ``set`` or ``credential``."""

    value: bytes
    region: str
    source: str

    def __repr__(self) -> str:
        return f"Key({len(self.value)} bytes, {self.source})"


def credentials_directory() -> Path | None:
    """The directory in which the service manager put this process's credentials; None
    without one.
    """
    path = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return Path(path) if path.startswith("/") else None


class KeyStore:
    """All keys.  ``credentials`` is the directory of the service's credentials, or None;
    ``name_of`` gives the name under which akiosd.yaml wants a provider's, "" for none in
    particular.  Every method blocks.
    """

    def __init__(
        self,
        state_dir: Path,
        credentials: Path | None = None,
        name_of: Callable[[str], str] = lambda provider: "",
    ) -> None:
        self._state_dir = state_dir
        self._credentials = credentials
        self._name_of = name_of

    def get(self, provider: str) -> Key | None:
        """The key of ``provider``, None for none.  Raises :class:`AkiosError` for one that cannot
        be trusted or parsed.
        """
        found = self._read_set(provider)
        if found is not None:
            return _parse(provider, found, "set")
        found = self._read_credential(provider)
        return _parse(provider, found, "credential") if found is not None else None

    def set(self, provider: str, value: bytes, region: str = "") -> None:
        """Store a key; on return it is durable.  A crash leaves the old key or the new one, never a
        part.
        """
        lines = value + b"\n" + (_REGION + region.encode() + b"\n" if region else b"")
        disk = Directory(self._state_dir)
        try:
            disk.sync([], disk.make_dirs(_DIRECTORY, 0o700))
            write_durably(disk, f"{_DIRECTORY}/{provider}", lines, 0o600)
        finally:
            disk.close()

    def is_set(self, provider: str) -> bool:
        """Whether a key was set (a credential does not count)."""
        return os.path.lexists(self._state_dir / _DIRECTORY / provider)

    def remove(self, provider: str) -> bool:
        """Remove a key that was set; returns whether there was one.  Durable on return.  A
        credential stays.
        """
        disk = Directory(self._state_dir)
        try:
            # A crash in the middle of set() leaves the new key under this name.
            names = [
                name for name in (provider, provider + ".tmp") if name in disk.names(_DIRECTORY)
            ]
            for name in names:
                disk.remove(f"{_DIRECTORY}/{name}")
            disk.sync([], [_DIRECTORY] if names else [])
            return bool(names)
        finally:
            disk.close()

    def list(self) -> tuple[KeyInfo, ...]:
        """Every provider that has a key, in the order of ``PROVIDERS``; an unusable key is listed
        with its problem.
        """
        found = []
        for provider in PROVIDERS:
            try:
                key = self.get(provider)
            except AkiosError as error:
                found.append(KeyInfo(provider=provider, problem=str(error)))
                continue
            if key is not None:
                mark = fingerprint(provider, key.value)
                found.append(KeyInfo(provider, key.source, mark, key.region))
        return tuple(found)

    def _read_set(self, provider: str) -> bytes | None:
        disk = Directory(self._state_dir)
        try:
            return disk.read(f"{_DIRECTORY}/{provider}", _MAX_BYTES)
        except LedgerError as error:
            raise AkiosError(
                error.what,
                str(self._state_dir / _DIRECTORY / provider),
                f"set the key again: sudo akiosctl keys set {provider}",
            ) from None
        finally:
            disk.close()

    def _read_credential(self, provider: str) -> bytes | None:
        named = self._name_of(provider)
        if self._credentials is None:
            if named:
                raise _no_credential(named, "the service of akiosd")
            return None
        path = self._credentials / (named or provider)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if named:
                raise _no_credential(named, str(self._credentials)) from None
            return None
        except OSError as error:
            raise AkiosError(
                f"the credential cannot be read: {error.strerror}",
                str(path),
                "check LoadCredential= in the service of akiosd",
            ) from None
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or not _is_roots_alone(status):
                raise AkiosError(
                    "users other than root may read or write the credential",
                    str(path),
                    "let systemd provide it: LoadCredential= in the service of akiosd",
                )
            return file.read(_MAX_BYTES + 1)


def _is_roots_alone(status: os.stat_result) -> bool:
    """A credential is read-only and root's.

    Its group may read it where the service manager wrote an access list: the group's bits then
    show the list's mask (acl(5)), and the group is root's.
    """
    group = 0o020 if status.st_gid in (0, os.getegid()) else 0o070
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (0o007 | group)


def _no_credential(name: str, where: str) -> AkiosError:
    return AkiosError(
        f"akiosd.yaml names the credential {name}, and there is none",
        where,
        f"first: sudo systemd-creds encrypt --name={name} FILE /etc/credstore.encrypted/{name};"
        f" then add LoadCredentialEncrypted={name} to the service, and restart akiosd",
    )


def fingerprint(provider: str, value: bytes) -> str:
    """A short text that tells two keys apart and reveals nothing of either."""
    return hashlib.sha256(b"akios key\n" + provider.encode() + b"\n" + value).hexdigest()[:12]


def _parse(provider: str, data: bytes, source: str) -> Key:
    lines = [line.strip() for line in data.strip().splitlines()]
    region = ""
    if len(lines) > 1 and lines[-1].startswith(_REGION):
        region = lines.pop()[len(_REGION) :].decode("ascii", "replace")
    value = b"\n".join(lines)
    try:
        check_key(provider, value)
        if region:
            check_region(provider, region, "region")
    except AkiosError as error:
        key = f"the key of {provider} that was set"
        if source != "set":
            key = f"the credential with the key of {provider}"
        words = f"{key} is not valid: {error.what}"
        raise AkiosError(words, error.where, f"sudo akiosctl keys set {provider}") from None
    return Key(value, region, source)
