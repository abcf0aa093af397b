"""Restores originals in a reply on its way to the agent: in texts, and in the arguments of tool
calls.

A whole reply and the same reply streamed give the same text. In a text that begins like JSON,
originals are written as JSON strings are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from akiosd.gateway.llm.frames import Codec, StreamFrame
from akiosd.gateway.llm.providers.base import Channel, Json, Operation, Piece, mapping, text
from akiosd.gateway.llm.read_turns import OpenTurn, read_answer
from akiosd.gateway.llm.restore_large import digest_of, restore_kept
from akiosd.gateway.llm.signed_texts import Memory, is_signed, plain
from akiosd.gateway.redaction.sparse_json import LARGE
from akiosd.gateway.redaction.strict_json import BadJsonError, Kept, dump, parse
from akiosd.redact.pseudonyms import Pseudonyms, StreamRestorer
from akiosd.values.spend import Tokens

_BLANKS = " \t\r\n"
_MAX_SAID = 8 << 10
"""Characters of an answer that are kept."""
_MAX_HELD = 4 << 10
"""Bytes of arguments that came in one piece; strings of a large reply that are longer are not even
read.
"""


def restore(
    value: Any, pseudonyms: Pseudonyms | None, memory: Memory, skip: Iterable[tuple[int, str]] = ()
) -> bool:
    """Replace stand-ins by originals in ``value``, in place, at any depth.  Returns whether
    anything changed.

    ``skip`` are (id of the object, name) of strings to leave alone, because they are parts of a
    stream. With ``pseudonyms`` None nothing is restored; content that the provider signed is
    remembered in any case.
    """
    passed = frozenset(skip)
    changed = False
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if pseudonyms is not None and isinstance(item, dict) and _restore_names(item, pseudonyms):
            changed = True
        for name, inner in list(item.items() if isinstance(item, dict) else enumerate(item)):
            if isinstance(inner, dict | list):
                waiting.append(inner)
            elif isinstance(inner, Kept):
                kept = item[name] = _restore_kept(item, name, memory, pseudonyms)
                changed = changed or kept is not inner
            elif isinstance(inner, str):
                if isinstance(item, dict) and is_signed(item, str(name)):
                    memory.signed.remember(inner)
                elif pseudonyms is not None and (id(item), name) not in passed:
                    better = pseudonyms.restore(inner, inner.lstrip(_BLANKS)[:1] in ("{", "["))
                    changed = changed or better != inner
                    item[name] = better
    return changed


def _restore_kept(item: Any, name: Any, memory: Memory, pseudonyms: Pseudonyms | None) -> Kept:
    kept: Kept = item[name]
    if kept.is_text and isinstance(item, dict) and is_signed(item, str(name)):
        memory.signed.remember_digest(digest_of(kept))
        return kept
    return kept if pseudonyms is None else restore_kept(kept, pseudonyms)


def _restore_names(item: Json, pseudonyms: Pseudonyms) -> bool:
    better = {pseudonyms.restore(name): inner for name, inner in item.items()}
    if better.keys() == item.keys() or len(better) != len(item):
        return False
    item.clear()
    item.update(better)
    return True


class Text:
    """One channel of a stream: the pieces of one text, one set of arguments, or one signature.

    ``kind`` is that of its pieces: "arguments", "signed", or text.
    """

    def __init__(self, pseudonyms: Pseudonyms, kind: str) -> None:
        self._pseudonyms = pseudonyms
        self._restorer = StreamRestorer(pseudonyms, True) if kind == "arguments" else None
        self._digest = hashlib.sha256() if kind == "signed" else None
        self.last: tuple[StreamFrame, Any, Json, Piece] | None = None
        """The last event that brought a piece: frame, JSON as framed, JSON as opened, piece."""

    def push(self, text: str) -> str:
        """Take the next piece; returns what may be passed on.  Signed text is returned
        unchanged.
        """
        if self._digest is not None:
            self._digest.update(plain(text))
            return text
        if self._restorer is None:
            begun = text.lstrip(_BLANKS)
            if not begun:
                return text
            self._restorer = StreamRestorer(self._pseudonyms, begun[0] in "{[")
        return self._restorer.push(text)

    def flush(self, memory: Memory) -> str:
        """The channel has ended: returns the text that was held back, and remembers a signature in
        ``memory``.
        """
        if self._digest is not None:
            memory.signed.remember_digest(self._digest.digest())
        return self._restorer.flush() if self._restorer else ""


class Meter:
    """Usage and tool calls of a reply, as far as it has arrived."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._usage: Json = {}
        self._calls: dict[Channel, list[Any]] = {}
        self.served: dict[str, str] = {}
        """As :meth:`Operation.served` has it."""
        self._said: list[str] = []
        self._kept = 0
        self._spoken = hashlib.sha256()
        self.name = ""
        """The reply's id, by which a later request may refer to it."""
        self.received = 0
        """Bytes of text and tool arguments so far: an upper bound of the output tokens."""
        self.failed = False
        self.final = False
        """The provider has sent its last event with usage."""

    def take(self, event: Json, kind: str) -> None:
        """Account for one event (a whole reply is one event); ``kind`` is its name outside the
        JSON.
        """
        usage = {k: v for k, v in (self._operation.usage(event) or {}).items() if v is not None}
        self._usage |= usage
        self.final = self.final or bool(usage and self._operation.is_last(event))
        self.served |= self._operation.served(event)
        self.name = self.name or text(mapping(event.get("response", event)).get("id"))
        said = list[str]()
        for piece in self._operation.pieces(event, kind):
            self.received += len(piece.owner[piece.key].encode("utf-8", "surrogatepass"))
            if piece.kind == "text" and not _is_thought(piece.channel):
                said.append(piece.owner[piece.key])
        self._say(read_answer(event) or "".join(said))
        for call in self._operation.tools(event, kind):
            self._add(call.key, call.name, self._held(call.arguments))
        self.failed = self.failed or self._operation.failed(event, kind)

    def _held(self, arguments: Any) -> Any:
        """Of long arguments only their digest: the bytes of a reply go with its share of memory."""
        if isinstance(arguments, str):
            return arguments
        written = dump(arguments, sort=True)
        self.received += len(written)
        return hashlib.sha256(written).hexdigest() if len(written) > _MAX_HELD else arguments

    def _add(self, key: Channel, name: str, arguments: Any) -> None:
        known = self._calls.setdefault(key, ["", ""])
        known[0] += name
        if isinstance(arguments, str) and isinstance(known[1], str):
            known[1] += arguments
        elif known[1] in ("", arguments):
            known[1] = arguments
        else:
            self._calls[(*key, len(self._calls))] = [name, arguments]

    @property
    def tokens(self) -> Tokens | None:
        """The tokens counted by the provider; None while it has sent no count."""
        return self._operation.count(self._usage) if self._usage else None

    @property
    def answer(self) -> bytes:
        """The SHA-256 of what was said and of the tools called with which arguments."""
        batch = [[name, _canonical(arguments)] for name, arguments in self._calls.values() if name]
        return hashlib.sha256(self._spoken.digest() + dump(batch, sort=True)).digest()

    @property
    def open_turn(self) -> OpenTurn:
        """The answer as the beginning of a turn; only the beginning of a long text."""
        calls = [(name, arguments) for name, arguments in self._calls.values() if name]
        return OpenTurn(tuple(calls), "".join(self._said))

    def _say(self, said: str) -> None:
        if not said:
            return
        self._spoken.update(said.encode("utf-8", "surrogatepass"))
        if self._kept < _MAX_SAID:
            self._said.append(said[: _MAX_SAID - self._kept])
            self._kept += len(said)


