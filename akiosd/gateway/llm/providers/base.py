"""The shape of a provider: what the gateway must know of its API, as functions over parsed JSON.
Pure.

A *route* is a method and a path; it leads to an *operation*, one kind of request.  Operations hold
no state: what a stream gathers is kept by the caller.  A provider that is not described here does
not exist for a cage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from akiosd.gateway.redaction.strict_json import Number, integer
from akiosd.values.denial import Denial
from akiosd.values.providers import FACTS, ProviderFacts
from akiosd.values.spend import Tokens

Json = dict[str, Any]
Headers = list[tuple[bytes, bytes]]
Channel = tuple[int | str, ...]
Stream = Literal["", "sse", "ndjson", "eventstream", "array"]
PLACEHOLDER = b"akios"
"""Stands in every key that a cage is given instead of a real one."""


class Piece(NamedTuple):
    """``owner[key]`` is the next part of a text that goes on in other events, told apart by
    ``channel``.

    ``signed``: it belongs to what the provider signed, and stays as it is.
    """

    channel: Channel
    owner: Json
    key: str
    kind: Literal["text", "arguments", "signed"] = "text"


class ToolCall(NamedTuple):
    """A part of a tool call: the same ``key`` again adds to name and arguments."""

    key: Channel
    name: str
    arguments: str | Any


class Operation:
    """One kind of request.  ``kind``: ``call`` is paid, ``free`` is redacted only, ``read`` has no
    body.

    ``fields`` are the top-level names that may be sent; empty: any.  ``image_tokens`` is the most
    an image costs.
    """

    kind: Literal["call", "free", "read"] = "call"
    fields: frozenset[str] = frozenset()
    image_tokens = 50_000
    has_output = True
    threads = False
    """A request may go on from an answer that the provider keeps."""
    counts_along = False
    """Every event of a stream says what was used so far."""
    volatile: frozenset[str] = frozenset(
        {"metadata", "user", "stream", "stream_options", "prompt_cache_key"}
    )
    """Fields that do not change what a request means."""

    def model(self, body: Json, named: str) -> str:
        """``named`` is what the path says."""
        return named or text(body.get("model"))

    def normalise(self, body: Json) -> Denial | None:
        """Bring several spellings of a field to one."""
        return None

    def stream(self, body: Json, query: Mapping[str, str]) -> Stream:
        return "sse" if body.get("stream") is True else ""

    def leave_out(self, body: Json) -> tuple[str, ...]:
        """Take out tools of the provider's that a client offers unasked beside its own; their
        types.
        """
        return ()

    def refuse(self, body: Json) -> Denial | None:
        """What would cost money that is not counted, or run where nobody looks."""
        return None

    def unreadable(self, body: Json) -> bool:
        """Whether text is sent as the numbers of its tokens, in which nothing can be found."""
        return False

    def refers(self, body: Json) -> bool:
        """Whether something beyond the body is read: the whole context window is reserved then."""
        return any(
            refers(value) for name, value in body.items() if name not in SCHEMAS
        ) or refers_top(body)

    def output(self, body: Json) -> int:
        """Output tokens asked for by one choice; 0: not said."""
        return 0

    def floor(self, body: Json) -> int:
        return 1

    def choices(self, body: Json) -> int:
        return max(1, integer(body.get("n")))

    def set_output(self, body: Json, tokens: int) -> None: ...

    def prepare(self, body: Json) -> bool:
        """Ask for what metering needs; whether something was added that has to be taken out of the
        reply.
        """
        return False

    def encode(self, body: Json) -> None:
        """Put together again what :meth:`normalise` took apart, after it was redacted."""

    def pricing(self, body: Json) -> dict[str, str]:
        """Fields that decide which of a model's prices holds."""
        return {
            name: value
            for name in ("service_tier", "speed")
            if isinstance(value := body.get(name), str)
        }

    # ---- the reply -------------------------------------------------------------------------------

    def open(self, event: Any, kind: str) -> Any:
        """The JSON of interest within a frame's; ``kind`` is the frame's."""
        return event

    def close(self, event: Any, inner: Any) -> Any:
        """The frame's JSON with ``inner`` changed."""
        return inner

    def usage(self, reply: Json) -> Json | None:
        """What a reply or an event says of usage; later parts overwrite earlier ones."""
        found = reply.get("usage")
        return found if isinstance(found, dict) else None

    def is_last(self, event: Json) -> bool:
        """Whether the usage in this reply or event is of the whole answer: none comes after it that
        says more.
        """
        return True

    def count(self, usage: Json) -> Tokens:
        """What :meth:`usage` said, in our words."""
        return Tokens()

    def served(self, reply: Json) -> dict[str, str]:
        """What a reply or an event says of the fields in :meth:`pricing`: the tier that served is
        the one paid for.
        """
        return {}

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        return iter(())

    def closes(self, event: Json, kind: str) -> Iterable[Channel]:
        """The channels, or the beginnings of channels, that end with this event."""
        return ()

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        """An event that brings ``rest``; ``event`` is the last one of this channel."""
        raise NotImplementedError

    def number(self, event: Json, place: Json, added: int) -> bool:
        """Where events are numbered: ``event`` stands at ``place``, behind ``added`` events of
        ours.

        Whether it had to be changed.
        """
        return False

    def strip(self, event: Json) -> Json | None:
        """``event`` without what :meth:`prepare` asked for, None when nothing is left."""
        return event

    def tools(self, event: Json, kind: str) -> Iterator[ToolCall]:
        return iter(())

    def failed(self, event: Json, kind: str) -> bool:
        """Whether an event says that the answer broke off."""
        return (
            kind == "error" or event.get("type") == "error" or isinstance(event.get("error"), dict)
        )


