"""``akiosctl protect`` without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from akiosctl.commands import run_verb
from akiosd.errors import AkiosError

NO_SOCKET = "/nonexistent/akios.sock"


def test_scan_says_where_and_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "note.txt"
    file.write_text("first line\nmail ada@example.org\ncard 4012888888881881\n")
    assert run_verb(["protect", "scan", str(file)], NO_SOCKET, False) == 1
    out = capsys.readouterr().out
    assert f"{file}:2:6: EMAIL" in out and f"{file}:3:6: CREDIT_CARD" in out and "2 found" in out
    assert "ada@" not in out
    assert run_verb(["protect", "scan", str(file), "--show", "--disable", "financial"], NO_SOCKET, False) == 1
    out = capsys.readouterr().out
    assert "ada@example.org" in out and "CREDIT_CARD" not in out


def test_scan_of_clean_and_of_broken_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "note.txt"
    file.write_bytes(b"nothing \xff here")
    assert run_verb(["protect", "scan", str(file)], NO_SOCKET, True) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    with pytest.raises(AkiosError, match="cannot be read"):
        run_verb(["protect", "scan", str(tmp_path / "none")], NO_SOCKET, False)


def test_scan_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "note.txt"
    file.write_text("é ada@example.org")
    assert run_verb(["protect", "scan", str(file), "--json"], NO_SOCKET, False) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["type"], finding["start"], finding["line"], finding["column"]) == ("EMAIL", 2, 1, 3)


def test_patterns_is_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["protect", "patterns"], NO_SOCKET, True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 44 and {"name", "category", "examples", "source"} <= set(rows[0])
    assert run_verb(["protect", "patterns"], NO_SOCKET, False) == 0
    assert f"{len(rows)} patterns" in capsys.readouterr().out


def test_redact_prints_the_masked_text(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    file = tmp_path / "note.txt"
    file.write_bytes(b"mail ada@example.org \xff\n")
    assert run_verb(["protect", "redact", str(file)], NO_SOCKET, False) == 0
    assert capfdbinary.readouterr().out == b"mail [EMAIL] \xff\n"
