"""What somebody is told when something cannot be done: listed whole, and each with a next step."""

from __future__ import annotations

import re

import pytest

from akiosd.errors import AkiosError, KernelError
from tests.unit.describe_errors import PAGE, Told, describe, errors

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
ALL = list(errors())


def ids(told: Told) -> str:
    return f"{told.module}:{told.what[:40]}"


def test_the_list_is_that_of_the_source() -> None:
    assert PAGE.read_text() == describe(), "renew it: python -m tests.unit.describe_errors"


def test_the_list_is_whole() -> None:
    """Control: the finder finds those that are known to be there, and more than a few."""
    known = {(told.module, told.what) for told in ALL}
    assert len(ALL) > 400
    assert ("akiosctl/client.py", "you may not connect to akiosd") in known
    assert ("akiosd/daemon/requests/keys.py", "no key of {provider} was set") in known


def test_every_error_says_what_to_do_next() -> None:
    silent = [ids(told) for told in ALL if not told.next and not PASSED_ON.fullmatch(told.what)]
    assert silent == []


def test_no_error_speaks_in_words_of_the_source() -> None:
    wrong = [
        (ids(told), found[0])
        for told in ALL
        if told.module not in SPOKEN
        for text in (told.what, told.where, told.next)
        if (found := INTERNAL.search(re.sub(r"\{.*?\}", "", text)))
    ]
    assert wrong == []


def test_no_sentence_is_longer_than_one_breath() -> None:
    long = [(ids(told), len(text)) for told in ALL for text in told[2:] if len(text) > 170]
    assert long == []


@pytest.mark.parametrize(("given", "wanted"), [("", KernelError.NEXT), ("try this", "try this")])
def test_a_place_that_knows_better_is_heard(given: str, wanted: str) -> None:
    assert KernelError("it failed", "there", given).next == wanted
    assert AkiosError("it failed").next == ""
