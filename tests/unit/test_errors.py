"""What somebody is told when something cannot be done: listed whole, and each with a next step."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from akiosd.errors import AkiosError, KernelError
from tests.unit.describe_errors import PAGE, ROOT, Told, alphabetic, describe, errors, read
from tests.unit.error_areas import AREAS, FAULTS, area_of

PASSED_ON = re.compile(r"\{\w+\}")
"""An error in the words of another, which is listed where it is made."""
# Words of the source and of its units, which say nothing to who reads them.
INTERNAL = re.compile(
    r"usd_micro|\b\w+_ns\b|\berrno\b|\bfds?\b|\bstruct\b|None\b|\bzygote\b|\bSO_\w+|\bmsgspec\b"
)
# Where such a word is of the reader's own world.
SPOKEN = {
    "akiosd/gateway/process/zygote.py": "for who works on the gateway: no verb leads there",
    "akiosd/gateway/process/confine.py": "for who works on the gateway: no verb leads there",
}


@cache
def all_errors() -> list[Told]:
    """Not when this is imported: every process of a run does that, and one of them needs them."""
    return list(errors())


def ids(told: Told) -> str:
    return f"{told.module}:{told.what[:40]}"


def test_the_list_is_that_of_the_source() -> None:
    assert PAGE.read_text() == describe(all_errors()), (
        "renew it: python -m tests.unit.describe_errors"
    )


def test_the_list_is_whole() -> None:
    """Control: the finder finds those that are known to be there, and more than a few."""
    known = {(told.module, told.what) for told in all_errors()}
    assert len(all_errors()) > 400
    assert ("akiosctl/client.py", "you may not connect to akiosd") in known
    assert ("akiosd/daemon/requests/keys.py", "no key of {provider} was set") in known


def test_every_place_of_an_area_is_there_and_makes_an_error() -> None:
    modules = {told.module for told in all_errors()}
    for area, places in AREAS.items():
        assert list(places) == sorted(set(places)), area
        for place in places:
            assert (ROOT / place).exists(), place
            makes = {module for module in modules if module == place or place.endswith("/")}
            assert any(module.startswith(place) for module in makes), f"{place} makes no error"
    with pytest.raises(AssertionError, match="has no place"):
        area_of("akiosd/nowhere.py")


def test_an_error_in_hand_is_found_by_its_area_and_the_alphabet() -> None:
    """Each part is in order; what only a fault brings about is not in the way of the others."""
    parts = PAGE.read_text().split("\n## ")[1:]
    assert [part.partition("\n")[0] for part in parts] == list(AREAS)
    for part in parts:
        title, _, text = part.partition("\n")
        found = [alphabetic(line) for line in re.findall(r"^- \*\*(.*)\*\*$", text, re.MULTILINE)]
        found = [words for words in found if words]
        assert found and found == sorted(found), title
    assert "- **akiosd is not running**" in parts[1] and "use the akiosctl that was" in parts[-1]
    assert not any("use the akiosctl that was installed" in part for part in parts[:-1])
    assert parts[-1].startswith(FAULTS)


def test_a_brace_says_a_word_of_the_reader() -> None:
    """No name of the source is left in a brace: none with a line under or above, none in capitals
    but those that a person is to fill in.
    """
    braces = set(re.findall(r"\{([^{}:.]*)\}", PAGE.read_text()))
    assert [word for word in braces if re.search(r"_|^[A-Z]{2,}|^st\b|errno|^.$", word)] == ["NAME"]


def test_two_values_have_two_names() -> None:
    """But for counts, and for what is compared with another of its kind."""
    whats = re.findall(r"^- \*\*(.*)\*\*$", PAGE.read_text(), re.MULTILINE)
    twice = {
        what
        for what in whats
        for brace in re.findall(r"\{([^{}]*)\}", what)
        if what.count("{" + brace + "}") > 1 and brace not in ("number", "size", "root", "used")
    }
    assert twice == set()


SEVERAL = """
def one_name(a, b):
    if a:
        what = "it is full"
        raise AkiosError(what, "disk", "make room")
    if b:
        what = f"it has mode {mode:o}"
        raise AkiosError(what, "file", "chmod")

