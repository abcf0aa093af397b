"""Output is followed as long as the token holds, also where nothing comes for long."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest

from akiosctl.api.handlers import output
from akiosctl.api.service import Service
from akiosctl.api.streams import BEAT
from akiosctl.api.tokens import TokenFile, make_token
from akiosctl.kept_output import KeptOutput
from akiosd.wire.output import Frame


class Growing:
    """Output of a cage that runs."""

    running, written, opened = True, 0, True

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def read(self) -> list[Frame]:
        return list(self.frames)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("revoked", [False, True])
async def test_what_comes_after_a_token_was_revoked_is_not_sent(
    revoked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: where it was not, it is."""
    tokens, kept = TokenFile(tmp_path / "tokens.json"), Growing()
    _, token = make_token(("output",), time.time_ns(), 0)
    tokens.add(token)

    async def wait(service: Service, kept: Any, cage: str) -> Any:
        if revoked:
            tokens.remove((token.id,))
        kept.frames.append(Frame(0, time.time_ns(), b"late"))
        yield [BEAT]

    monkeypatch.setattr(output, "_wait", wait)
    service = Service("/nowhere", tokens)
    items = output._follow(service, token, cast(KeptOutput, kept), "c-4f7k2m9q1x8d", 0)
    found = [batch for _ in range(3) for batch in [await anext(items)]]
    await items.aclose()
    assert [one.event for one in found[2]] == (["end"] if revoked else ["output"])
