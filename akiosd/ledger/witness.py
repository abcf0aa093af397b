"""Witnesses: the request ``add-checkpoint`` (c2sp.org/tlog-witness) and cosignatures
(c2sp.org/tlog-cosignature).

Ed25519 only (``cosignature/v1``). A cosignature says that this root at this size is consistent with
everything that the witness saw of the log before. Whoever rewrites the log, the holder of its key
included, cannot get a second one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct

from akiosd.ledger.note import (
    MAX_NOTE_BYTES,
    Note,
    NoteError,
    Signature,
    Vkey,
    encode_base64,
    key_id,
    parse_key,
    parse_note,
)

COSIGNATURE = 0x04
_timestamp = Struct(">Q")
_MARK = "\u2014 "


@dataclass(frozen=True)
class WitnessKey:
    """A witness's verifier key: ``<name>+<hex key id>+<base64(0x04 || public key)>``."""

    name: str
    public_key: bytes

    @property
    def id(self) -> bytes:
        """The key id, four bytes."""
        return key_id(self.name, self.public_key, COSIGNATURE)

    def __str__(self) -> str:
        return (
            f"{self.name}+{self.id.hex()}+{encode_base64(bytes([COSIGNATURE]) + self.public_key)}"
        )

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Parse the text form.  Raises ``NoteError``."""
        return cls(
            *parse_key(
                text,
                COSIGNATURE,
                "a key of an Ed25519 witness",
                "ask the witness's operator for its Ed25519 public key",
            )
        )

    def time_of(self, text: str, line: Signature) -> int | None:
        """When this witness cosigned ``text`` (Unix time in seconds); None when ``line`` is no
        cosignature of it by this key.
        """
        if (line.name, line.id) != (self.name, self.id) or len(line.signature) != 72:
            return None
        (seconds,) = _timestamp.unpack(line.signature[:8])
        message = cosigned_message(text, seconds)
        return (
            seconds
            if seconds < 1 << 63 and Vkey("", self.public_key).verifies(message, line.signature[8:])
            else None
        )


def cosigned_message(text: str, seconds: int) -> bytes:
    """The bytes that are signed; ``text`` is the checkpoint's, without its signatures."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosignature_line(key: WitnessKey, seconds: int, signature: bytes) -> str:
    """The line that is appended to the checkpoint."""
    return f"{_MARK}{key.name} {encode_base64(key.id + _timestamp.pack(seconds) + signature)}\n"


def encode_request(old_size: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The body of ``add-checkpoint``; the proof leads from the old size to the checkpoint's, and is
    empty for 0.
    """
    lines = [f"old {old_size}", *map(encode_base64, proof), ""]
    return "".join(line + "\n" for line in lines).encode() + checkpoint


def add_cosignatures(
    checkpoint: bytes, answer: bytes, keys: Iterable[WitnessKey]
) -> tuple[bytes, dict[str, int]]:
    """The checkpoint with the valid cosignatures of ``answer`` behind its own lines, and when each
    witness gave it.

    Lines of unknown keys are ignored; raises ``NoteError`` when none of the known witnesses
    cosigned.
    """
    if len(answer) > MAX_NOTE_BYTES:
        raise NoteError(
            f"the witness's answer is longer than {MAX_NOTE_BYTES} bytes",
            "the answer to add-checkpoint",
            "check the witness's URL, or ask its operator",
        )
    whole = parse_note(checkpoint + answer)
    given: dict[str, int] = {}
    lines = b""
    for key in keys:
        for line in whole.signatures:
            seconds = key.time_of(whole.text, line)
            if seconds is not None and key.name not in given:
                given[key.name] = seconds
                lines += cosignature_line(key, seconds, line.signature[8:]).encode()
    if not given:
        raise NoteError(
            "the witness's answer holds no signature by the key that was given for it",
            "the answer to add-checkpoint",
            "check --witness-key: ask the witness's operator for its public key",
        )
    known = checkpoint.split(b"\n")
    fresh = [line + b"\n" for line in lines.splitlines() if line not in known]
    return checkpoint + b"".join(fresh), given


def witnesses_of(checkpoint: bytes, keys: Iterable[WitnessKey]) -> dict[str, int]:
    """Which of these witnesses cosigned a checkpoint, and when (seconds since 1970)."""
    note: Note = parse_note(checkpoint)
    found = ((key.name, key.time_of(note.text, line)) for key in keys for line in note.signatures)
    return {name: seconds for name, seconds in found if seconds is not None}
