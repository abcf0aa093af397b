"""The list of a host's keys: a signed note with which any one of them vouches for all the others.

    akios/key-list/v1
    akios/<host>
    1 <base64 of the public key>
    2 <base64 of the public key> <base64 of key 1's certificate of it>

signed (c2sp.org/signed-note) by the last key under the name ``akios/<host>/keys``.  Whoever trusts
one key follows the certificates from it to the last, and takes the last one's word for those
before.  So the public key of a host, carried away once, verifies every log of that host, of
whatever age.
"""

from __future__ import annotations

from collections.abc import Sequence

from akiosd.errors import LedgerError
from akiosd.ledger.epochs import Epoch, Statement, check_chain, host_of
from akiosd.ledger.note import (
    NoteError,
    Signer,
    UntrustedNoteError,
    Vkey,
    decode_base64,
    decode_decimal,
    encode_base64,
    open_note,
    parse_note,
)

HEADER = "akios/key-list/v1"
KEY_LIST_PATH = "ledger/host.keys"
"""Where a state directory has it."""
MAX_KEY_LIST_BYTES = 64 * 1024
"""The limit of a note."""
MAX_EPOCHS = 400
"""Most keys of a host: so many always fit into the list, and into the record of a
pruned host log.
"""


def list_name(host: str) -> str:
    """The key name under which the list of a host (``akios/<16 hex digits>``) is signed."""
    return f"{host}/keys"


def log_key(vkey: Vkey, log: str) -> Vkey:
    """The same public key under the name of another log of its host, because one key signs them
    all.
    """
    return Vkey(f"{host_of(vkey.name)}/{log}", vkey.public_key)


def sign_key_list(host: str, epochs: Sequence[Epoch], seed: bytes) -> bytes:
    """The signed list; ``seed`` is the private key of the last epoch."""
    lines = [HEADER, host]
    for epoch in epochs:
        words = [str(epoch.number), encode_base64(epoch.public_key)]
        lines.append(
            " ".join([*words, encode_base64(epoch.certified_by)] if epoch.certified_by else words)
        )
    return Signer(list_name(host), seed).sign("".join(line + "\n" for line in lines))


def open_key_list(data: bytes, trusted: Vkey) -> frozenset[bytes]:
    """The public keys for which ``trusted``, the key of any log of the host, vouches; it is one of
    them itself.

    Raises ``UntrustedNoteError`` when it vouches for none, ``NoteError`` when the list is damaged.
    """
    host = host_of(trusted.name)
    epochs = _parse(parse_note(data).text, host)
    try:
        check_chain(f"{host}/keys", [Statement(place, epoch) for place, epoch in enumerate(epochs)])
    except LedgerError as error:
        raise NoteError(f"the list of keys is damaged: {error.what}", where="host.keys") from None
    open_note(data, Vkey(list_name(host), epochs[-1].public_key))
    keys = frozenset(epoch.public_key for epoch in epochs)
    if trusted.public_key not in keys:
        raise UntrustedNoteError("the trusted key is none of this host's keys", where=trusted.name)
    return keys


def _parse(text: str, host: str) -> list[Epoch]:
    header, name, *lines = text.rstrip("\n").split("\n")
    if header != HEADER or not lines:
        raise NoteError("not a list of a host's keys", where="host.keys")
    if name != host:
        raise UntrustedNoteError(f"the list of keys is of another host, {name}", where="host.keys")
    epochs = []
    for line in lines:
        number, *words = line.split(" ")
        if not 1 <= len(words) <= 2:
            raise NoteError("a line of the list of keys is malformed", where="host.keys")
        key, *certificate = map(decode_base64, words)
        epochs.append(Epoch(decode_decimal(number), key, certificate[0] if certificate else b""))
    if len(epochs[0].public_key) != 32:
        raise NoteError("a key of the list is not 32 bytes", where="host.keys")
    return epochs
