"""The pages: what they may load and run, and that all of it is served and shipped."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from akiosctl.api.endpoints import BASE, ENDPOINTS
from tests.unit.api.asgi import ask, make_guard

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "akiosctl/api/pages"
FILES = sorted(PAGES.iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
VIEWS = ("/", "/cage", "/decisions", "/ledger", "/workflows", "/approvals")
# What makes HTML, code or a style out of text.
_DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|createContextualFragment"
    r"|\beval\(|new Function|setTimeout\(\s*[\"'`]|javascript:|\"style\""
)
_ELSEWHERE = re.compile(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}|@import|url\(")
_NAMED = {"http://www.w3.org"}
"""The name of a namespace: nothing is loaded from there."""


def served(path: Path) -> str:
    return "/" if path.name == "index.html" else f"/{path.name}"


@pytest.mark.parametrize("path", [*VIEWS, *(served(p) for p in FILES if p.name != "index.html")])
async def test_a_page_may_load_and_run_only_what_this_server_has(path: str, tmp_path: Path) -> None:
    app, _, _ = make_guard(tmp_path)
    answer = await ask(app, path)
    assert answer.status == 200
    rules = dict(
        rule.strip().partition(" ")[::2]
        for rule in answer.headers["content-security-policy"].split(";")
    )
    assert rules["default-src"] == "'none'" and rules["frame-ancestors"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    loads = [value for name, value in rules.items() if name.endswith("-src")]
    assert set(loads) <= {"'none'", "'self'"}
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'" and rules["trusted-types"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    text = (PAGES / "index.html").read_text()
    assert re.findall(r"<script[^>]*>(?=\S)|<style|\son\w+=|\sstyle=", text) == [
        found for found in re.findall(r"<script[^>]*>", text) if "src=" in found
    ]
    assert text.count("</script>") == text.count('<script type="module" src="/')


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_and_no_text_becomes_code(path: Path) -> None:
    text = path.read_text()
    assert set(_ELSEWHERE.findall(text)) <= _NAMED
    assert not _DANGEROUS.findall(text)


def test_the_search_for_code_finds_it() -> None:
    """The control of the test above."""
    for wrong in ("x.innerHTML = y", 'h("p", { "style": 1 })', "eval(x)", "setTimeout('x', 1)"):
        assert _DANGEROUS.search(wrong), wrong
    assert _ELSEWHERE.search('import "https://cdn.example.com/x.js"')


async def test_what_a_page_names_is_served(tmp_path: Path) -> None:
    app, _, _ = make_guard(tmp_path)
    names = set(re.findall(r'(?:src|href)="(/[^"]*)"', (PAGES / "index.html").read_text()))
    for script in SCRIPTS:
        names |= set(re.findall(r'(?:from |import\()"([^"]+)"', script.read_text()))
    assert len(names) > len(SCRIPTS)
    for name in sorted(names):
        assert name.startswith("/")
        assert (await ask(app, name)).status == 200, name


def test_the_package_has_all_of_it() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())
    globs = setup["tool"]["setuptools"]["package-data"]["akiosctl"]
    for path in FILES:
        assert path.is_file()
        name = str(path.relative_to(ROOT / "akiosctl"))
        assert any(fnmatch(name, glob) for glob in globs), name


def test_pages_ask_what_there_is() -> None:
    known = [re.sub(r"\{[^}]+\}", "[^/?]+", BASE + row.path) for row in ENDPOINTS]
    asked: set[str] = set()
    for script in SCRIPTS:
        asked |= set(
            re.findall(
                r'["`](/api/v1/(?:[^"`$?]|\$\{(?:this\.id|this\.run|log|path|question)\})+)',
                script.read_text(),
            )
        )
    assert len(asked) >= 10
    for text in asked:
        path = re.sub(r"\$\{[^}]*\}", "x", text)
        assert any(re.fullmatch(one, path) for one in known), text
