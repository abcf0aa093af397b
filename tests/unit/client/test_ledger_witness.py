"""``akiosctl ledger witness`` against a witness on loopback: growth, restarts, forks, rollbacks,
strange answers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from akiosctl.pins import load_pin
from akiosd.errors import AkiosError
from akiosd.ledger.note import NoteError, Vkey
from akiosd.ledger.witness import WitnessKey, add_cosignatures, encode_request, witnesses_of
from tests.unit.client.test_ledger_verbs import CAGE, KEY, ORIGIN, Log
from tests.unit.client.witness_server import Server, Witness, parse_request


def ask(log: Log, server: Server) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        log.here("witness", server.url, "--witness-key", server.witness.key, "--json")[1]
    )
    return found


def test_growth_is_cosigned_and_kept_as_an_anchor(log: Log, server: Server) -> None:
    for size, more in ((300, 0), (300, 0), (557, 257), (900, 343)):
        if more:
            log.grow(more)
        found = ask(log, server)
        assert (found["size"], found["cosigned"]) == (size, {"witness.example/w": 1_800_000_000})
        assert server.witness.latest()[0] == size
        kept = load_pin(ORIGIN)
        assert kept is not None and witnesses_of(kept, [server.witness.key]) == found["cosigned"]
        anchors = json.loads(log.here("verify", "--json")[1])["anchored_to"]
        assert anchors == "pin, witness witness.example/w"


def test_the_witness_remembers_over_a_restart_and_sees_a_rollback(
    log: Log, server: Server, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(log.path, old)
    log.grow(10)
    ask(log, server)
    again = Server(Witness(tmp_path / "witness.json", KEY.vkey(CAGE)))
    try:
        shutil.rmtree(tmp_path / "user")  # the user's own anchor is gone, the witness's is not
        with pytest.raises(AkiosError, match="rolled back"):
            log(
                "witness",
                again.url,
                "--witness-key",
                again.witness.key,
                "--dir",
                old,
                "--vkey",
                KEY.vkey(CAGE),
            )
    finally:
        again.close()


def test_a_fork_is_not_cosigned(log: Log, server: Server, tmp_path: Path) -> None:
    ask(log, server)
    shutil.rmtree(tmp_path / "user")
    for count in (300, 400):
        fork = Log(tmp_path / f"fork{count}", log._capsys, b"other")
        fork.grow(count)
        with pytest.raises(AkiosError, match=r"another history|is not what it was"):
            fork.here("witness", server.url, "--witness-key", server.witness.key)
    assert load_pin(ORIGIN) is None


def test_an_unknown_log_and_a_wrong_witness_key(log: Log, server: Server, tmp_path: Path) -> None:
    wrong = WitnessKey("witness.example/w", bytes(32))
    with pytest.raises(NoteError, match="no signature by the key"):
        log.here("witness", server.url, "--witness-key", wrong)
    strange = Server(Witness(tmp_path / "w2.json", Vkey("akios/other", bytes(32))))
    try:
        with pytest.raises(AkiosError, match="does not know this log"):
            log.here("witness", strange.url, "--witness-key", strange.witness.key)
    finally:
        strange.close()
    with pytest.raises(AkiosError, match="not the URL"):
        log.here("witness", "file:///etc/passwd", "--witness-key", server.witness.key)
    with pytest.raises(NoteError):
        log.here(
            "witness", server.url, "--witness-key", KEY.vkey(CAGE)
        )  # a log's key is not a witness's


def test_every_changed_byte_of_a_cosignature_is_noticed(log: Log, server: Server) -> None:
    checkpoint = (log.path / "checkpoint").read_bytes()
    status, _, line = server.witness.answer(encode_request(0, [], checkpoint))
    assert status == 200 and len(line) > 100
    for position in range(len(line) - 1):
        bad = bytearray(line)
        bad[position] ^= 1
        with pytest.raises(NoteError):
            add_cosignatures(checkpoint, bytes(bad), [server.witness.key])
    cosigned, given = add_cosignatures(checkpoint, line, [server.witness.key])
    assert cosigned == checkpoint + line and given == {"witness.example/w": 1_800_000_000}
    assert add_cosignatures(cosigned, line, [server.witness.key])[0] == cosigned
    assert WitnessKey.parse(str(server.witness.key)) == server.witness.key


def test_whoever_has_a_wrong_witness_key_is_sent_to_the_witness(log: Log, server: Server) -> None:
    key = str(server.witness.key)
    name, number, encoded = key.split("+", 2)
    wrong = (
        "no key",
        Path(f"{log.path}.vkey").read_text().strip(),
        f"{name}+{'0' * len(number)}+{encoded}",
        f"{name}+{number}+{encoded}!",
    )
    for text in wrong:
        with pytest.raises(NoteError) as caught:
            WitnessKey.parse(text)
        assert "witness's operator" in caught.value.next


def test_requests_come_back() -> None:
    proof = [bytes([n]) * 32 for n in range(63)]
    assert parse_request(encode_request(5, proof, b"note\n\nx\n")) == (5, proof, b"note\n\nx\n")
    with pytest.raises(NoteError):
        parse_request(encode_request(5, [*proof, bytes(32)], b"x"))
