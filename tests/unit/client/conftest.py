"""A log of three hundred records with its user's own directory, and a witness that knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.client.test_ledger_verbs import CAGE, KEY, Log
from tests.unit.client.witness_server import Server, Witness


@pytest.fixture
def log(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    log = Log(tmp_path / "state", capsys)
    log.grow(300)
    return log


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(Witness(tmp_path / "witness.json", KEY.vkey(CAGE)))
    yield server
    server.close()
