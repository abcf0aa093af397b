"""Takes a whole text; returns a safe text and its findings."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal
from urllib.parse import unquote

import msgspec

from akiosd.redact.containers.leaf import NUMBERS, Codec, Edit, edited, spelled_edits
from akiosd.redact.containers.view import Text, view
from akiosd.redact.engine import BY_FORM, Engine
from akiosd.redact.known_values import Known, until_all_known
from akiosd.redact.labelled_texts import Joined, checked
from akiosd.redact.model import RedactError, Result, Span
from akiosd.redact.normalise import View
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.whole_secrets import whole_secret

Mode = Literal["pseudonym", "mask", "block", "off"]


class Redactor:
    """One mode over one engine.

    ``pseudonym`` needs the cage's :class:`Pseudonyms`. ``known`` is what was found in the cage
    before: it is found again wherever it stands, and what is found now is added to it. In a text
    that is given as a whole, a value is also found in front of the place that revealed it.
    """

    def __init__(
        self,
        engine: Engine,
        mode: Mode = "mask",
        pseudonyms: Pseudonyms | None = None,
        known: Known | None = None,
    ) -> None:
        if mode == "pseudonym" and pseudonyms is None:
            raise RedactError(
                "personal data cannot be replaced by stand-ins outside of a cage",
                "redaction",
                "replace it by its kind: write redact: {models: mask, sites: mask} in the policy",
            )
        self.engine, self.mode, self.pseudonyms, self.known = engine, mode, pseudonyms, known

    def redact(self, text: str, hint: str = "") -> Result:
        """Redact ``text``; linear.  ``hint`` is its label, such as a JSON key.  Raises
        :class:`RedactError` when it is too long.
        """
        if self.mode == "off":
            return Result(text, ())
        return self.apply(text, self.find(text, hint))

    def read(self, text: str, hint: str = "") -> Result:
        """The same as :meth:`redact`, with the containers in ``text`` taken apart: a value is found
        in each of them.
        """
        if self.mode == "off":
            return Result(text, ())
        whole = view(checked(text), hint)
        if not whole.inner:
            return Redactor.redact(self, text, hint)
        leaves = list(whole.leaves())
        found = self._in_batches(leaves)
        spans = tuple(span for some in found for span in some)
        if not spans:
            return Result(text, ())
        paths = tuple(leaf.path for leaf, some in zip(leaves, found, strict=True) for _ in some)
        if self.mode == "block":
            return Result("", spans, True, paths)
        return Result(edited(text, self._edits(whole, iter(found))), spans, False, paths)

    def _in_batches(self, leaves: list[Text]) -> list[list[Span]]:
        """What is found in ``leaves``; so many at once that memory stays bounded."""

        def find() -> list[list[Span]]:
            found: list[list[Span]] = []
            for at in range(0, len(leaves), _BATCH):
                some = leaves[at : at + _BATCH]
                found += self.find_all([leaf.text for leaf in some], [leaf.label for leaf in some])
            return found

        # What one batch gives away stands in those before it too; within one that is seen to.
        return find() if len(leaves) <= _BATCH else until_all_known(self.known, find)

    def _edits(self, text: Text, found: Iterator[list[Span]]) -> list[Edit]:
        """What is to be replaced in ``text``, in places of its own."""
        if not text.inner:
            return [
                (s.start, s.end, self.replacement(text.text[s.start : s.end], s.type))
                for s in next(found)
            ]
        edits: list[Edit] = []
        for leaf, inner in text.inner:
            spelled = text.text[leaf.begin : leaf.end]
            respelled = leaf.codec is not NUMBERS and spelled != inner.text
            if not inner.inner and self.mode == "pseudonym" and respelled:
                changed = self._as_spelled(spelled, leaf.codec, inner.text, next(found))
            else:
                changed = (
                    spelled_edits(spelled, leaf.codec, some)
                    if (some := self._edits(inner, found))
                    else []
                )
            edits += [(leaf.begin + start, leaf.begin + end, new) for start, end, new in changed]
        return edits

    def _as_spelled(self, spelled: str, codec: Codec, text: str, spans: list[Span]) -> list[Edit]:
        """The edits of ``spelled``, which says ``text``: each stand-in brings back how its value is
        spelled there.
        """
        edits: list[Edit] = []
        for span in spans:
            value = text[span.start : span.end]
            ((start, end, _),) = spelled_edits(spelled, codec, [(span.start, span.end, "")])
            written = spelled[start:end]
            if codec.decode(written) != value:
                return spelled_edits(
                    spelled,
                    codec,
                    [
                        (s.start, s.end, self.replacement(text[s.start : s.end], s.type))
                        for s in spans
                    ],
                )
            stand_in = self.replacement(value, span.type, written)
            edits += spelled_edits(spelled, codec, [(span.start, span.end, stand_in)])
        return edits

    def find(
        self, text: str, hint: str = "", learn: Callable[[Span], bool] = lambda span: True
    ) -> list[Span]:
        """The findings that are to be replaced in ``text``; only those that ``learn`` agrees to are
        remembered.
        """
        return self.find_all([checked(text)], [hint], learn)[0]

    def find_all(
        self,
        texts: Iterable[str],
        hints: Sequence[str],
        learn: Callable[[Span], bool] = lambda span: True,
    ) -> list[list[Span]]:
        """The same as :meth:`find` for many texts, each with its label."""
        joined = Joined([View(self.shown(text)) for text in texts], hints)
        found = self.engine.find_all(joined)
        for number, hint in enumerate(hints):
            if hint:
                found[number] = self.with_whole(found[number], joined.views[number].text, hint)
        if self.mode == "pseudonym" and self.pseudonyms is not None:
            for seen, spans in zip(joined.views, found, strict=True):
                self.pseudonyms.expect(seen.text[span.start : span.end] for span in spans)
        if self.known is None:
            return found
        for seen, spans in zip(joined.views, found, strict=True):
            for span in spans:
                if learn(span):
                    self.learn(seen.text[span.start : span.end], span)
        again = known_spans(self.known, joined)
        return [merged(spans, again[i]) if i in again else spans for i, spans in enumerate(found)]

    def with_whole(self, spans: list[Span], text: str, hint: str) -> list[Span]:
        """``spans``, and a secret that only the name of the whole text gives away."""
        secret = whole_secret(text, hint) if hint else None
        if (
            secret is None
            or secret.type not in self.engine.names
            or text.casefold() in self.engine.allowed
        ):
            return spans
        return spans if spans and spans[0].end == len(text) else merged(spans, [secret])

    def learn(self, value: str, span: Span) -> list[bytes]:
        """Remember ``value``, unless its form gives it away wherever it stands; returns the keys of
        what is new.
        """
        if self.known is None:
            return []
        evident = span.reason in BY_FORM and span.type in self.engine.evident
        if evident and not span.type.startswith("PHONE"):
            return []
        keys = [self.known.learn(value, span.type, span.category, evident)]
        if span.type == "URL_PASSWORD":
            keys.append(
                self.known.learn(
                    unquote(value.partition(":")[2]), "PASSWORD", span.category, evident
                )
            )
        return [key for key in keys if key]

    def has(self, text: str) -> bool:
        """Whether there is personal data in ``text``."""
        if self.engine.find(text):
            return True
        return self.known is not None and bool(known_spans(self.known, Joined([View(text)], [""])))

    def shown(self, text: str) -> str:
        """The part of ``text`` that is to be searched: stand-ins that were given before are not,
        and stay as they are.
        """
        return text if self.pseudonyms is None else self.pseudonyms.covered(text)

    def apply(self, text: str, spans: Iterable[Span], offset: int = 0) -> Result:
        """Replace ``spans`` of ``text``; the result's spans are moved by ``offset``."""
        pieces, kept, done = [], [], 0
        for span in spans:
            value = text[span.start : span.end]
            if offset:
                kept.append(
                    Span(
                        span.start + offset,
                        span.end + offset,
                        span.type,
                        span.category,
                        span.confidence,
                        span.reason,
                    )
                )
            else:
                kept.append(span)
            pieces += [text[done : span.start], self.replacement(value, span.type)]
            done = span.end
        if kept and self.mode == "block":
            return Result("", tuple(kept), True)
        return Result("".join([*pieces, text[done:]]), tuple(kept))

    def replacement(self, value: str, kind: str, spelled: str = "") -> str:
        """The mask or stand-in for ``value`` in this mode."""
        if self.mode == "pseudonym" and self.pseudonyms is not None:
            return self.pseudonyms.give(value, kind, spelled)
        return f"[{kind}]"