def after_a_raise(a):
    what = "it is busy"
    if a:
        what = "it is gone"
        raise AkiosError(what, "", "look for it")
    raise AkiosError(what, "", "wait")

def together(a):
    if a:
        what, hint = "no key", "set one"
    else:
        what = "no disk"
        hint = "mount one"
    raise AkiosError(what, "", hint)

def in_the_middle(a):
    raise AkiosError("it was " + ("moved" if a else "removed"), "", "move" if a else "make it")

def handler():
    try:
        what = "first"
        use()
        what = "second"
        use()
    except OSError:
        raise AkiosError(what, "", "retry")

def _words(why):
    return f"cannot be made: {why}"

def by_a_function():
    raise AkiosError(_words("no room"), "", "make some")

def _refuse(what, where):
    raise AkiosError(what, where, "mend it")

def passed_on():
    _refuse("is empty", "b")
    _refuse("is wrong", "c")

class Door:
    def _closed(self, what, why="it is late"):
        raise AkiosError(f"{what}: {why}", "door", "come again")

    def by_a_method(self):
        self._closed("no entry")
        self._closed("no exit", "a lock")

    def _why(self, a):
        if not a:
            return ""
        return "it is locked" if a > 1 else "it is shut"

    def by_a_name(self):
        why = self._why(2)
        if why:
            raise AkiosError(why, "door", "open it")

TABLE = {1: "is gone", 2: "is new"}

def by_a_table(path, number):
    words = TABLE.get(number, f"is {number}")
    raise AkiosError(f"{path} {words}", "", "look")

def joined(all_):
    what = "; ".join(map(_words, all_))
    raise AkiosError(what, "", "make more")

class OfAKind(AkiosError):
    NEXT = "what helps"

def of_another_class():
    raise AkiosError("is stale", "", OfAKind.NEXT)
"""


def test_each_error_has_the_texts_that_reach_it() -> None:
    """Of one name with several texts each error has its own, and two names keep their pairs."""
    assert [
        told[2:] for told in read({"m.py": ast.parse(f"class AkiosError: ...\n{SEVERAL}")})
    ] == [
        ("it is full", "disk", "make room"),
        ("it has mode {mode}", "file", "chmod"),
        ("it is gone", "", "look for it"),
        ("it is busy", "", "wait"),
        ("no key", "", "set one"),
        ("no disk", "", "mount one"),
        ("it was moved", "", "move"),
        ("it was removed", "", "make it"),
        ("first", "", "retry"),
        ("second", "", "retry"),
        ("cannot be made: no room", "", "make some"),
        ("is empty", "b", "mend it"),
        ("is wrong", "c", "mend it"),
        ("no entry: it is late", "door", "come again"),
        ("no exit: a lock", "door", "come again"),
        ("it is locked", "door", "open it"),
        ("it is shut", "door", "open it"),
        ("{path} is gone", "", "look"),
        ("{path} is new", "", "look"),
        ("{path} is {number}", "", "look"),
        ("cannot be made: {why}", "", "make more"),
        ("is stale", "", "what helps"),
    ]


def test_every_error_says_what_to_do_next() -> None:
    silent = [
        ids(told) for told in all_errors() if not told.next and not PASSED_ON.fullmatch(told.what)
    ]
    assert silent == []


def test_no_error_speaks_in_words_of_the_source() -> None:
    wrong = [
        (ids(told), found[0])
        for told in all_errors()
        if told.module not in SPOKEN
        for text in (told.what, told.where, told.next)
        if (found := INTERNAL.search(re.sub(r"\{.*?\}", "", text)))
    ]
    assert wrong == []


def test_no_sentence_is_longer_than_one_breath() -> None:
    long = [(ids(told), len(text)) for told in all_errors() for text in told[2:] if len(text) > 170]
    assert long == []


@pytest.mark.parametrize(("given", "wanted"), [("", KernelError.NEXT), ("try this", "try this")])
def test_a_place_that_knows_better_is_heard(given: str, wanted: str) -> None:
    assert KernelError("it failed", "there", given).next == wanted
    assert AkiosError("it failed").next == ""