class Read(Operation):
    """A list of models and the like: nothing is sent, nothing is paid."""

    kind = "read"


class Free(Operation):
    """Counting tokens and the like: personal data is redacted, nothing is paid."""

    kind = "free"


class Outgoing(NamedTuple):
    """A request as it will be sent, without its key.  ``now``: seconds since the epoch."""

    method: str
    url: str
    headers: Headers
    body: bytes
    now: float
    region: str = ""


class Route(NamedTuple):
    operation: Operation
    model: str = ""


class Provider:
    """What a provider's requests and answers mean.  What else is known of it is its row, ``facts``.

    ``queries``: parameters that may stand in a URL.
    """

    routes: tuple[tuple[str, re.Pattern[str], Operation], ...] = ()
    queries: frozenset[str] = frozenset()

    def __init__(self, facts: ProviderFacts) -> None:
        self.facts, self.name = facts, facts.name

    def find(self, method: str, path: str) -> Route | None:
        """The route of a raw (still percent-encoded) path."""
        for verb, pattern, operation in self.routes:
            match = pattern.fullmatch(path)
            if match and (verb == method or (verb == "GET" and method == "HEAD")):
                model = unquote(match["model"] or "") if "model" in pattern.groupindex else ""
                # A segment of dots is another path to whoever resolves it.
                return None if model in (".", "..") else Route(operation, model)
        return None

    def login(self, headers: Headers) -> str:
        """What log-in, other than an API key, the agent brought; "" for none."""
        return oauth(headers)

    def sign(self, key: bytes, request: Outgoing) -> Headers:
        """The request's headers with the key on them."""
        return [*request.headers, (self.facts.key_header, self.facts.key_prefix + key)]


def route(
    method: str, pattern: str, operation: Operation
) -> tuple[str, re.Pattern[str], Operation]:
    return method, re.compile(pattern), operation


_LOGIN_HEADERS = {
    header: words for facts in FACTS.values() for header, words in facts.login_headers.items()
}
_LOGIN_TOKENS = {
    token: words for facts in FACTS.values() for token, words in facts.login_tokens.items()
}


