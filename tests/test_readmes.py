"""The READMEs of the packages, and the documents they lead to, name what is there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("akiosd/gateway", "akiosd/redact", "akiosd/daemon", "akiosd/ledger", "akiosd/store"),
    *("akiosd/kernel", "akiosd/policy", "akiosd/workflow", "akiosctl", "akiosctl/api", "native"),
    *("akiosctl/api/views", "akiosctl/top", "systemd"),
)
LONGEST = 60
"""Lines of a README: what does not fit on a page is not found in half a minute."""
DOCUMENTS = (
    *(f"{package}/README.md" for package in PACKAGES),
    *("README.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/ledger.md"),
    *("docs/developer.md", "docs/administrator.md", "docs/auditor.md"),
)
TOP = {
    *(".ci", ".clang-format", ".clang-format-ignore", ".gitignore", "pyproject.toml"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
    *("akiosctl", "akiosd", "docs", "native", "packaging", "systemd", "tests"),
}
"""All that the repository keeps at its top: what a tool leaves there is not the project's."""
_FILE = re.compile(r"`([\w./-]+\.(?:py|c|h|md|yaml|sh))`")
_DRAWN = re.compile(r"\b([a-z_]+(?:/[a-z_0-9]+)+)\b(?!\.c)")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
# Files of a host, of a project or of a state directory that are spoken of.
_ELSEWHERE = re.compile(r"/.*|akios\.yaml|akiosd\.yaml|agent\.py|policy\.yaml")
_BOX = "┌─├└│▶▼◀"


def named_files(document: Path) -> Iterator[str]:
    """Files that a document names in code: relative to it, to its package, or to the repository."""
    yield from (
        name for name in _FILE.findall(document.read_text()) if not _ELSEWHERE.fullmatch(name)
    )


def drawn_modules(document: Path) -> Iterator[str]:
    """Modules that a drawing names without ``.py``, as far as they begin with a directory of the
    package.
    """
    for block in document.read_text().split("```")[1::2]:
        for name in _DRAWN.findall(block):
            if any((place / name.partition("/")[0]).is_dir() for place in (document.parent, ROOT)):
                yield name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_readme_fits_on_a_page(package: str) -> None:
    lines = (ROOT / package / "README.md").read_text().splitlines()
    assert len(lines) <= LONGEST


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "native"])
def test_a_readme_draws_the_flow_and_leads_to_files(package: str) -> None:
    text = (ROOT / package / "README.md").read_text()
    assert any(character in text for character in _BOX)
    assert "| question | look in |" in text
    assert "Invariants" in text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_is_there(name: str) -> None:
    document = ROOT / name
    places = (document.parent, ROOT, ROOT / "akiosd", ROOT / "native" / "src", ROOT / "native")
    missing = [
        file
        for file in named_files(document)
        if not any((place / file).exists() for place in places)
    ]
    missing += [
        link
        for link in _LINK.findall(document.read_text())
        if not (document.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_drawing_names_is_there(package: str) -> None:
    document = ROOT / package / "README.md"
    paths = [
        (name, place / name)
        for name in drawn_modules(document)
        for place in (document.parent, ROOT)
    ]
    there = {
        name for name, path in paths if path.is_dir() or path.with_name(path.name + ".py").exists()
    }
    assert {name for name, _ in paths} == there


def test_the_readme_leads_each_reader_to_a_page_of_their_own() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    for reader in ("developer", "administrator", "auditor"):
        assert f"(docs/{reader}.md)" in text


VERB = re.compile(r"^ {4}(?:sudo )?(?:\.venv/bin/)?akiosctl (.+?)(?: {2,}#.*)?$", re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.count("/") < 2])
def test_commands_that_a_document_shows_are_taken(name: str) -> None:
    """Each verb, and each option of it; what they do is shown by tests/e2e/test_examples.py."""
    from akiosctl.commands import VERBS, akiosctl
    from akiosctl.help.words import read_words

    root = read_words(akiosctl, {verb: text for verb, (_, text) in VERBS.items()})
    known = {verb.path: verb for verb in root.walk()}
    for line in VERB.findall((ROOT / name).read_text()):
        words = re.sub(r"^--socket \S+ ", "", line.partition(" -- ")[0]).split()
        path = (words[0],) if (words[0],) in known else ()
        assert path, line
        if len(words) > 1 and (words[0], words[1]) in known:
            path = (words[0], words[1])
        options = {option for one in known[path].options for option in one.names}
        wrong = [word for word in words if word.startswith("-") and word not in options]
        assert not wrong, line


def test_every_mechanism_of_the_kernel_has_its_line() -> None:
    text = (ROOT / "akiosd/kernel/README.md").read_text()
    modules = {path.name for path in (ROOT / "akiosd/kernel").glob("*.py")} - {"__init__.py"}
    assert modules == set(re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE))


def test_nothing_that_a_tool_left_is_kept_at_the_top() -> None:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files"],
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("this is not a checkout: git lists no files here")
    assert {name.split("/", 1)[0] for name in listed.stdout.splitlines()} == TOP
