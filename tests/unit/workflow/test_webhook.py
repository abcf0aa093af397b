"""What a model wrote is only read in a chat: it calls nobody, and no link says another address."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from akiosd.errors import AkiosError
from akiosd.workflow.steps.webhook import SERVICES, Send, _body

LURES = (
    "[https://bank.example](https://evil.example)",
    "[x](<https://evil.example>)",
    "\\[https://bank.example](https://evil.example)",
    "<https://evil.example|bank>",
    "<@everyone> <@&1> <#1> @everyone @here",
    "<at>somebody</at>",
    "**x** __y__ ~~z~~ ||hidden|| `code`",
    "# heading\n> quote\n- item\n1. item",
    "https://bank.example@evil.example/ [https://a.example](https://b.example)",
)


def body(service: str, text: str, title: str = "") -> Any:
    return json.loads(_body(service, SERVICES[service], Send(text=text, title=title)))


@pytest.mark.parametrize("lure", LURES)
def test_teams_gets_runs_of_text_that_know_no_markdown(lure: str) -> None:
    (attachment,) = body("teams", lure, lure)["attachments"]
    (block,) = attachment["content"]["body"]
    assert block["type"] == "RichTextBlock"
    assert [run["type"] for run in block["inlines"]] == ["TextRun", "TextRun"]
    assert block["inlines"][1]["text"] == lure and "entities" not in str(attachment)


@pytest.mark.parametrize("lure", LURES)
def test_discord_shows_every_mark(lure: str) -> None:
    content = body("discord", lure)["content"]
    # Every mark that acts is behind a backslash, and what is read is what was written.
    assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", content) == lure
    bare = re.sub(r"\\[^0-9A-Za-z\s]", "", content)
    assert not re.search(r"[\[\]()<>*_~|`#@]", bare)


def test_an_address_stays_one() -> None:
    address = "https://site.example/a_b-c?d=1&e=f.g#h"
    text = f"see {address} and\n{address}"
    assert body("discord", text)["content"] == text.replace("#h", "#h")


def test_what_is_sent_is_what_has_to_fit() -> None:
    assert body("discord", "x" * 2000)
    with pytest.raises(AkiosError, match="4000 characters"):
        body("discord", "*" * 2000)
