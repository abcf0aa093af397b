"""Policies: which witnesses must have cosigned (c2sp.org/tlog-policy), read strictly."""

from __future__ import annotations

from itertools import product

import pytest
from akiosd.ledger.note import Checkpoint, NoteError, Signer
from akiosd.ledger.quorum import Quorum, all_of, parse_policy
from akiosd.ledger.witness import WitnessKey, cosignature_line, cosigned_message

LOG = Signer("akios/test/host", bytes(32))
SIGNERS = [Signer(f"w.example/{n}", bytes([n]) * 32) for n in range(1, 6)]
KEYS = [WitnessKey(signer.vkey.name, signer.vkey.public_key) for signer in SIGNERS]
TEXT = Checkpoint("akios/test/host", 7, bytes(32)).text()

POLICY = f"""# two of three of X, and one of Y
log {LOG.vkey} https://log.example/

witness X1 {KEYS[0]}
witness X2 {KEYS[1]} https://x2.example/
\twitness  X3\t{KEYS[2]}
group X-witnesses 2 X1 X2 X3
witness Y1 {KEYS[3]}
witness Y2 {KEYS[4]}
group Y-witnesses any Y1 Y2
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def cosigned(*who: int) -> bytes:
    """The checkpoint, cosigned by these."""
    note = LOG.sign(TEXT)
    for n in who:
        signature = SIGNERS[n].sign_bytes(cosigned_message(TEXT, 1000 + n))
        note += cosignature_line(KEYS[n], 1000 + n, signature).encode()
    return note


def test_the_quorum_is_met_by_enough_of_each_group() -> None:
    policy = parse_policy(POLICY.encode())
    assert policy.logs == (LOG.vkey,)
    for given in product([False, True], repeat=5):
        who = [n for n in range(5) if given[n]]
        enough = sum(given[:3]) >= 2 and any(given[3:])
        assert policy.is_met(cosigned(*who)) is enough, who
        assert policy.cosigners(cosigned(*who)) == {KEYS[n].name: 1000 + n for n in who}


@pytest.mark.parametrize("count", ["1", "2", "any", "all"])
def test_how_many_of_two(count: str) -> None:
    lines = f"witness a {KEYS[0]}\nwitness b {KEYS[1]}\ngroup g {count} a b\nquorum g\n"
    wanted = {"any": 1, "all": 2}.get(count) or int(count)
    for who in ([], [0], [1], [0, 1]):
        assert parse_policy(lines.encode()).is_met(cosigned(*who)) is (len(who) >= wanted)


def test_all_of_the_keys_given() -> None:
    assert not all_of([]).asks and all_of([]).is_met(cosigned())
    assert all_of(KEYS[:2]).is_met(cosigned(0, 1)) and not all_of(KEYS[:2]).is_met(cosigned(0, 2))
    assert not parse_policy(b"quorum none\n").asks


def test_two_witnesses_of_one_name_are_two() -> None:
    """What counts is the key: a cosignature of one is not the other's too."""
    twin = WitnessKey(KEYS[0].name, KEYS[1].public_key)
    assert not all_of([KEYS[0], twin]).is_met(cosigned(0))


def test_a_cosignature_of_another_text_counts_for_nothing() -> None:
    other = Checkpoint("akios/test/host", 8, bytes(32)).text()
    signature = SIGNERS[0].sign_bytes(cosigned_message(other, 1000))
    forged = LOG.sign(TEXT) + cosignature_line(KEYS[0], 1000, signature).encode()
    assert not all_of(KEYS[:1]).is_met(forged)


BAD = {
    "no quorum": f"witness a {KEYS[0]}\n",
    "two quorums": "quorum none\nquorum none\n",
    "a quorum of nobody": "quorum a\n",
    "a quorum before its witness": f"quorum a\nwitness a {KEYS[0]}\n",
    "a group before its members": f"group g any a\nwitness a {KEYS[0]}\nquorum g\n",
    "more than there are": f"witness a {KEYS[0]}\ngroup g 2 a\nquorum g\n",
    "none of them": f"witness a {KEYS[0]}\ngroup g 0 a\nquorum g\n",
    "a number with a zero before it": f"witness a {KEYS[0]}\ngroup g 01 a\nquorum g\n",
    "a group of nobody": "group g any\nquorum none\n",
    "a member twice": f"witness a {KEYS[0]}\ngroup g any a a\nquorum g\n",
    "a member of two groups": f"witness a {KEYS[0]}\ngroup g any a\ngroup h any a\nquorum g\n",
    "a name twice": f"witness a {KEYS[0]}\nwitness a {KEYS[1]}\nquorum a\n",
    "a key twice": f"witness a {KEYS[0]}\nwitness b {KEYS[0]}\nquorum a\n",
    "the name none": f"witness none {KEYS[0]}\nquorum none\n",
    "a log's key for a witness": f"witness a {LOG.vkey}\nquorum a\n",
    "a witness's key for a log": f"log {KEYS[0]}\nquorum none\n",
    "another word": "witnesses a\nquorum none\n",
    "a control character": "quorum none\r\n",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_policy_is_refused(case: str) -> None:
    with pytest.raises(NoteError):
        parse_policy(BAD[case].encode())


def test_what_is_asked_is_said_in_words() -> None:
    assert all_of(KEYS[:2]).describe() == "2 of w.example/1, w.example/2"
    assert Quorum("none").describe() == "no witness"
    assert "X-and-Y" in parse_policy(POLICY.encode()).describe()