def oauth(headers: Headers) -> str:
    """A log-in is told from a key by its form: JWTs, and the beginnings that the vendors give to
    access tokens.
    """
    for name, value in headers:
        bearer = value.removeprefix(b"Bearer ").strip()
        if name in _LOGIN_HEADERS:
            return _LOGIN_HEADERS[name]
        if name not in (b"authorization", b"x-api-key") or PLACEHOLDER in value.lower():
            continue
        for beginning, words in _LOGIN_TOKENS.items():
            if bearer.startswith(beginning):
                return words
        if re.match(rb"eyJ[\w-]+\.[\w-]+\.[\w-]*\Z", bearer):
            return "a log-in (OAuth token)"
    return ""


# ---- what several providers share ----------------------------------------------------------------


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def arguments_of(item: Json) -> Any:
    """What an item of the Responses API calls its tool with, whichever of its tools that is."""
    names = ("arguments", "input", "action", "operation")
    return next((item[name] for name in names if item.get(name)), "")


def items(value: Any) -> list[Json]:
    """The objects in a list, whatever else is in it."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def limit_of(value: Any) -> int:
    """A token limit as written; a fraction or an absurd number is no limit that can be trusted:
    0.
    """
    if isinstance(value, Number):
        return 0
    return integer(value)


SCHEMAS = frozenset(
    {
        "tools",
        "functions",
        "response_format",
        "text",
        "toolConfig",
        "generationConfig",
        "output_config",
    }
)
"""Fields that describe shapes: a property called ``file_id`` in them refers to nothing."""
_REFERENCES = frozenset({
    "file_id", "file_url", "fileData", "file_data_uri", "s3Location", "fileUri", "document_url",
    "cachedContent",
})  # fmt: skip
_URLS = ("image_url", "imageUrl", "input_audio")
"""Names of a URL, of an object with one, or of the thing itself in base64."""
_TOP = ("previous_response_id", "conversation", "cachedContent", "thread", "context_management")


def refers_top(body: Json) -> bool:
    return any(body.get(name) for name in _TOP) or isinstance(body.get("prompt"), dict)


def refers(value: Any) -> bool:
    """Whether a value points to something that is not in the request: files, URLs of images, stored
    items.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            if _reference(item):
                return True
            skip = ("input",) if item.get("type") == "tool_use" else ()
            waiting += [
                inner
                for name, inner in item.items()
                if name not in skip and isinstance(inner, dict | list)
            ]
    return False


def _reference(item: Json) -> bool:
    if any(item.get(name) for name in _REFERENCES):
        return True
    if item.get("type") in ("item_reference", "url", "container_upload", "resource_link"):
        return True
    for name in _URLS:
        url = item.get(name)
        url = url.get("url") if isinstance(url, dict) else url
        if isinstance(url, str) and (
            ":" in url[:16] if name == "input_audio" else not url.startswith("data:")
        ):
            return True
    return False


def unknown_field(operation: Operation, body: Json) -> Denial | None:
    """What a later version of an API may charge for is not passed by an older gateway."""
    if not operation.fields:
        return None
    unknown = sorted(
        name for name, value in body.items() if name not in operation.fields and value is not None
    )
    if not unknown:
        return None
    return Denial(
        "llm.fields",
        f"the field {unknown[0][:60]!r} is not known to AKIOS, so what it costs is not either",
        "leave it out, or update AKIOS",
    )


def hosted(kind: str) -> Denial:
    return Denial(
        "llm.hosted_tools",
        f"the provider itself would run {kind[:60]!r}, outside the cage and its budget",
        "give the model tools that the agent runs",
    )


def tier(body: Json, name: str, known: Iterable[str]) -> Denial | None:
    """A service tier that is not among the ``known`` has a price of its own."""
    asked = body.get(name)
    if asked is None or (isinstance(asked, str) and asked.lower() in known):
        return None
    return priced_apart(f"the service tier {text(asked)[:60]!r}")


def priced_apart(what: str) -> Denial:
    return Denial(
        "llm.unpriced", f"{what} is charged at a price that is not counted", "leave it out"
    )
