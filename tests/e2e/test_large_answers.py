"""Many large answers at once: a cage's gateway reads, books and passes them all, within the memory
it may have.

Printed (``-s``): the peak of the gateway's memory, and whether it lived.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from akiosd.daemon.gateways.gateways import LIMITS
from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models
from tests.e2e.test_budget import CONFIG, of_kind
from tests.e2e.test_gateway_process import gateways

PRICES = "    embed: {input: 1, output: 0, context: 100000}\n"
TOKENS = 8_000
JSON = {"content-type": "application/json"}

# So many calls at once, each with the digest of its whole answer; then it waits for a line.
AGENT = """
import hashlib, http.client, json, os, sys, threading

path, count, body = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
barrier, found = threading.Barrier(count), []

def one(number):
    connection = http.client.HTTPSConnection("api.openai.com", timeout=240)
    connection.connect()
    barrier.wait()
    text = json.dumps({**body, "user": str(number)})
    headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}
    try:
        connection.request("POST", path, text, headers)
        answer, digest, size = connection.getresponse(), hashlib.sha256(), 0
        while piece := answer.read(1 << 16):
            digest.update(piece)
            size += len(piece)
        found.append([answer.status, size, digest.hexdigest()])
    except (OSError, http.client.HTTPException) as error:
        found.append([0, 0, type(error).__name__])

threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(found), flush=True)
sys.stdin.readline()
"""


def embeddings() -> bytes:
    """1,000 texts of 1,536 numbers each, as they are sent: 30 MB."""
    base = [
        int.from_bytes(hashlib.sha256(b"%d" % n).digest()[:6], "big") / 2**48 - 0.5
        for n in range(1536)
    ]
    rows = []
    for index in range(1_000):
        turned = base[index:] + base[:index]
        rows.append({"object": "embedding", "index": index, "embedding": turned})
    usage = {"prompt_tokens": TOKENS, "total_tokens": TOKENS}
    return json.dumps({"object": "list", "data": rows, "model": "embed", "usage": usage}).encode()


def chat() -> bytes:
    """7.5 MB of text, a character of it beyond the first plane."""
    text = "All is well, she said, and went on. " * 208_000 + "\U0001f600"
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": TOKENS, "completion_tokens": 0, "total_tokens": TOKENS}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps({"choices": choices, "usage": usage}, ensure_ascii=False).encode()


CASES: dict[str, tuple[int, str, dict[str, Any], Any]] = {
    "16 x 1,000 embeddings": (16, "/v1/embeddings", {"input": ["a text"] * 1_000}, embeddings),
    "20 x 7.5 MB of text": (
        *(20, "/v1/chat/completions", {"messages": [{"role": "user", "content": "go on"}]}),
        chat,
    ),
}


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def priced(models: Models) -> Iterator[Daemon]:
    private = Daemon(CONFIG.format(url=models.url) + PRICES)
    try:
        private.start()
        done = private.ctl("keys", "set", "openai", input="sk-stand-in\n")
        assert done.returncode == 0, done.stderr
        yield private
    finally:
        private.close()


def peak_of(daemon: Daemon) -> int:
    """Bytes: the most that the gateway's group held, as the kernel counts it against its limit."""
    names = ("memory.peak", "memory.max_usage_in_bytes")
    groups = [Path(path) for path in resources.cgroups(daemon) if path.endswith("-gateway")]
    files = [group / name for group in groups for name in names if (group / name).exists()]
    return max((int(file.read_text()) for file in files), default=0)


def resident(daemon: Daemon) -> int:
    """Bytes: the most that a living gateway had in memory (VmHWM, proc_pid_status(5))."""
    found = [0]
    for pid in gateways(daemon).values():
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
        found += [int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")]
    return max(found)


@pytest.mark.parametrize("name", CASES)
def test_all_are_passed_and_booked(priced: Daemon, models: Models, name: str) -> None:
    count, path, body, make = CASES[name]
    reply = make()
    models.fail = (200, JSON, reply)
    workspace = priced.workspace()
    (workspace / "agent.py").write_text(AGENT)
    words = ["python3", "agent.py", path, str(count), json.dumps({**body, "model": "embed"})]
    client = priced.popen(
        *("run", "--json", "--discard", "--budget", "5", "--workspace", workspace, "--", *words),
        cwd=workspace,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with client:
        assert client.stdout is not None
        found = json.loads(client.stdout.readline() or "[]")
        peak, most = peak_of(priced), resident(priced)
        _, errors = client.communicate(b"\n", timeout=60)
    text = errors.decode() if isinstance(errors, bytes) else errors
    report = json.loads(text.strip().splitlines()[-1])
    died = of_kind(priced, report["cage"], "gateway_failed")
    fine = sum(one == [200, len(reply), hashlib.sha256(reply).hexdigest()] for one in found)
    print(
        f"\n{name:24} {fine} of {count} whole   gateway died {len(died)} times   "
        f"group's peak {peak >> 20} of {LIMITS.memory >> 20} MiB   process's {most >> 20} MiB"
    )
    assert not died, died
    assert fine == count, found
    assert report["usage"]["usd_micro"] == count * TOKENS and report["usage"]["calls"] == count
    assert 0 < most < LIMITS.memory


_HOLD = """
import sys
from akiosd.gateway.redaction.strict_json import parse
data = sys.stdin.buffer.read()
held = [parse(data) for _ in range(int(sys.argv[1]))]
print(len(held))
"""


@pytest.mark.parametrize("name", CASES)
def test_control_they_do_not_fit_at_once(name: str) -> None:
    """The same answers read whole and side by side, with the gateway's memory for a limit."""
    count, _, _, make = CASES[name]
    limit = LIMITS.memory

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-c", _HOLD]
    done = [
        subprocess.run([*command, str(n)], input=make(), capture_output=True, preexec_fn=bound)
        for n in (count, 0)
    ]
    assert done[0].returncode != 0 and b"MemoryError" in done[0].stderr
    assert done[1].returncode == 0, done[1].stderr
