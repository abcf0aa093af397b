"""Key epochs: which key signs a log of a given size, and how a new key is trusted because the old
one certified it.

A log says itself which key it begins with (``log_open``), and where another takes over
(``key_epoch``). The checkpoint of size n is signed by the key last named before entry n: a newer
key never signs an older range, and an older key never a newer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from akiosd.errors import LedgerError
from akiosd.ledger.note import UntrustedNoteError, Vkey, encode_base64
from akiosd.values.records import KeyEpoch, LogOpen, decode_entry

_MARKS = (b"key_epoch", b"log_open")


@dataclass(frozen=True)
class Epoch:
    """One key of a host: its ``number`` from 1, the public key, and from 2 on the previous key's
    signature over both.
    """

    number: int
    public_key: bytes
    certified_by: bytes = b""


@dataclass(frozen=True)
class Statement:
    """The entry at ``index`` says that this key signs from the next size on.  Epoch ``number`` 0:
    it does not say which.
    """

    index: int
    epoch: Epoch


def certificate_text(host: str, number: int, public_key: bytes) -> bytes:
    """What the old key signs.  ``host`` is the common first part of all origins of a host."""
    return f"akios/key-epoch/v1\n{host}\n{number}\n{encode_base64(public_key)}\n".encode()


def host_of(origin: str) -> str:
    """The common first part of all origins of the host whose log has this ``origin``."""
    return origin.rpartition("/")[0]


def read_statement(index: int, entry: bytes) -> Statement | None:
    """What this entry says about keys; None when it says nothing."""
    if not any(mark in entry for mark in _MARKS):
        return None
    try:
        record = decode_entry(entry)
    except msgspec.DecodeError:
        return None
    if isinstance(record, KeyEpoch):
        return Statement(index, Epoch(record.epoch, record.public_key, record.certified_by))
    if isinstance(record, LogOpen) and record.public_key and index == 0:
        return Statement(index, Epoch(0, record.public_key))
    return None


def check_chain(origin: str, statements: Sequence[Statement]) -> None:
    """Raise ``LedgerError`` unless each key of the log is certified by the one before it."""
    for before, after in pairwise(statements):
        old, new = before.epoch, after.epoch
        if new.public_key == old.public_key and not old.number:
            continue  # the host log names its first key twice
        text = certificate_text(host_of(origin), new.number, new.public_key)
        well_formed = len(old.public_key) == len(new.public_key) == 32 and new.number > old.number
        if not well_formed or not Vkey(host_of(origin), old.public_key).verifies(
            text, new.certified_by
        ):
            raise LedgerError(
                "the new key is not certified by the old one", where=f"entry {after.index}"
            )


def key_in_force(
    statements: Sequence[Statement], trusted: Vkey, kin: frozenset[bytes] = frozenset()
) -> Vkey:
    """The key that signs a log with these statements, all of which stand before its size.

    ``trusted`` must be one of the log's keys, or of the host's (``kin``: keys that a verified host
    log names). Raises ``UntrustedNoteError``.
    """
    if not statements:
        return trusted
    named = {statement.epoch.public_key for statement in statements}
    if trusted.public_key not in named and not (trusted.public_key in kin and named <= kin):
        raise UntrustedNoteError("the trusted key is none of this log's keys", where=trusted.name)
    return Vkey(trusted.name, statements[-1].epoch.public_key)
