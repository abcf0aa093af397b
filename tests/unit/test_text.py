"""What a person cannot see in a text is shown, by every printer: as rules over values, and at the
last fence.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosctl.changes.render import quote_path, visible
from akiosctl.choose_cage import place
from akiosctl.fence import Fence, harmless
from akiosctl.render import escape, quote_command, table
from akiosctl.terminal_filter import Tamer
from akiosd.policy.show_values import printable
from akiosd.values import records
from akiosd.values.text import MAX_MARKS, as_bytes, as_code, is_plain, show
from akiosd.wire.messages import CageInfo

CLIENT = Path(__file__).resolve().parents[2] / "akiosctl"

# A way to hide something in a line → an example.  The control is in SEEN.
HIDDEN = {
    "escape sequence": "\x1b[2J", "concealed": "\x1b[8m", "eight bits": "\x9b2J", "carriage return": "real\rfake",
    "backspace": "a\x08b", "delete": "\x7f", "override": "\u202e", "isolate": "\u2066", "mark": "\u200f",
    "Arabic mark": "\u061c", "zero width space": "\u200b", "joiner": "\u200d", "non-joiner": "\u200c",
    "word joiner": "\u2060", "byte order mark": "\ufeff", "soft hyphen": "\xad", "invisible times": "\u2062",
    "tag": "\U000e0041", "language tag": "\U000e0001", "variation": "\ufe0f", "more variation": "\U000e0100",
    "Hangul filler": "\u3164", "half filler": "\uffa0", "choseong filler": "\u115f", "Khmer vowel": "\u17b4",
    "Mongolian variation": "\u180b", "grapheme joiner": "\u034f", "Braille blank": "\u2800", "line": "\u2028",
    "no-break space": "\xa0", "ideographic space": "\u3000", "private": "\ue000", "unassigned": "\u0378",
    "interlinear": "\ufffa", "shorthand": "\U0001bca0", "music": "\U0001d173", "byte": "\udcff", "surrogate": "\ud800",
    "pile": "a" + "\u0301" * (MAX_MARKS + 1),
}  # fmt: skip
SEEN = (
    *("plain", "grün", "日本語", "Ελληνικά", "עברית", "مرحبا", "ไทยน้ำ", "e\u0301"),
    *("a\u0301\u0323b", "👍", "→", "—", ""),
)

PRINTERS: dict[str, Callable[[str], str]] = {
    "escape": escape,
    "records.escape": records.escape,
    "quote_command": lambda text: quote_command([text.encode("utf-8", "surrogatepass")]),
    "table": lambda text: "".join(table(["A"], [[text]])).removeprefix("A"),
    "quote_path": lambda text: quote_path(text.encode("utf-8", "surrogatepass")),
    "visible": visible,
    "explain": printable,
    "place": lambda text: place(
        CageInfo("c-", 0, "", "", (), text.encode("utf-8", "surrogatepass"), 0)
    ),
    "fence": harmless,
    "logs": lambda text: logged(text).decode(),
}


def logged(text: str) -> bytes:
    tamer = Tamer()
    return (tamer.feed(text.encode("utf-8", "surrogatepass")) + tamer.finish()).removesuffix(
        b"\x1b[0m"
    )


@pytest.mark.parametrize("printer", PRINTERS)
@pytest.mark.parametrize("how", HIDDEN)
def test_what_nobody_sees_is_shown(how: str, printer: str) -> None:
    text = f"left{HIDDEN[how]}right"
    shown = PRINTERS[printer](text)
    assert is_plain(shown) or (printer == "logs" and shown == "leftreal\nfakeright")
    if printer != "logs" or how not in ("carriage return", "concealed"):
        assert "\\" in shown and shown != text


@pytest.mark.parametrize("printer", PRINTERS)
@pytest.mark.parametrize("text", SEEN)
def test_what_people_write_stays_as_it_is(text: str, printer: str) -> None:
    if text or printer not in ("quote_command",):
        assert PRINTERS[printer](text) == text


@given(st.text(max_size=40))
def test_nothing_is_lost_and_nothing_stays_hidden(text: str) -> None:
    for form in (as_bytes, as_code):
        shown = show(text, form)
        assert is_plain(shown)
        assert [c for c in text if is_plain(c) and not unicodedata.category(c).startswith("M")] == [
            c for c in show(text, lambda _: "") if not unicodedata.category(c).startswith("M")
        ]
    assert is_plain(text) == (show(text, lambda _: "") == text)


def test_every_character_without_a_width_or_a_shape_of_its_own_is_hidden() -> None:
    """By Python's own tables of Unicode: no format, control, surrogate, private or unassigned one
    passes.
    """
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            assert not is_plain(character), hex(number)


class TestLogs:
    def test_text_that_could_not_be_read_is_readable(self) -> None:
        """Concealed, black on black, white on white, in its own ground's colour: the text comes,
        its dress does not.
        """
        for dress in (
            "8",
            "30",
            "37",
            "97",
            "38;5;0",
            "38;5;16",
            "38;5;231",
            "38;5;232",
            "38;2;0;0;0",
            "40",
            "47",
            "107",
            "38;2;255;255;255",
            "48;5;1",
            "48;2;1;2;3",
            "38;5",
            "38;2;1",
            "38",
            "58;5;1",
            "58;2;8;8;8",
            "4:3",
            "38:2::0:0:0",
            "8;8",
            "40;100",
            "999",
        ):
            assert logged(f"a\x1b[{dress}mb") == b"ab", dress
        assert logged("\x1b[1;8;31;40mb") == b"\x1b[1;31mb"
        assert logged("\x1b[48;2;31;31;31;32mb") == b"\x1b[32mb", (
            "what belongs to a ground is not taken for a colour"
        )

    def test_what_was_overwritten_is_read_too(self) -> None:
        assert logged("rm -rf /\rls      \r\n") == b"rm -rf /\nls      \r\n"


def test_the_fence_is_a_text_stream() -> None:
    under = io.TextIOWrapper(io.BytesIO(), "utf-8")
    fence = Fence(under)
    print("a\x1b[2J\u202e\tb\n\x1b[31mred\x1b[0m", file=fence, flush=True)  # type: ignore[call-overload]
    fence.writelines(["x\r", "\udcff\n"])
    fence.flush()
    with pytest.raises(TypeError):
        fence.write(b"bytes")  # type: ignore[arg-type]
    written = under.buffer.getvalue()  # type: ignore[attr-defined]
    assert written == b"a\\x1b[2J\\xe2\\x80\\xae\tb\n\x1b[31mred\x1b[0m\nx\\x0d\\xff\n"
    assert fence.buffer is under.buffer and not fence.isatty()


def test_the_client_prints_through_the_fence() -> None:
    forgot = "import akiosctl.cli as c, sys\nsay = lambda _: print('\\x1b[2J', '\\u202e', file=sys.stderr)\n"
    forgot += "c.run_command = lambda words: say(words) or print('\\x1b[2J') or 0\nc.main()"
    done = subprocess.run([sys.executable, "-c", forgot], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        b"\\x1b[2J\n",
        b"\\x1b[2J \\xe2\\x80\\xae\n",
    )


# Where bytes go to standard output past the fence, and why they may.
BYTES = {
    "verbs/diff.py": "lines of changes/render.py, which shows what is hidden; names may be of no encoding",
    "verbs/http.py": "an answer's body, for a pipe; on a terminal it goes line by line through escape",
    "verbs/logs.py": "what a program wrote, for a pipe; on a terminal through terminal_filter.py",
    "progress.py": "numbers and words of its own, and what moves the cursor to the line's beginning",
    "verbs/protect.py": "the caller's own text, redacted",
}


def test_no_printer_goes_round_the_fence() -> None:
    found = set()
    for path in CLIENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr == "buffer"
                and "stdin" not in ast.dump(node.value)
            ):
                found.add(str(path.relative_to(CLIENT)))
            if isinstance(node, ast.Attribute) and node.attr in ("__stdout__", "__stderr__"):
                found.add(f"{path}: {node.attr}")
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "write"
            ):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and first.value in (1, 2):
                    found.add(f"{path}: os.write")
    assert found == set(BYTES)
