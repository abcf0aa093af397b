"""The signing keys of a state directory.

One Ed25519 key signs all logs of a host, under each log's own name. What is signed is the
checkpoint, whose first line is the origin, so a signature for one log can never pass for another's,
and key ids differ because they hash the name. Thousands of short cages then cost no key each, and
losing a cage's directory loses no key.

A rotation makes the next key, certified by the present one, durable as ``ledger.key.next``; names
it in the host log; and moves it to the present one's place once that record is durable. The old
private key is called ``ledger.key.old`` until it is overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from akiosd.errors import LedgerError
from akiosd.ledger.epochs import Epoch, certificate_text
from akiosd.ledger.key_list import sign_key_list
from akiosd.ledger.note import (
    ED25519,
    NoteError,
    Signer,
    Vkey,
    decode_base64,
    encode_base64,
    is_key_name,
    key_id,
)
from akiosd.store.durable import Disk, parent, write_durably
from akiosd.values.ids import LogId

KEY_PATH = "keys/ledger.key"
NEXT_PATH = "keys/ledger.key.next"
OLD_PATH = "keys/ledger.key.old"
_PREFIX = "PRIVATE+KEY+"
_MAX_BYTES = 1 << 20  # thousands of epochs


@dataclass(frozen=True)
class LedgerKey:
    """A private key with its history.

    ``name`` is the common first part of all origins of this host, ``seed`` is secret, ``earlier``
    are the keys before it.
    """

    name: str
    seed: bytes = field(repr=False)
    earlier: tuple[Epoch, ...] = ()
    certified_by: bytes = b""

    def origin(self, log: LogId) -> str:
        """The name of a log of this host."""
        return f"{self.name}/{log}"

    def signer(self, log: LogId) -> Signer:
        """Signs the checkpoints of ``log``."""
        return Signer(self.origin(log), self.seed)

    def vkey(self, log: LogId) -> Vkey:
        """The public key under the name of ``log``."""
        return self.signer(log).vkey

    def vkeys(self, log: LogId) -> list[Vkey]:
        """The public keys of all epochs, the present one first."""
        return [Vkey(self.origin(log), epoch.public_key) for epoch in reversed(self.epochs)]

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the present Ed25519 public key."""
        return Signer(self.name, self.seed).vkey.public_key

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """All keys so far; this one is the last."""
        number = self.earlier[-1].number + 1 if self.earlier else 1
        return (*self.earlier, Epoch(number, self.public_key, self.certified_by))

    def key_list(self) -> bytes:
        """The list of all keys so far, signed by this one: any of them then vouches for
        all logs.
        """
        return sign_key_list(self.name, self.epochs, self.seed)

    def next(self, seed: bytes) -> LedgerKey:
        """The key of the next epoch, certified by this one."""
        public_key = Signer(self.name, seed).vkey.public_key
        text = certificate_text(self.name, self.epochs[-1].number + 1, public_key)
        return LedgerKey(
            self.name, seed, self.epochs, Signer(self.name, self.seed).sign_bytes(text)
        )


def load_key(disk: Disk, path: str = KEY_PATH) -> LedgerKey | None:
    """The key of this state directory, or None where there is none; raises ``LedgerError`` if it is
    damaged.
    """
    data = disk.read(path, _MAX_BYTES)
    if data is None:
        return None
    try:
        first, *lines = data.decode("ascii").splitlines()
        epochs = tuple(map(_parse_epoch, lines))
        name, _, rest = first.removeprefix(_PREFIX).partition("+")
        hex_id, _, encoded = rest.partition("+")
        material = decode_base64(encoded)
        if not is_key_name(name) or len(material) != 33 or material[0] != ED25519:
            raise ValueError("not an Ed25519 key")
        key = LedgerKey(name, material[1:], epochs[:-1], epochs[-1].certified_by if epochs else b"")
    except (UnicodeDecodeError, ValueError, NoteError):
        key = None
    if key is None or _encode(key) != data or key_id(key.name, key.public_key).hex() != hex_id:
        raise LedgerError("the signing key is damaged", where=path, next="restore it from a backup")
    return key


def _parse_epoch(line: str) -> Epoch:
    word, number, public_key, certificate = line.split(" ")
    if word != "epoch":
        raise ValueError("not an epoch")
    return Epoch(int(number), decode_base64(public_key), decode_base64(certificate))


def _encode(key: LedgerKey) -> bytes:
    identity = key_id(key.name, key.public_key).hex()
    lines = [f"{_PREFIX}{key.name}+{identity}+{encode_base64(bytes([ED25519]) + key.seed)}"]
    if key.earlier:
        lines += [
            f"epoch {e.number} {encode_base64(e.public_key)} {encode_base64(e.certified_by)}"
            for e in key.epochs
        ]
    return "".join(line + "\n" for line in lines).encode()


def make_key(disk: Disk, random: Callable[[int], bytes]) -> LedgerKey:
    """Make the key, durable and readable by root only, before anything is signed with it."""
    key = LedgerKey(f"akios/{random(8).hex()}", random(32))
    disk.sync([], disk.make_dirs(parent(KEY_PATH), 0o700))
    write_durably(disk, KEY_PATH, _encode(key), 0o600)
    return key


def save_next(disk: Disk, key: LedgerKey) -> None:
    """Store the key that is about to be named in the host log; durable on return."""
    write_durably(disk, NEXT_PATH, _encode(key), 0o600)


def install_next(disk: Disk) -> None:
    """The next key is named there: it signs from now on, and the old private key is overwritten.
    Durable on return.
    """
    disk.link(KEY_PATH, OLD_PATH)
    disk.sync([], [parent(KEY_PATH)])
    disk.replace(NEXT_PATH, KEY_PATH)
    disk.sync([], [parent(KEY_PATH)])
    drop_old(disk)


def drop_next(disk: Disk) -> None:
    """Destroy a next key that was never named: nothing was signed with it."""
    _shred(disk, NEXT_PATH)


def drop_old(disk: Disk) -> None:
    """Overwrite the old private key that a rotation left; where it stopped too early, that one is
    still the present key.
    """
    old = disk.read(OLD_PATH, _MAX_BYTES)
    if old is not None and old == disk.read(KEY_PATH, _MAX_BYTES):
        disk.remove(OLD_PATH)
        disk.sync([], [parent(KEY_PATH)])
    elif old is not None:
        _shred(disk, OLD_PATH)


def _shred(disk: Disk, path: str) -> None:
    """Overwrite a secret where it lies, with random bytes, then zeros; unlink it; each durably."""
    size = disk.size(path) or 0
    file = disk.open_region(path)
    try:
        for fill in (os.urandom(size), bytes(size)):
            file.write_at(0, fill)
            file.data_sync()
    finally:
        file.close()
    disk.remove(path)
    disk.sync([], [parent(path)])
