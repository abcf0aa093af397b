"""Signed notes and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), Ed25519 only."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from akiosd.errors import LedgerError

ED25519 = 0x01
MAX_NOTE_BYTES = 64 * 1024  # room for well over 16 signatures, post-quantum ones of others included
MAX_SIGNATURES = 100
_MARK = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NOT_IN_NAMES = re.compile(r"[+\s\x00-\x1f\x7f-\x9f]")


class NoteError(LedgerError):
    """A note or key is not well formed, or no trusted key signed it."""

    NEXT = (
        "fetch it again from its host (sudo akiosctl ledger keys, ledger export); if it stays"
        " so, do not trust it"
    )


class UntrustedNoteError(NoteError):
    """A well-formed note that none of the trusted keys signed."""

    NEXT = (
        "check the public key (--vkey, or the pinned one): its host prints it, akiosctl ledger keys"
    )


def decode_base64(text: str) -> bytes:
    """Standard base 64 in its one canonical form (RFC 4648 section 4); raises ``NoteError``."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("this is not base64", where=_shown(text)) from None
    if base64.b64encode(data).decode() != text:
        raise NoteError(
            "this is base64, but not in its canonical form",
            where=_shown(text),
        )
    return data


def encode_base64(data: bytes) -> str:
    """Standard base 64 (RFC 4648 §4)."""
    return base64.b64encode(data).decode()


def decode_decimal(text: str) -> int:
    """A number as it is written here: ASCII digits, at most 19, no sign, no leading zero; raises
    ``NoteError``.
    """
    if (
        not (text.isascii() and text.isdigit())
        or len(text) > 19
        or (text != "0" and text.startswith("0"))
    ):
        raise NoteError("this is not a plain decimal number", where=_shown(text))
    return int(text)


def _shown(text: str) -> str:
    """Enough of a text of unknown origin to find it by."""
    return ascii(text if len(text) <= 80 else text[:80] + "…")


def is_key_name(name: str) -> bool:
    """Whether ``name`` may be the name of a key."""
    return bool(name) and not _NOT_IN_NAMES.search(name)


def key_id(name: str, public_key: bytes, algorithm: int = ED25519) -> bytes:
    """The first four bytes of the hash of name, algorithm and key (c2sp.org/signed-note)."""
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:4]


def parse_key(text: str, algorithm: int, what: str, next: str) -> tuple[str, bytes]:
    """Parse ``name+id+base64``, a key of this algorithm: (name, public key of 32 bytes).

    Raises NoteError, saying that it is not ``what``.
    """
    name, plus, rest = text.strip("\n").partition("+")
    hex_id, plus2, encoded = rest.partition("+")
    if not plus or not plus2 or not is_key_name(name):
        raise NoteError(
            "this is not a public key in the form NAME+ID+BASE64", where=_shown(text), next=next
        )
    try:
        material = decode_base64(encoded)
    except NoteError as error:
        raise NoteError(f"in this public key, {error.what}", where=name, next=next) from None
    if len(material) != 33 or material[0] != algorithm:
        raise NoteError(f"this key is not {what}", where=name, next=next)
    if key_id(name, material[1:], algorithm).hex() != hex_id:
        raise NoteError(
            "the id in this public key does not belong to the rest of it", where=name, next=next
        )
    return name, material[1:]


