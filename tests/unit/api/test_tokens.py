"""Tokens: recognised when right, never else; nothing in their file opens anything."""

from __future__ import annotations

import hmac
import stat
from pathlib import Path

import pytest

from akiosctl.api import tokens
from akiosctl.api.rates import Rates
from akiosctl.api.tokens import TokenFile, make_token, recognise
from akiosd.errors import AkiosError

TEXT, TOKEN = make_token(("read",), 1, 1000)
OTHER, OTHER_TOKEN = make_token(("read",), 1, 1000)
BOTH = {TOKEN.id: TOKEN, OTHER_TOKEN.id: OTHER_TOKEN}
SECRET = TEXT.rpartition(f"{TOKEN.id}_")[2]

WRONG = {
    "nothing": "",
    "another secret": TEXT[:-1] + ("A" if TEXT[-1] != "A" else "B"),
    "the secret of another": f"akt_{TOKEN.id}_{OTHER.rpartition(OTHER_TOKEN.id + '_')[2]}",
    "an id that nobody has": f"akt_00000000_{SECRET}",
    "the secret alone": SECRET,
    "its hash": f"akt_{TOKEN.id}_{TOKEN.digest[:43]}",
    "more behind it": TEXT + "A",
    "a line end": TEXT + "\n",
}


def test_a_token_is_recognised_until_its_time_is_over() -> None:
    assert recognise(TEXT, BOTH, 999) is TOKEN
    assert recognise(TEXT, BOTH, 1000) is None


@pytest.mark.parametrize("how", WRONG)
def test_what_is_no_token_is_not_recognised(how: str) -> None:
    assert recognise(WRONG[how], BOTH, 5) is None


def test_every_secret_is_compared_in_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of an id which nobody has: or an id could be found by the clock."""
    seen: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def compare(a: str, b: str) -> bool:
        seen.append((len(a), len(b)))
        return original(a, b)

    monkeypatch.setattr(tokens.hmac, "compare_digest", compare)
    for text in (TEXT, WRONG["another secret"], WRONG["an id that nobody has"]):
        recognise(text, BOTH, 5)
    assert seen == [(64, 64)] * 3


def test_the_file_holds_no_secret_and_is_its_users_alone(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "deep" / "tokens.json")
    file.add(TOKEN)
    assert SECRET not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert TokenFile(file.path).read() == {TOKEN.id: TOKEN}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_reach_is_refused(mode: int, tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    file.add(TOKEN)
    assert file.read()
    file.path.chmod(mode)
    with pytest.raises(AkiosError, match="users other than you"):
        TokenFile(file.path).read()


@pytest.mark.parametrize("text", ["{}", "[", '[{"id": 1}]'])
def test_a_damaged_file_opens_to_nobody(text: str, tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    file.add(TOKEN)
    file.path.write_text(text)
    with pytest.raises(AkiosError, match="damaged"):
        file.read()


def test_a_revoked_token_is_gone_for_who_read_the_file_before(tmp_path: Path) -> None:
    server, person = (TokenFile(tmp_path / "tokens.json") for _ in range(2))
    person.add(TOKEN)
    assert recognise(TEXT, server.read(), 5) is not None
    assert person.remove((TOKEN.id, "00000000")) == [TOKEN.id]
    assert recognise(TEXT, server.read(), 5) is None


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    rates = Rates(per_second=2, burst=3)
    assert [rates.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.take("b", 10.0) == 0  # another name has its own
    assert rates.take("a", 10.5) == 0 and rates.take("a", 10.5) == 0.5


def test_buckets_are_bounded_in_number() -> None:
    rates = Rates(per_second=1, burst=1, most=10)
    for number in range(1000):
        rates.take(str(number), 0.0)
    assert len(rates._buckets) == 10