class Remembering(Redactor):
    """A redactor that searches no text twice: agents send their whole history, and the same
    headers, with every call.

    Longer texts are kept as digests, results only where something was replaced; ``most_bytes``
    bounds both together, the oldest go first.
    """

    def __init__(
        self,
        engine: Engine,
        mode: Mode = "mask",
        pseudonyms: Pseudonyms | None = None,
        most_bytes: int = 64 << 20,
        known: Known | None = None,
    ) -> None:
        super().__init__(engine, mode, pseudonyms, known)
        # Of a dict the first is found by stepping over all that went before it.
        self._seen: OrderedDict[object, _Seen] = OrderedDict()
        self._names: dict[str, tuple[int, bool]] = {}
        self._bytes, self._most = 0, most_bytes

    def redact(self, text: str, hint: str = "") -> Result:
        """As :meth:`Redactor.redact`; a text met before is not searched again."""
        return self._remembered("plain", text, hint, super().redact)

    def read(self, text: str, hint: str = "") -> Result:
        """As :meth:`Redactor.read`; a text met before is not searched again."""
        return self._remembered("", text, hint, super().read)

    def _remembered(
        self, way: str, text: str, hint: str, make: Callable[[str, str], Result]
    ) -> Result:
        if self.mode == "off":
            return Result(text, ())
        key: object = (way, hint, text)
        if len(hint) + len(text) > _SHORT:
            key = hashlib.sha256(
                f"{way} {len(hint)} {hint}{text}".encode("utf-8", "surrogatepass")
            ).digest()
        seen = self._seen.get(key)
        if seen is not None and (seen.version == self._version or self._holds(seen, text)):
            return seen.result or Result(text, ())
        result = make(text, hint)
        kept = None if result.text == text and not result.blocked else result
        if seen is not None:
            self._bytes -= _cost(seen.result)
        self._seen[key] = _Seen(self._version, self._awkward, kept)
        self._bytes += _cost(kept)
        while self._bytes > self._most:
            self._bytes -= _cost(self._seen.popitem(last=False)[1].result)
        return result

    @property
    def _version(self) -> int:
        return 0 if self.known is None else len(self.known)

    @property
    def _awkward(self) -> int:
        return 0 if self.known is None else self.known.awkward

    def _holds(self, seen: _Seen, text: str) -> bool:
        """Whether what was learned since changes nothing: no such value stands in what ``text``
        became.
        """
        safe = text if seen.result is None else seen.result.text
        if self.known is None or seen.awkward != self.known.awkward:
            return False
        if known_spans(self.known, Joined([View(self.shown(safe))], [""])):
            return False
        seen.version = self._version
        return True

    def has(self, text: str) -> bool:
        """As :meth:`Redactor.has`; an answer holds until another value becomes known."""
        version, found = self._names.get(text, (-1, False))
        if version != self._version:
            found = super().has(text)
            if len(text) <= _MAX_NAME and (text in self._names or len(self._names) < _MAX_NAMES):
                self._names[text] = self._version, found
        return found


