"""After real calls of every kind, nothing of what was planted is in the state directory, the
runtime directory or the daemon's log, nor in what any upstream received: not as it is, and not in
any of the spellings it was sent in.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from akiosd.values.policy import PROVIDERS, Network, Policy

from tests.e2e.daemon import Daemon
from tests.e2e.hostile import run
from tests.e2e.models import Models
from tests.e2e.upstreams import Authority, Upstream, answer

MAIL, CARD, IBAN, PHONE = (
    "ada.lovelace@kunde-mail.de",
    "4012888888881881",
    "DE89370400440532013000",
    "+14155550132",
)
PLANTED = (MAIL, CARD, IBAN, PHONE)
POLICY = Policy(network=Network(allowed_domains=("site.example",), llm_paths=("openai:/v1/files",)))
MARKER = "a-name-that-is-logged-7f3a"

# What the agent has of the values stands in it backwards: its files are not what is looked at.
AGENT = """
import base64, http.client, json, os, socket, ssl, sys, urllib.parse

values = [text[::-1] for text in sys.argv[1].split()]
mail, card, iban, phone = values
said = f"Write to {mail}, card {card}, account {iban}, call {phone}."
escaped = '"' + "".join(chr(92) + "u%04x" % ord(c) for c in said) + '"'
encoded = base64.b64encode(said.encode()).decode()
quoted = urllib.parse.quote(said)
open("NAME", "w").close()

def ask(host, method, target, body=None, headers={}, kind="application/json"):
    connection = http.client.HTTPSConnection(host, timeout=60)
    key = os.environ["OPENAI_API_KEY"]
    fields = {"authorization": "Bearer " + key, "content-type": kind, **headers}
    connection.request(method, target, body, fields)
    reply = connection.getresponse()
    read = reply.read()
    print(host, method, target.partition("?")[0][:24], reply.status, flush=True)
    return reply.status, read

def chat(content, **more):
    body = {"model": "gpt-4o-mini", "max_tokens": 90, "messages": [{"role": "user", "content": content}], **more}
    return ask("api.openai.com", "POST", "/v1/chat/completions", json.dumps(body))

call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"to": values})}}
tools = [{"type": "function", "function": {"name": "write", "description": said, "parameters": {}}}]
assert said in json.loads(chat(said)[1])["choices"][0]["message"]["content"]
for stream in (False, True):
    for content in (said, encoded, quoted, [{"type": "text", "text": said}], json.dumps({"deep": [values]})):
        chat(content, stream=stream, tools=tools, user=mail, metadata={"who": said})
    chat("x", stream=stream, messages=[{"role": "assistant", "tool_calls": [call]}, {"role": "tool",
         "tool_call_id": "c1", "content": said}, {"role": "user", "content": encoded}])
raw = '{"model":"gpt-4o-mini","messages":[{"role":"user","content":%s}]}' % escaped
ask("api.openai.com", "POST", "/v1/chat/completions", raw, {"user-agent": "sdk (" + mail + ")", "x-title": said})
# What is refused, and what the provider refuses, leave no more behind.
chat(said, model="no-such-model-" + mail)
chat(said, teleport=mail)
chat(said, web_search_options={"user_location": said})
ask("api.openai.com", "POST", "/v1/nowhere/" + urllib.parse.quote(mail) + "?to=" + quoted, said)
ask("api.openai.com", "GET", "/v1/models?after=" + urllib.parse.quote(mail))
ask("api.openai.com", "POST", "/v1/chat/completions", "{" + said)
for target in ("%s:generateContent" % urllib.parse.quote(mail), "gemini-2.5-flash:generateContent?key=" + mail):
    target = "/v1beta/models/" + target
    ask("generativelanguage.googleapis.com", "POST", target, json.dumps({"contents": [{"parts": [{"text": said}]}]}))
ask("api.anthropic.com", "POST", "/v1/messages", json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 9,
    "system": said, "messages": [{"role": "user", "content": said}]}))

part = '--b\\r\\nContent-Disposition: form-data; name="f"; filename="%s.txt"\\r\\n\\r\\n%s\\r\\n'
multipart = "".join(part % (mail, text) for text in (said, encoded, escaped)) + "--b--\\r\\n"
def pieces():
    for at in range(0, len(multipart), 7):
        yield multipart[at : at + 7].encode()
kind = "multipart/form-data; boundary=b"
ask("api.openai.com", "POST", "/v1/files", multipart, kind=kind)
for body in (multipart, pieces()):
    ask("site.example", "POST", "/in/" + urllib.parse.quote(mail) + "?q=" + quoted + "&b=" + encoded, body,
        {"x-who": said, "cookie": "who=" + mail, "referer": "https://x.example/" + quoted}, kind)
ask("site.example", "POST", "/", json.dumps({"to": said, "of": encoded}))
ask("site.example", "POST", "/", urllib.parse.urlencode({"to": said}), kind="application/x-www-form-urlencoded")
for host in ("other.example", card + ".other.example", iban.lower() + ".site.example"):
    try:
        ask(host, "GET", "/" + quoted)
    except OSError as error:
        print(error)