@dataclass(frozen=True)
class Vkey:
    """A verifier key: ``<name>+<hex key id>+<base64(algorithm || public key)>``."""

    name: str
    public_key: bytes

    @property
    def id(self) -> bytes:
        """The key id, four bytes."""
        return key_id(self.name, self.public_key)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{encode_base64(bytes([ED25519]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> Vkey:
        """Parse the text form.  Raises ``NoteError``."""
        return cls(
            *parse_key(
                text,
                ED25519,
                "an Ed25519 public key of a log",
                "use the log's .vkey file, or what its host prints: akiosctl ledger keys",
            )
        )

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether ``signature`` (64 bytes) over ``text`` is by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@lru_cache(maxsize=2)
def _key_pair(seed: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    # One key signs thousands of logs: deriving it costs more than a signature.
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class Signer:
    """Signs notes under one name.  ``seed`` is the Ed25519 private key (RFC 8032), 32 bytes."""

    def __init__(self, name: str, seed: bytes) -> None:
        if not is_key_name(name):
            raise NoteError("this cannot be the name of a key", where=_shown(name))
        self._key, public_key = _key_pair(seed)
        self.vkey = Vkey(name, public_key)

    def sign_bytes(self, text: bytes) -> bytes:
        """The bare signature, 64 bytes."""
        return self._key.sign(text)

    def sign(self, text: str) -> bytes:
        """The signed note over ``text`` (which ends in a newline)."""
        check_text(text)
        signature = encode_base64(self.vkey.id + self._key.sign(text.encode()))
        return f"{text}\n{_MARK}{self.vkey.name} {signature}\n".encode()


def _first_line(text: str) -> str:
    """What a note is known by: of a checkpoint, the name of its log."""
    return "the note that begins with " + _shown(text.partition("\n")[0])


def _first_bytes(data: bytes) -> str:
    return _first_line(data[:100].decode("utf-8", "replace"))


def check_text(text: str) -> None:
    """Raise ``NoteError`` unless ``text`` may be the text of a note."""
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError(
            "the signed text does not end in a newline, or has other control characters",
            where=_first_line(text),
        )


@dataclass(frozen=True)
class Signature:
    """One signature line: key name, key id, signature."""

    name: str
    id: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A parsed note; nothing in ``text`` is to be believed before ``open_note``."""

    text: str
    signatures: tuple[Signature, ...]


def parse_note(data: bytes) -> Note:
    """Split a note into text and signatures, strictly; raises ``NoteError``."""
    if len(data) > MAX_NOTE_BYTES:
        raise NoteError(
            f"a signed note has more than {MAX_NOTE_BYTES} bytes", where=_first_bytes(data)
        )
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteError("a signed note is not UTF-8", where=_first_bytes(data)) from None
    check_text(whole)
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail:
        raise NoteError("a signed note has no signatures", where=_first_line(whole))
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(
            f"a signed note has more than {MAX_SIGNATURES} signatures", where=_first_line(whole)
        )
    return Note(text + "\n", tuple(_parse_signature(line) for line in lines))


def _parse_signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not space or not is_key_name(name):
        raise NoteError("this line of a signed note is not a signature", where=_shown(line))
    data = decode_base64(encoded)
    if len(data) < 5:
        raise NoteError("the signature in this line is too short", where=_shown(line))
    return Signature(name, data[:4], data[4:])


def open_note(data: bytes, *trusted: Vkey) -> str:
    """The text of a note that at least one trusted key signed, and none signed wrongly; raises
    ``NoteError``.
    """
    note = parse_note(data)
    text = note.text.encode()
    known = {(vkey.name, vkey.id): vkey for vkey in trusted}
    verified = set()
    for line in note.signatures:
        vkey = known.get((line.name, line.id))
        if vkey is None:
            continue
        if not vkey.verifies(text, line.signature):
            raise NoteError("the signature by this trusted key is wrong", where=line.name)
        verified.add(vkey)
    if not verified:
        raise UntrustedNoteError(
            "none of the trusted public keys signed this note", where=_first_line(note.text)
        )
    return note.text


def is_signed_by(data: bytes, vkey: Vkey) -> bool:
    """Whether this key signed the note; raises ``NoteError`` for what is no note."""
    try:
        open_note(data, vkey)
    except UntrustedNoteError:
        return False
    return True


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: the log's origin, its size and its root (32 bytes).  Ours has no extension
    lines.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text that is signed."""
        lines = [self.origin, str(self.size), encode_base64(self.root), *self.extensions]
        return "".join(line + "\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Parse a checkpoint's text, strictly.  Raises ``NoteError``."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "" or not all(lines):
            raise NoteError(
                "this is not a checkpoint: it has fewer than three lines, or an empty one",
                where=_first_line(text),
            )
        origin, size, root, *extensions = lines
        try:
            number = decode_decimal(size)
        except NoteError:
            raise NoteError(
                f"this is not a checkpoint: its size {_shown(size)} is not a number", where=origin
            ) from None
        decoded = decode_base64(root)
        if len(decoded) != 32:
            raise NoteError("this is not a checkpoint: its root is not 32 bytes long", where=origin)
        return cls(origin, number, decoded, tuple(extensions))


def open_checkpoint(data: bytes, *vkeys: Vkey) -> Checkpoint:
    """A checkpoint signed by one of the keys, all of one name, which is its origin; raises
    ``NoteError``.
    """
    checkpoint = Checkpoint.parse(open_note(data, *vkeys))
    if checkpoint.origin != vkeys[0].name:
        raise NoteError(
            "the checkpoint is of another log",
            where=checkpoint.origin,
            next=f"give the checkpoint of {vkeys[0].name}",
        )
    return checkpoint