class _Seen(msgspec.Struct):
    """What a text became when ``version`` values were known, ``awkward`` of which may be spelled in
    another way.
    """

    version: int
    awkward: int
    result: Result | None


def known_spans(known: Known, joined: Joined) -> dict[int, list[Span]]:
    """By number of the text, where remembered values stand in it."""
    found: dict[int, list[Span]] = {}
    for place in known.places(joined.data):
        at = joined.at(place.start, place.end)
        if at is None or not known.is_spelled(place, joined.views[at[0]].text[at[1] : at[2]]):
            continue
        found.setdefault(at[0], []).append(
            Span(at[1], at[2], place.kind, place.category, 0.95, "found before")
        )
    return found


def merged(spans: list[Span], again: Iterable[Span]) -> list[Span]:
    """``spans`` and what else of ``again``, both by position: of two that overlap the larger takes
    the other in.
    """
    kept: list[Span] = []
    for span in sorted([*spans, *again], key=lambda s: (s.start, -s.end)):
        if kept and span.start < kept[-1].end:
            if span.end > kept[-1].end:
                larger = max(kept[-1], span, key=lambda s: s.end - s.start)
                kept[-1] = msgspec.structs.replace(larger, start=kept[-1].start, end=span.end)
            continue
        kept.append(span)
    return kept


_BATCH = 1 << 13
_ENTRY = 200
"""Bytes of a digest and its place in the table, of one finding, about."""
_MAX_NAMES, _MAX_NAME = 1000, 100
_SHORT = 64
"""Characters, of a text and the name it has; no longer than the digest that would stand
for them.
"""


def _cost(kept: Result | None) -> int:
    return _ENTRY if kept is None else _ENTRY * (1 + len(kept.spans)) + 4 * len(kept.text)
