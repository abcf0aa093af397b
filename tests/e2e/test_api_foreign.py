"""A client that a foreign generator makes of the served OpenAPI document works."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.api_server import ApiServer
from tests.e2e.daemon import NOBODY, Daemon

USES = """
import json, sys
from made import AuthenticatedClient
from made.api.cages import cages_get_one, cages_list_page, running_begin_run
from made.api.events import events_stream
from made.models import NewCage

url, token, known = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)
assert known in [cage.cage for cage in cages_list_page.sync(client=client).cages]
begun = running_begin_run.sync(client=client, body=NewCage(argv=["sh", "-c", "exit 3"]))
ended = cages_get_one.sync(begun.cage, client=client, wait=20)
assert ended.exit_code == 3, ended
wrong = cages_get_one.sync("c-000000000000", client=client)
assert wrong.status == 404 and wrong.next_, wrong
asked = events_stream._get_kwargs(cage=[begun.cage], replay=True)
kinds = []
with client.get_httpx_client().stream(**asked) as stream:
    for line in stream.iter_lines():
        if line.startswith("data: "):
            kinds.append(json.loads(line.removeprefix("data: "))["kind"])
            if kinds[-1] == "end":
                break
print(kinds[0], kinds[-1])
"""


@pytest.mark.named_set("api")
def test_a_generated_client_runs_lists_and_follows(daemon: Daemon, tmp_path: Path) -> None:
    if importlib.util.find_spec("openapi_python_client") is None:
        pytest.skip("needs openapi-python-client (pip install 'akios[frameworks]')")
    known = str(daemon.report("true", uid=NOBODY)["cage"])
    with ApiServer(daemon) as server:
        document = tmp_path / "openapi.json"
        document.write_bytes(server.ask("/openapi.json").body)
        make = (
            "generate",
            "--path",
            document,
            "--output-path",
            tmp_path / "made",
            "--meta",
            "none",
        )
        tool = (sys.executable, "-m", "openapi_python_client")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "HOME": str(tmp_path), "PATH": path, "PYTHONPATH": str(tmp_path)}
        made = subprocess.run([*tool, *make], env=env, capture_output=True, text=True, timeout=300)
        assert made.returncode == 0, made.stdout + made.stderr
        words = [sys.executable, "-c", USES, server.url, server.token, known]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(" end\n"), done.stdout
