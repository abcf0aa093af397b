"""What is said where akiosd does not run: how to start one there."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from akiosctl.api.problems import describe_problem
from akiosctl.client import DEFAULT_SOCKET, Client, explain_connect
from akiosctl.host_check import how_to_start, read_facts
from akiosctl.start_advice import daemon_program
from akiosd.daemon.base import start_line
from akiosd.errors import AkiosError
from akiosd.values.places import START_LINE
from tests.unit.api.asgi import ask, bearer, make_guard, new_token
from tests.unit.api.test_guard import sign_in

DETACH = """
import os, sys
from pathlib import Path
from akiosd.daemon.base.background import detach
os.write(detach(Path(sys.argv[1])), b"x")
"""


def refused(path: Path | str) -> AkiosError:
    with pytest.raises(AkiosError) as told:
        Client(str(path)).close()
    return told.value


def test_a_private_akiosd_is_started_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    place = tmp_path / "run/control.sock"
    command = f"--detach --state-dir {tmp_path} --runtime-dir {tmp_path}/run"
    assert command in refused(place).next, "no file yet"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    assert command in refused(place).next, "a socket that nobody listens at"
    other = refused(tmp_path / "elsewhere/control.sock").next
    assert f"--state-dir DIR --runtime-dir {tmp_path}/elsewhere" in other
    assert ("sudo " in other) == (os.geteuid() != 0) and "systemctl" not in other
    for wrong in ("/etc/passwd", "/etc", tmp_path / "x.sock"):
        words = refused(wrong).next
        assert "--socket or AKIOS_SOCKET" in words and "--detach" not in words
    service = explain_connect(DEFAULT_SOCKET, OSError(errno.ENOENT, "not there"))
    assert service.next == how_to_start(read_facts()), "the control: what doctor says"
    assert describe_problem(refused(place)).next == refused(place).next


def test_it_is_started_again_with_what_it_had(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    given = {"log_level": "debug", "policy_mode": None}
    words = start_line.words_of(tmp_path / "own settings.yaml", given, "/srv/state", str(run))
    old = os.umask(0o077)
    try:
        start_line.leave(run, words)
        start_line.leave(run, words)  # the next one is started so
    finally:
        os.umask(old)
    left = run / START_LINE
    assert os.listdir(run) == [START_LINE] and left.stat().st_mode & 0o777 == 0o644
    told = refused(run / "control.sock").next
    command = f"--detach --config '{tmp_path}/own settings.yaml' --state-dir /srv/state"
    assert f"{command} --runtime-dir {run} --log-level debug" in told
    # What another could have written is not a command for root.
    left.chmod(0o666)
    assert "--config" not in refused(run / "control.sock").next
    left.chmod(0o644)
    for damaged in ("", "{}", "[1]", '["\\u001b[31m"]', "[" * 50_000):
        left.write_text(damaged)
        assert f"--detach --state-dir {tmp_path} " in refused(run / "control.sock").next
    left.unlink()
    left.symlink_to("/etc/hostname")
    assert "--config" not in refused(run / "control.sock").next
    left.unlink()
    os.mkfifo(left)
    assert "--config" not in refused(run / "control.sock").next


def test_sudo_finds_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "akiosd").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert daemon_program() == f"{tmp_path}/akiosd"
    monkeypatch.setenv("PATH", "/nowhere")
    assert daemon_program() in ("akiosd", os.path.join(os.path.dirname(sys.executable), "akiosd"))


async def test_the_rest_api_says_the_same(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token, _ = new_token(tokens)
    health = (await ask(app, "/api/v1/health", headers=bearer(token))).json()
    cages = (await ask(app, "/api/v1/cages", headers=bearer(token))).json()
    assert health["akiosd"] == "away" and health["next"] == cages["next"]
    assert "systemctl" not in health["next"], health


async def test_the_rest_api_tells_nobody_without_a_token_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, tokens, service = make_guard(tmp_path)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(service, "socket", str(tmp_path / "run/control.sock"))
    text, token = new_token(tokens)
    cookie = await sign_in(app, text)
    page = ("sec-fetch-site", "same-origin")
    known = [
        (await ask(app, "/api/v1/health", headers=h)).json() for h in (bearer(text), (cookie, page))
    ]
    assert all(f"--runtime-dir {tmp_path}/run" in one["next"] for one in known), "the control"
    foreign = (cookie, ("sec-fetch-site", "cross-site"))
    for headers in ((), bearer("akt_wrong"), foreign):
        answer = await ask(app, "/api/v1/health", headers=headers)
        told = answer.json()
        assert answer.status == 200 and told["akiosd"] == "away", told
        assert told["next"] == "ask with a token, which is told what helps"
    tokens.remove((token.id,))
    gone = (await ask(app, "/api/v1/health", headers=bearer(text))).json()
    assert "/" not in gone["next"], gone


@pytest.mark.parametrize("by_sudo", [True, False])
def test_how_to_stop_a_private_akiosd(tmp_path: Path, by_sudo: bool) -> None:
    env = {name: value for name, value in os.environ.items() if name != "SUDO_UID"}
    env |= {"SUDO_UID": "1000"} if by_sudo else {}
    words = [sys.executable, "-c", DETACH, str(tmp_path / "log")]
    told = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    assert ("; sudo kill " in told) == by_sudo and " stops it" in told, told
