"""What a private daemon leaves behind when it had to be killed, and when it had not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from akiosctl import standalone
from akiosctl.run_options import parse_run
from akiosd.errors import AkiosError


@pytest.mark.parametrize("killed", [True, False])
def test_what_a_killed_daemon_wrote_is_kept(monkeypatch: pytest.MonkeyPatch, killed: bool) -> None:
    """Nothing has verified its log, and the error says where it lies.  Control: where the daemon
    did not start there is nothing to be read, and nothing stays.
    """
    made = []

    @contextmanager
    def daemon(directory: str) -> Iterator[None]:
        made.append(Path(directory))
        (made[0] / "akiosd.log").write_text("its last words")
        yield
        raise (standalone._KilledError if killed else AkiosError)("it ended", directory)

    monkeypatch.setattr(standalone.os, "geteuid", lambda: 0)
    monkeypatch.setattr(standalone, "private_daemon", daemon)
    with pytest.raises(AkiosError, match="it ended") as caught:
        standalone.run_standalone(parse_run(["--", "true"]), False, lambda *_, **__: 0)
    try:
        assert caught.value.where == str(made[0])
        assert (made[0] / "akiosd.log").exists() is killed
    finally:
        shutil.rmtree(made[0], ignore_errors=True)