print("done")
"""


def spellings() -> dict[str, bytes]:
    """Each value in every spelling it was sent in."""
    found: dict[str, bytes] = {}
    for value in PLANTED:
        found[value] = value.encode()
        found[f"{value} quoted"] = quote(value, safe="").encode()
        found[f"{value} escaped"] = "".join(f"\\u{ord(char):04x}" for char in value).encode()
        for shift in range(3):
            whole = base64.b64encode(
                b"x" * shift + value.encode() + b"y" * (-(shift + len(value)) % 3)
            )
            # The characters at the ends depend on what stands beside.
            found[f"{value} base64 {shift}"] = whole[4 if shift else 0 : -4]
        found[f"{value} hex"] = value.encode().hex().encode()
    return found


SPELLINGS = spellings()


def traces(data: bytes) -> list[str]:
    lowered = data.lower()
    return [name for name, needle in SPELLINGS.items() if needle.lower() in lowered]


def files(*roots: Path) -> Iterator[Path]:
    for root in roots:
        yield from (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def content(path: Path) -> bytes:
    """A file without its holes: disk images are gigabytes of them (lseek(2), SEEK_DATA)."""
    pieces, at = [], 0
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break  # ENXIO: nothing but a hole is left
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            pieces.append(os.pread(file.fileno(), hole - at, at))
            at = hole
    return b"".join(pieces)


@pytest.fixture(scope="module")
def site() -> Iterator[Upstream]:
    with Upstream(lambda seen: answer(), Authority(), ("site.example",)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as running:
        yield running


@pytest.fixture(scope="module")
def caged(
    models: Models, site: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    assert site.authority is not None
    roots = tmp_path_factory.mktemp("roots") / "ca.pem"
    roots.write_bytes(site.authority.pem)
    upstreams = "".join(f"    {name}: {{upstream: '{models.url}'}}\n" for name in PROVIDERS)
    daemon = Daemon(
        f"gateway:\n  roots: {roots}\n  hosts: {{site.example: '127.0.0.1:{site.port}'}}\n  providers:\n{upstreams}",
        "allow_widening: true\n",
    )
    try:
        daemon.start()
        for name in ("openai", "anthropic", "gemini"):
            assert daemon.ctl("keys", "set", name, input=f"real-key-of-{name}\n").returncode == 0
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def ran(caged: Daemon) -> dict[str, Any]:
    """Everything was said once, in a cage and by ``akiosctl http``; the cage's records."""
    workspace = caged.workspace()
    (workspace / "agent.py").write_text(AGENT.replace("NAME", MARKER))
    backwards = " ".join(value[::-1] for value in PLANTED)
    done = run(
        caged.socket, 0, f"cd /ws && python3 agent.py '{backwards}' 2>&1", workspace, policy=POLICY
    )
    assert done.output.splitlines()[-1:] == ["done"], done
    for url in (
        f"https://site.example/?q={quote(MAIL)}",
        f"https://api.openai.com/v1/models?after={quote(MAIL)}",
    ):
        caged.ctl("http", "GET", url, "-H", f"user-agent: {MAIL} {CARD}", cwd=workspace)
    for words in (["verify"], ["verify", done.cage]):
        assert caged.ctl("ledger", *words).returncode == 0
    return {"records": caged.events(done.cage), "out": done.output}


def test_no_trace_on_the_host(caged: Daemon, ran: dict[str, Any]) -> None:
    looked, marked = 0, []
    for path in files(caged.state, caged.socket.parent):
        data = content(path)
        looked += 1
        assert traces(data) == [], path
        if MARKER.encode() in data:
            marked.append(path)
    assert traces(caged.log.read_bytes()) == []
    # Control: what is looked through is what the records are in, and they can be read so.
    assert looked > 10 and any("audit" in str(path) for path in marked), marked


def test_no_trace_at_any_upstream(models: Models, site: Upstream, ran: dict[str, Any]) -> None:
    assert len(models.received) >= 15, ran["out"]
    for received in models.received:
        assert traces(received.everything()) == [], received
    assert len(site.requests) == 4 and traces(bytes(site.received)) == []


def test_the_records_of_redactions_hold_types_counts_and_places(ran: dict[str, Any]) -> None:
    found = [record for record in ran["records"] if record["kind"] == "redaction"]
    assert {record["towards"] for record in found} >= {
        "openai",
        "anthropic",
        "gemini",
        "site.example",
    }
    kinds = {finding["type"] for record in found for finding in record["findings"]}
    assert {"EMAIL", "CREDIT_CARD", "IBAN"} <= kinds, kinds
    for record in found:
        assert record.keys() <= {"log", "index", "ts", "kind", "towards", "mode", "findings"}
        for finding in record["findings"]:
            assert finding.keys() == {"type", "category", "place", "count"} and finding["count"] > 0
    for record in ran["records"]:
        assert traces(json.dumps(record).encode()) == [], record


def test_control_the_values_are_found_where_they_are(tmp_path: Path) -> None:
    said = f"to {MAIL} x"
    for text in (
        said,
        quote(said, safe=""),
        base64.b64encode(said.encode()).decode(),
        said.upper(),
    ):
        assert any(name.startswith(MAIL) for name in traces(text.encode())), text
    assert traces(os.urandom(1 << 16)) == []
