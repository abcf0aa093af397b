"""The scopes that the documents and the pages speak of are those that the endpoints ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosctl.api.endpoints import ANY, ENDPOINTS, Endpoint
from akiosctl.api.tokens import SCOPES

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/developer.md").read_text()
MANUAL = (ROOT / "packaging/man/akiosctl.1").read_text()
PAGES = sorted((ROOT / "akiosctl/api/pages").glob("*.js"))
_NAMED = re.compile(r"`(\w+)`")
_ASKED = re.compile(r"""["`]/api/v1(/(?:\$\{[^}]*\}|[^"`?])*)""")


def row_of(method: str, path: str) -> Endpoint:
    """The endpoint of a path whose variable parts are words of any form."""
    for row in ENDPOINTS:
        form = re.sub(r"\\\{path:path\\\}", ".+", re.escape(row.path))
        if row.method == method and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", form), path):
            return row
    raise AssertionError(f"no endpoint {method} {path}")


def needed(rows: Iterator[Endpoint]) -> set[str]:
    return {scope for row in rows for scope in (row.scope, row.besides)} - {"", ANY}


def commands(text: str) -> Iterator[Endpoint]:
    """What the lines of curl ask."""
    for line in text.splitlines():
        path = re.search(r"\$API(/[^ ?\"]*)", line)
        assert path and line.startswith("curl "), line
        sends = re.search(r"--json|--data-binary|-X POST", line)
        yield row_of("POST" if sends else "GET", path[1])


def test_commands_of_the_guide_are_told_their_scopes() -> None:
    found = re.findall(r"([^\n]*scopes? [^\n]*):\n\n```\n(.*?)```", GUIDE, re.DOTALL)
    assert len(found) == 1, found
    for words, block in found:
        told = set(_NAMED.findall(words)) & set(SCOPES)
        assert told == needed(commands(block)), words


def test_websockets_of_the_guide_are_told_their_scopes() -> None:
    (words,) = re.findall(r"Terminals over WebSockets, with the scope (.*?):", GUIDE)
    rows = [row for row in ENDPOINTS if row.method == "WS" and row.path.startswith("/cages/")]
    assert set(_NAMED.findall(words)) & set(SCOPES) == needed(iter(rows))


def asked(text: str) -> Iterator[Endpoint]:
    for found in _ASKED.finditer(text):
        path = re.sub(r"\$\{(?:query\(|[^}]*\?)[^}]*\}?.*$", "", found[1])
        path = re.sub(r"\$\{[^}]*\}", "x", path)
        before = text[max(0, found.start() - 12) : found.start()]
        method = next((one for one in ("POST", "DELETE") if one in before), "GET")
        yield row_of(method, path)


def test_the_pages_need_what_is_said_of_them() -> None:
    rows = [row for page in PAGES for row in asked(page.read_text())]
    assert len(rows) > 12
    told = re.search(r"a page of your cages.*?token of the scopes(.*?): `http", GUIDE, re.DOTALL)
    assert told and set(_NAMED.findall(told[1])) == needed(iter(rows))
    (said,) = re.findall(r"as in http://\S+; it needs the scopes (.*?) to answer", MANUAL)
    assert set(re.findall(r"\w+", said)) & set(SCOPES) == needed(iter(rows))


def test_a_client_of_mcp_is_told_its_scopes() -> None:
    pytest.importorskip("mcp")
    from akiosctl.mcp_http import SCOPES as TOOLS

    told = re.search(r"with the scopes `run`, `output`(.*?)\)\.", GUIDE, re.DOTALL)
    assert told and set(_NAMED.findall(told[0])) == {"run", *TOOLS.values()}


def test_the_manual_has_the_words_of_each_scope() -> None:
    for name, words in SCOPES.items():
        assert f"{name}: {words.removesuffix(' it sends')}" in MANUAL, name
