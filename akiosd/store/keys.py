"""The signing key of a state directory.

One Ed25519 key signs all logs of a host, under each log's own name: what is signed is the checkpoint, whose first
line is the origin, so a signature for one log can never pass for another's, and key ids differ because they hash the
name.  Thousands of short cages then cost no key each, and losing a cage's directory loses no key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from akiosd.errors import LedgerError
from akiosd.ledger.note import ED25519, NoteError, Signer, Vkey, decode_base64, encode_base64, is_key_name, key_id
from akiosd.store.durable import Disk, parent, write_durably
from akiosd.values.ids import LogId

KEY_PATH = "keys/ledger.key"
_PREFIX = "PRIVATE+KEY+"


@dataclass(frozen=True)
class LedgerKey:
    """``name`` is the common first part of all origins of this host; ``seed`` is secret."""

    name: str
    seed: bytes

    def origin(self, log: LogId) -> str:
        return f"{self.name}/{log}"

    def signer(self, log: LogId) -> Signer:
        return Signer(self.origin(log), self.seed)

    def vkey(self, log: LogId) -> Vkey:
        return self.signer(log).vkey

    @property
    def public_key(self) -> bytes:
        return Signer(self.name, self.seed).vkey.public_key


def load_key(disk: Disk) -> LedgerKey | None:
    """The key of this state directory, or None where there is none; raises ``LedgerError`` if it is damaged."""
    data = disk.read(KEY_PATH, 1024)
    if data is None:
        return None
    try:
        name, _, rest = data.decode("ascii").strip().removeprefix(_PREFIX).partition("+")
        hex_id, _, encoded = rest.partition("+")
        material = decode_base64(encoded)
        if not is_key_name(name) or len(material) != 33 or material[0] != ED25519:
            raise NoteError("not an Ed25519 key")
        key = LedgerKey(name, material[1:])
    except (UnicodeDecodeError, NoteError):
        key = None
    if key is None or key_id(key.name, key.public_key).hex() != hex_id:
        raise LedgerError("the signing key is damaged", where=KEY_PATH, next="restore it from a backup")
    return key


def make_key(disk: Disk, random: Callable[[int], bytes]) -> LedgerKey:
    """Make the key, durable and readable by root only, before anything is signed with it."""
    key = LedgerKey(f"akios/{random(8).hex()}", random(32))
    identity = key_id(key.name, key.public_key).hex()
    text = f"{_PREFIX}{key.name}+{identity}+{encode_base64(bytes([ED25519]) + key.seed)}\n"
    disk.sync([], disk.make_dirs(parent(KEY_PATH), 0o700))
    write_durably(disk, KEY_PATH, text.encode(), 0o600)
    return key
