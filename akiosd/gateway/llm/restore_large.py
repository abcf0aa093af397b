"""Originals put back into a long reply, piece by piece: what no stand-in may be in stays as it
came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from akiosd.gateway.llm.signed_texts import plain
from akiosd.gateway.redaction.sparse_json import LARGE, STRING, pieces_of
from akiosd.gateway.redaction.strict_json import Kept, dump, parse
from akiosd.redact.pseudonyms import Pseudonyms, StreamRestorer

Bytes = bytes | bytearray | memoryview
_MARGIN = 16 << 10
"""Characters: no stand-in is as long, however it is escaped, with what tells where it stands."""
_BLANKS = " \t\r\n"
_LEAST_STRING = 8
"""Bytes with its quotes: no stand-in has fewer than six letters."""


def may_be_in(json: bytes | bytearray, pseudonyms: Pseudonyms) -> bool:
    """Whether it is worth looking for stand-ins: of a large text only its parts are asked."""
    return len(pseudonyms) > 0 and (len(json) > LARGE or pseudonyms.may_be_in(bytes(json)))


def digest_of(kept: Kept) -> bytes:
    """What is remembered of a signed text."""
    digest = hashlib.sha256()
    for piece in pieces_of(kept):
        digest.update(plain(_text_of(kept.raw[piece])))
    return digest.digest()


def restore_kept(kept: Kept, pseudonyms: Pseudonyms) -> Kept:
    """``kept`` itself where nothing is to be put back."""
    found = _string(kept, pseudonyms) if kept.is_text else _strings(kept.raw, pseudonyms)
    return Kept(found) if found is not None else kept


def _text_of(written: Bytes) -> str:
    return str(parse(b'"' + bytes(written) + b'"'))


def _inside(text: str) -> bytes:
    """``text`` as it is written within a JSON string."""
    return dump(text)[1:-1]


def _string(kept: Kept, pseudonyms: Pseudonyms) -> bytearray | None:
    """A restorer works where stand-ins may be, and some way before and behind; None: nowhere."""
    restorer = None
    written = bytearray(b'"')
    for piece, text, around in _texts(kept):
        if pseudonyms.may_be_in(around.encode("utf-8", "surrogatepass")):
            restorer = restorer or StreamRestorer(pseudonyms, _is_json(kept))
            written += _inside(restorer.push(text))
            continue
        if restorer is not None:
            written += _inside(restorer.flush())
            restorer = None
        written += kept.raw[piece]
    if restorer is not None:
        written += _inside(restorer.flush())
    written += b'"'
    return written if written != kept.raw else None


def _texts(kept: Kept) -> Iterator[tuple[slice, str, str]]:
    """Each piece with its text, and with some of what stands before and behind."""
    before, waiting = "", list[tuple[slice, str]]()
    for piece in pieces_of(kept):
        text = _text_of(kept.raw[piece])
        for place, here in waiting:
            yield place, here, before + here + text[:_MARGIN]
            before = here[-_MARGIN:]
        waiting = [(piece, text)]
    for place, here in waiting:
        yield place, here, before + here


def _is_json(kept: Kept) -> bool:
    """Whether a text begins like JSON: what goes into it is written as it is there."""
    begun = (_text_of(kept.raw[piece]).lstrip(_BLANKS)[:1] for piece in pieces_of(kept))
    return next(filter(None, begun), "") in ("{", "[")


def _strings(raw: memoryview, pseudonyms: Pseudonyms) -> bytearray | None:
    """Of a list or an object: every string in it.  None where none changes."""
    written, done = bytearray(), 0
    for place, string in _strings_in(raw, pseudonyms):
        written += raw[done : place.start]
        written += string
        done = place.stop
    return written + raw[done:] if done else None


def _strings_in(raw: memoryview, pseudonyms: Pseudonyms) -> Iterator[tuple[slice, Bytes]]:
    for found in STRING.finditer(raw):
        start, stop = found.span()
        if stop - start < _LEAST_STRING:
            continue
        if stop - start > LARGE:
            yield slice(start, stop), restore_kept(Kept(raw[start:stop]), pseudonyms).raw
        elif pseudonyms.may_be_in(found[0]):
            text = str(parse(found[0]))
            yield (
                slice(start, stop),
                dump(pseudonyms.restore(text, text.lstrip(_BLANKS)[:1] in ("{", "["))),
            )
