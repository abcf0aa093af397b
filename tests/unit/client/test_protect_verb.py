"""``akiosctl protect`` without a daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from akiosctl.commands import run_verb
from akiosd.errors import AkiosError
from akiosd.redact.model import MAX_CHARACTERS

NO_SOCKET = "/nonexistent/akios.sock"


def test_scan_says_where_and_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "note.txt"
    file.write_text("first line\nmail ada@example.org\ncard 4012888888881881\n")
    assert run_verb(["protect", "scan", str(file)], NO_SOCKET, False) == 1
    out = capsys.readouterr().out
    assert f"{file}:2:6: EMAIL" in out and f"{file}:3:6: CREDIT_CARD" in out and "2 found" in out
    assert "ada@" not in out
    assert (
        run_verb(
            ["protect", "scan", str(file), "--show", "--disable", "financial"], NO_SOCKET, False
        )
        == 1
    )
    out = capsys.readouterr().out
    assert "ada@example.org" in out and "CREDIT_CARD" not in out


def test_scan_of_clean_and_of_broken_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert (finding["type"], finding["start"], finding["line"], finding["column"]) == (
        "EMAIL",
        2,
        1,
        3,
    )


def test_patterns_is_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["protect", "patterns"], NO_SOCKET, True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) >= 44 and {"name", "category", "examples", "source"} <= set(rows[0])
    assert run_verb(["protect", "patterns"], NO_SOCKET, False) == 0
    assert f"{len(rows)} patterns" in capsys.readouterr().out


def test_redact_prints_the_masked_text(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "note.txt"
    file.write_bytes(b"mail ada@example.org \xff\n")
    assert run_verb(["protect", "redact", str(file)], NO_SOCKET, False) == 0
    assert capfdbinary.readouterr().out == b"mail [EMAIL] \xff\n"


def test_a_file_of_any_size_and_places_in_it(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "long.txt"
    lines = ["nothing at all in this line é\n"] * 30_000
    lines[20_000] = "x\tmail ada@example.org\n"
    lines[-1] = "card 4012888888881881\n"
    file.write_text("".join(lines) * 20)
    assert file.stat().st_size > MAX_CHARACTERS
    assert run_verb(["protect", "scan", str(file), "--json", "--show"], NO_SOCKET, False) == 1
    findings = json.loads(capfdbinary.readouterr().out)["findings"]
    assert len(findings) == 40
    assert (findings[0]["line"], findings[0]["column"], findings[0]["text"]) == (
        20_001,
        8,
        "ada@example.org",
    )
    assert (findings[1]["line"], findings[1]["column"], findings[1]["text"]) == (
        30_000,
        6,
        "4012888888881881",
    )
    assert (findings[2]["line"], findings[2]["column"]) == (50_001, 8)
    assert run_verb(["protect", "redact", str(file)], NO_SOCKET, False) == 0
    safe = capfdbinary.readouterr().out.decode()
    assert safe.count("[EMAIL]") == safe.count("[CREDIT_CARD]") == 20 and "ada@" not in safe


def test_what_cannot_be_read_says_why_and_a_bare_group_explains_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AkiosError, match="Is a directory") as raised:
        run_verb(["protect", "scan", str(tmp_path)], NO_SOCKET, False)
    assert "one by one" in raised.value.next
    with pytest.raises(AkiosError, match="No such option"):
        run_verb(["protect", "scan", "--verbose"], NO_SOCKET, False)
    assert run_verb(["protect"], NO_SOCKET, False) == 0
    assert "patterns" in capsys.readouterr().out


def test_a_pipe_goes_on_as_it_comes() -> None:
    """What is decided comes out before the input has ended."""
    command = [
        sys.executable,
        "-c",
        "import sys; from akiosctl.cli import main; sys.exit(main())",
        "protect",
        "redact",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        try:
            process.stdin.write(b"mail ada@example.org, and this is only a line of text after it\n")
            process.stdin.flush()
            assert process.stdout.read(12) == b"mail [EMAIL]"
            process.stdin.close()
            assert process.stdout.read().endswith(b"after it\n")
        finally:
            process.kill()


def test_preview_shows_what_a_model_would_get(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompt.txt"
    # In base64, too: mail bob@example.com
    file.write_text('mail ada@example.org \x07\u202e {"a": "bWFpbCBib2JAZXhhbXBsZS5jb20="}\n')
    words = ["protect", "preview", str(file), "--model", "openai/gpt-4o"]
    assert run_verb(words, NO_SOCKET, False) == 0
    out, said = capsys.readouterr()
    assert "mail [EMAIL]" in out and "ada@" not in out and "bWFpbCBib2" not in out
    assert "\x07" not in out and "\u202e" not in out, "a text does not steer the terminal"
    assert "redacted: 2 (" in said and "price: about $" in said and "nothing was sent" in said
    assert run_verb([*words, "--json"], NO_SOCKET, False) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["redactions"] == [{"type": "EMAIL", "category": "personal", "count": 2}]
    assert report["price"]["input_usd_micro"] > 0 and "ada@" not in report["text"]
    # Price and size are of the text that would be sent: twice as much text, about twice the price.
    file.write_text("word " * 20_000)
    run_verb([*words, "--json"], NO_SOCKET, False)
    assert json.loads(capsys.readouterr().out)["tokens"] == 25_000


@pytest.mark.parametrize("model", ["gpt-4o", "openai/", "nobody/x", "openai/no-such-model"])
def test_preview_of_a_model_nobody_knows(model: str, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("hello")
    with pytest.raises(AkiosError):
        run_verb(["protect", "preview", str(file), "--model", model], NO_SOCKET, False)


WORKFLOW = """
version: 1
name: two
inputs:
  who: {type: text}
  text: {type: text, default: "Mail ada@example.org, {inputs.who}"}
env: [AKIOS_TEST_LANGUAGE]
steps:
  - name: first
    agent: llm
    action: complete
    config: {provider: openai, model: gpt-4o, system: "In ${AKIOS_TEST_LANGUAGE:-English}."}
    parameters: {prompt: "For {inputs.who}: {inputs.text}"}
  - name: second
    agent: llm
    action: complete
    config: {provider: mistral, model: nobody-knows}
    parameters: {prompt: "Shorter: {steps.first.outputs.text}"}
  - name: third
    agent: filesystem
    action: write
    parameters: {path: x, content: "{steps.second.outputs.text}"}
"""


def test_show_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "w.yml"
    file.write_text(WORKFLOW)
    monkeypatch.setenv("AKIOS_TEST_LANGUAGE", "German")
    words = ["protect", "show-prompt", str(file)]
    assert run_verb([*words, "--input", "who=bob@example.com"], NO_SOCKET, True) == 0
    first, second = json.loads(capsys.readouterr().out)["prompts"]
    # What an input holds is data: a reference in it is not filled in.
    assert [one["text"] for one in first["messages"]] == [
        "In German.",
        "For [EMAIL]: Mail [EMAIL], {inputs.who}",
    ]
    assert first["later"] == [] and first["price"]["input_usd_micro"] > 0
    assert first["redactions"] == [{"type": "EMAIL", "category": "personal", "count": 2}]
    assert second["later"] == ["{steps.first.outputs.text}"] and second["price"] is None
    assert run_verb([*words, "--step", "first"], NO_SOCKET, False) == 0
    out, said = capsys.readouterr()
    assert "For {inputs.who}:" in out and "Shorter" not in out
    assert "filled in when it runs: {inputs.who}" in said and "nothing was sent" in said
    for wrong in ("third", "forth"):
        with pytest.raises(AkiosError):
            run_verb([*words, "--step", wrong], NO_SOCKET, False)
