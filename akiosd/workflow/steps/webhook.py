"""Steps that tell a chat or a service: Slack, Discord, Teams, and any that takes JSON.

Texts come from models, so what would call everybody in a channel, or show one address and lead to
another, is made plain: a message is only read.  The address of a webhook is a secret; it stands in
no result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

from akiosd.errors import AkiosError
from akiosd.workflow.steps import http_client
from akiosd.workflow.steps.http_client import read_url
from akiosd.workflow.steps.kind import Action, Actions, Form, Time, Work, seconds

_MAX_REPLY = 64 << 10
_MAX_BODY = 1 << 20


_MARKS = re.compile(r"[\\`*_~|>#\[\]()<@:+.-]")
_ADDRESS = re.compile(r"((?<![^\s])https?://[^\s\\`*|<>\[\]()@]+(?=\s|\Z))")


class Config(Form):
    """``service`` is what AKIOS 1.4 called ``platform``, ``url`` what it called ``webhook_url``."""

    url: str = ""
    webhook_url: str = ""
    service: Literal["slack", "discord", "teams", "generic"] | None = None
    platform: Literal["slack", "discord", "teams", "generic"] | None = None
    headers: dict[str, str] = {}
    timeout: Time = 30


class Send(Form):
    """``text`` (or ``message``) is what people read; ``payload`` is the whole body of a generic
    one.
    """

    text: str = ""
    message: str = ""
    title: str = ""
    payload: Any = msgspec.UNSET


class Service(NamedTuple):
    """``longest``: characters of a message.  ``keeps_keys``: it does a request with an idempotency
    key once.
    """

    body: Callable[[str, str], dict[str, Any]]
    longest: int
    keeps_keys: bool = False


def _slack(title: str, text: str) -> dict[str, Any]:
    # docs.slack.dev, "Formatting message text": these three are its control characters.
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        title, text = title.replace(character, entity), text.replace(character, entity)
    return {"text": f"*{title}*\n{text}" if title else text, "link_names": False}


def _discord(title: str, text: str) -> dict[str, Any]:
    # discord.com/developers, "Allowed mentions": none of anybody; "Message formatting": a mark
    # behind a backslash is one to read, a link that says another address among them.
    title, text = _plain(title), _plain(text)
    whole = f"**{title}**\n{text}" if title else text
    return {"content": whole, "allowed_mentions": {"parse": []}}


def _plain(text: str) -> str:
    """The marks of Discord's formatting behind backslashes; an address that stands for itself stays
    as it is, and is one.
    """
    pieces = _ADDRESS.split(text)
    pieces[::2] = (_MARKS.sub(r"\\\g<0>", piece) for piece in pieces[::2])
    return "".join(pieces)


def _teams(title: str, text: str) -> dict[str, Any]:
    # learn.microsoft.com, "Create incoming webhooks with Workflows": an adaptive card.  Its
    # RichTextBlock knows no Markdown, "Text features in Adaptive Cards", and no mentions.
    heading = {"type": "TextRun", "text": f"{title}\n", "weight": "bolder"}
    runs = [*([heading] if title else []), {"type": "TextRun", "text": text}]
    blocks = [{"type": "RichTextBlock", "inlines": runs}]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


def _generic(title: str, text: str) -> dict[str, Any]:
    return {"title": title, "text": text} if title else {"text": text}


SERVICES = {
    "slack": Service(_slack, 40_000),
    "discord": Service(_discord, 2_000),
    "teams": Service(_teams, 20_000),
    "generic": Service(_generic, 500_000, keeps_keys=True),
}


def send(work: Work, config: Config, wanted: Send) -> None:
    """Send one message.  Whether the service knows idempotency keys stands in the outputs."""
    name = config.service or config.platform or "generic"
    service, address = SERVICES[name], config.url or config.webhook_url
    url = read_url(address)
    data = _body(name, service, wanted)
    headers = {"Content-Type": "application/json", **config.headers}
    has_key = service.keeps_keys and bool(work.idempotency_key)
    if has_key:
        headers["Idempotency-Key"] = work.idempotency_key
    work.sent += len(data)
    work.may_be_done = True
    reply = http_client.ask("POST", url, headers, data, seconds(config.timeout))
    try:
        body, _ = reply.read(_MAX_REPLY)
    finally:
        reply.close()
    work.received += reply.received
    text = body.decode("utf-8", "replace")
    work.outputs |= {"status": reply.status, "body": text, "idempotent": has_key}
    if not 200 <= reply.status < 300:
        work.may_be_done = not http_client.is_undone(reply.status)
        called = config.service or config.platform or "the server"
        raise AkiosError(
            f"{called} answers {reply.status} {reply.reason}: {text[:300]}".rstrip(": "),
            f"https://{url.host}",
            "check the webhook's address" if reply.status in (401, 403, 404) else "try again later",
        )


def _body(name: str, service: Service, wanted: Send) -> bytes:
    text = wanted.text or wanted.message
    if wanted.payload is not msgspec.UNSET:
        if name != "generic":
            raise AkiosError(
                f"{name} takes text only, and no payload of your own",
                "webhook: parameters",
                "write text",
            )
        data = msgspec.json.encode(wanted.payload)
    else:
        if not text:
            raise AkiosError("the message is empty", "webhook: parameters", "write text")
        body = service.body(wanted.title, text)
        letters = max(len(text) + len(wanted.title), len(body.get("content", "")))
        if letters > service.longest:
            raise AkiosError(
                f"the message has {letters} characters, and {name} takes {service.longest}",
                "webhook: parameters",
                "shorten it; write the whole with a filesystem step, and name that file in the"
                " message",
            )
        data = msgspec.json.encode(body)
    if len(data) > _MAX_BODY:
        raise AkiosError(f"the body has more than {_MAX_BODY} bytes", "webhook", "shorten it")
    return data


ACTIONS: Actions = {"send": Action(Config, Send, send)}
