"""The list of a host's keys: any of them vouches for all, and nobody else's does."""

from __future__ import annotations

import pytest
from akiosd.ledger.epochs import Epoch
from akiosd.ledger.key_list import log_key, open_key_list, sign_key_list
from akiosd.ledger.note import NoteError, Signer, UntrustedNoteError, Vkey
from akiosd.store.keys import LedgerKey
from hypothesis import given, settings
from hypothesis import strategies as st

FIRST = LedgerKey("akios/test", bytes(32))
SECOND = FIRST.next(bytes([1]) * 32)
THIRD = SECOND.next(bytes([2]) * 32)
STRANGER = LedgerKey("akios/test", bytes([9]) * 32)
KEYS = frozenset(key.public_key for key in (FIRST, SECOND, THIRD))


def vkey(key: LedgerKey) -> Vkey:
    return Vkey("akios/test/c-000000000001", key.public_key)


@pytest.mark.parametrize("key", [FIRST, SECOND, THIRD], ids=["first", "second", "third"])
def test_any_of_them_vouches_for_all(key: LedgerKey) -> None:
    assert open_key_list(THIRD.key_list(), vkey(key)) == KEYS
    assert open_key_list(FIRST.key_list(), vkey(FIRST)) == {FIRST.public_key}


def test_a_strangers_key_vouches_for_none() -> None:
    with pytest.raises(UntrustedNoteError, match="none of this host's keys"):
        open_key_list(THIRD.key_list(), vkey(STRANGER))


# Lists that somebody without the private keys of the host could make.
EPOCHS = THIRD.epochs
FOURTH = Epoch(4, STRANGER.public_key, bytes(64))
FORGED: dict[str, bytes] = {
    "signed by a stranger": sign_key_list("akios/test", EPOCHS, STRANGER.seed),
    "a stranger behind": sign_key_list("akios/test", [*EPOCHS, FOURTH], STRANGER.seed),
    "a stranger before": sign_key_list(
        "akios/test", [Epoch(1, STRANGER.public_key), *EPOCHS[1:]], STRANGER.seed
    ),
    "signed by an earlier key": sign_key_list("akios/test", EPOCHS, FIRST.seed),
    "of another host": LedgerKey("akios/else", bytes(32)).key_list(),
    "a checkpoint": Signer("akios/test/keys", THIRD.seed).sign("akios/test/keys\n1\nAAAA\n"),
    "nothing": b"",
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_list_is_refused(case: str) -> None:
    with pytest.raises(NoteError):
        open_key_list(FORGED[case], vkey(THIRD))


def test_a_key_that_a_stranger_certifies_vouches_for_the_stranger_only_if_it_signed_that() -> None:
    """Anybody can certify a key that is trusted, and so put one of theirs before it: its own word
    is what counts.
    """
    mine = LedgerKey("akios/test", STRANGER.seed)
    text = mine.next(FIRST.seed)
    assert text.public_key == FIRST.public_key
    forged = sign_key_list("akios/test", text.epochs, STRANGER.seed)
    with pytest.raises(NoteError):
        open_key_list(forged, vkey(FIRST))


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10**6), bits=st.integers(1, 255))
def test_any_single_byte_change_is_noticed(position: int, bits: int) -> None:
    data = bytearray(THIRD.key_list())
    data[position % len(data)] ^= bits
    with pytest.raises(NoteError):
        open_key_list(bytes(data), vkey(FIRST))


def test_the_key_of_one_log_is_that_of_another_under_its_name() -> None:
    assert log_key(FIRST.vkey("host"), "c-000000000001") == vkey(FIRST)
