"""Events as entries of systemd's journal, and the catalog that explains the ones that matter."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from akiosd.values.journal import MESSAGE_IDS, encode_entry, journal_entry, sentence

ROOT = Path(__file__).resolve().parents[3]
CATALOG = (ROOT / "systemd" / "akios.catalog").read_text()


def decode(datagram: bytes) -> dict[str, bytes]:
    """The journal's reading of a datagram."""
    found, rest = dict[str, bytes](), datagram
    while rest:
        line, _, after = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(after[:8], "little")
            value, after = after[8 : 8 + length], after[8 + length + 1 :]
        found[name.decode()], rest = value, after
    return found


@pytest.mark.parametrize(
    "value", ["plain", "", "a=b", "two\nlines", "\n", "MESSAGE=x\nPRIORITY=0\n", "é ☃", "\ud800"]
)
def test_a_value_is_one_field_whatever_it_holds(value: str) -> None:
    read = decode(encode_entry({"MESSAGE": "m", "AKIOS_X": value, "AKIOS_Y": "y"}))
    assert read == {
        "MESSAGE": b"m",
        "AKIOS_X": value.encode("utf-8", "backslashreplace"),
        "AKIOS_Y": b"y",
    }


def test_a_long_value_is_cut() -> None:
    assert len(encode_entry({"AKIOS_X": "x" * (1 << 20)})) < 40_000


def test_an_event_becomes_a_line_and_fields() -> None:
    event = {"part": "gateways", "event": "a gateway died", "cage": "c1", "times": 2, "level": "e"}
    assert journal_entry("error", event) == {
        "MESSAGE": "a gateway died (cage c1, times 2)",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "akiosd",
        "MESSAGE_ID": MESSAGE_IDS["a gateway died"],
        "AKIOS_PART": "gateways",
        "AKIOS_CAGE": "c1",
        "AKIOS_TIMES": "2",
    }
    assert "MESSAGE_ID" not in journal_entry("info", {"event": "something else"})


def test_an_error_and_a_traceback_read_as_one_line() -> None:
    error = {"event": "refused", "what": "unknown key", "where": "f, line 2", "next": "mend it"}
    assert sentence(error) == "refused: unknown key (where: f, line 2, next: mend it)"
    failed = {"event": "failed", "exception": "Traceback\n  …", "uid": 0}
    assert sentence(failed) == "failed (uid 0, traceback in the field AKIOS_EXCEPTION)"
    assert journal_entry("exception", failed)["AKIOS_EXCEPTION"] == "Traceback\n  …"


def test_names_of_fields_are_those_the_journal_takes() -> None:
    fields = journal_entry("info", {"event": "e", "left_out-before": 1, "ü" * 99: 2})
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name) for name in fields)


@cache
def logged() -> set[tuple[str, str]]:
    """(text, key) of every event that code writes."""
    found = set()
    for path in sorted((ROOT / "akiosd" / "daemon").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "_log"
                and isinstance(node.args[0], ast.Constant)
            ):
                keys = [keyword.arg for keyword in node.keywords if keyword.arg]
                found |= {(str(node.args[0].value), key.upper()) for key in ("", *keys)}
    return found


def entries() -> dict[str, str]:
    """Identifier → its text in the catalog."""
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("text", sorted(MESSAGE_IDS))
def test_each_message_of_the_catalog_is_written_by_code_and_explained(text: str) -> None:
    written = logged()
    assert (text, "") in written, "no code writes it"
    entry = entries()[MESSAGE_IDS[text]]
    head, _, body = entry.partition("\n\n")
    assert {line.partition(":")[0] for line in head.splitlines()} == {
        *("Subject", "Defined-By", "Support", "Documentation"),
    }
    parts = re.split(r"^(What|Why|What to do): ", body, flags=re.MULTILINE)[1:]
    assert parts[::2] == ["What", "Why", "What to do"] and all(map(str.strip, parts[1::2]))
    for field in re.findall(r"@AKIOS_(\w+)@", entry):
        assert (text, field) in written, f"it has no field {field}"


def test_the_catalog_and_the_table_have_the_same_identifiers() -> None:
    assert sorted(entries()) == sorted(MESSAGE_IDS.values())
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS) >= 10