def _is_thought(channel: Channel) -> bool:
    """What a model thinks is never the same twice."""
    return any(isinstance(part, str) and ("reason" in part or part[:2] == "th") for part in channel)


def _canonical(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return parse(arguments)
    except BadJsonError:
        return arguments


class StreamReply:
    """A streamed reply: bytes of the provider in, bytes for the agent out.

    An event is held back only while the end of its text may be the beginning of a stand-in.
    ``strip``: remove the usage that only AKIOS asked for.
    """

    def __init__(
        self,
        operation: Operation,
        codec: Codec,
        pseudonyms: Pseudonyms,
        memory: Memory,
        strip: bool = False,
    ) -> None:
        self._operation, self._codec, self._strip = operation, codec, strip
        self._pseudonyms, self._memory = pseudonyms, memory
        self._texts: dict[Channel, Text] = {}
        self._added = 0
        self.meter = Meter(operation)

    @property
    def held(self) -> int:
        """Bytes of the event that is not complete."""
        return self._codec.held

    def push(self, chunk: bytes) -> Iterator[bytes]:
        """The bytes that may be passed on, one item for each frame; b"" for a frame that is held.

        Raises :class:`akiosd.gateway.llm.frames.BrokenStreamError`.
        """
        return map(self._take, self._codec.push(chunk))

    def flush(self) -> bytes:
        """The rest, when the upstream has ended.  Raises
        :class:`akiosd.gateway.llm.frames.BrokenStreamError`.
        """
        out = b"".join(map(self._take, self._codec.flush()))
        return out + self._close([()], {})

    def _take(self, frame: StreamFrame) -> bytes:
        if frame.data is None:
            if frame.kind != "end":
                return frame.raw
            rest = self._close([()], {}).removesuffix(self._codec.between)
            return (self._codec.between + rest if rest else b"") + frame.raw
        if frame.data.strip() == b"[DONE]":
            return self._close([()], {}) + frame.raw
        try:
            outer = parse(frame.data)
        except BadJsonError:
            return frame.raw
        event = self._operation.open(outer, frame.kind)
        if not isinstance(event, dict):
            return frame.raw
        self.meter.take(event, frame.kind)
        return self._pass(frame, outer, event)

    def _pass(self, frame: StreamFrame, outer: Any, event: Json) -> bytes:
        operation, kind = self._operation, frame.kind
        pieces = list(operation.pieces(event, kind))
        # An event that is packed inside another (base64) cannot be searched for in the frame's
        # bytes.
        there = event is not outer or self._pseudonyms.may_be_in(frame.data or b"")
        skip = [(id(piece.owner), piece.key) for piece in pieces]
        changed = restore(event, self._pseudonyms if there else None, self._memory, skip)
        here: dict[Channel, Piece] = {}
        for piece in pieces:
            text = self._texts.setdefault(piece.channel, Text(self._pseudonyms, piece.kind))
            came = piece.owner[piece.key]
            piece.owner[piece.key] = text.push(came)
            changed = changed or piece.owner[piece.key] != came
            text.last = frame, outer, event, piece
            here[piece.channel] = piece
        held = {channel: piece.owner[piece.key] for channel, piece in here.items()}
        before = self._close(operation.closes(event, kind), here, event)
        changed = changed or any(
            piece.owner[piece.key] != held[channel] for channel, piece in here.items()
        )
        changed = operation.number(event, event, self._added) or changed
        if self._strip:
            left = operation.strip(event)
            if left is None:
                return before
            changed, event = changed or left is not event, left
        rest = (
            self._codec.render(frame, dump(operation.close(outer, event))) if changed else frame.raw
        )
        if len(frame.raw) > LARGE:
            self._forget(frame, here)
        return before + rest if before else rest

    def _forget(self, frame: StreamFrame, here: dict[Channel, Piece]) -> None:
        """Of a long event nothing but its form is kept until its channels end."""
        form = StreamFrame(self._codec.render(frame, b"{}"), b"{}", frame.kind)
        for channel, piece in here.items():
            piece.owner[piece.key] = ""
            if channel in self._texts and (last := self._texts[channel].last) is not None:
                self._texts[channel].last = form, *last[1:]

    def _close(
        self, endings: Iterable[Channel], here: dict[Channel, Piece], place: Json | None = None
    ) -> bytes:
        """End all channels whose key begins with one of ``endings``; returns the frames to insert.

        The text that such a channel holds is appended to its piece in the present event (``here``),
        or else becomes an event of its own.
        """
        out = b""
        for ending in endings:
            for channel in [c for c in self._texts if c[: len(ending)] == ending]:
                text = self._texts.pop(channel)
                rest = text.flush(self._memory)
                if not rest or text.last is None:
                    continue
                if channel in here:
                    here[channel].owner[here[channel].key] += rest
                    continue
                frame, outer, event, piece = text.last
                extra = self._operation.remainder(event, frame.kind, piece, rest)
                self._operation.number(extra, place if place is not None else event, self._added)
                out += (
                    self._codec.render(frame, dump(self._operation.close(outer, extra)))
                    + self._codec.between
                )
                self._added += 1
        return out
