"""Ordinary programs reach an allowed site, unmodified, without a proxy variable, over real TLS:
curl, git, pip, Node.

The site is this machine's, on loopback; the control of each program is one that asks a site the
policy does not name.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from akiosctl.policy_files import parse
from akiosd.values.policy import Network
from tests.e2e.caged import Caged, caged
from tests.e2e.daemon import Daemon
from tests.e2e.test_gateway_process import gateways
from tests.e2e.upstreams import Authority

SITE, CLOSED, READ_ONLY, RATED = "site.example", "closed.example", "docs.example", "rated.example"
NETWORK = Network(
    allowed_domains=(SITE, READ_ONLY),
    passthrough=(CLOSED,),
    get_only=(READ_ONLY,),
    requests_per_minute=0,
)
SECRET = "ada.lovelace@example.org"
BIG = 48 << 20


def wheel() -> bytes:
    """A package as pip takes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("harmless.py", "answer = 42\n")
        archive.writestr(
            "harmless-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n",
        )
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("harmless-1.0.dist-info/WHEEL", tags)
        archive.writestr("harmless-1.0.dist-info/RECORD", "")
    return file.getvalue()


WHEEL = wheel()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers), b""))
        if self.path.startswith("/repo.git/"):
            self._git(b"")
        elif self.path == "/simple/harmless/":
            page = f"<a href='/harmless-1.0-py3-none-any.whl#sha256={hashlib.sha256(WHEEL).hexdigest()}'>w</a>"
            self._say(page.encode(), "text/html")
        elif self.path.endswith(".whl"):
            self._say(WHEEL, "application/octet-stream")
        elif self.path == "/big":
            self._say(b"\0" * BIG, "application/octet-stream")
        elif self.headers.get("Upgrade", "").lower() == "websocket":
            self.wfile.write(
                b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi"
            )
            self.close_connection = True
        else:
            self._say(f"hello from {self.path}".encode(), "text/plain")

    do_HEAD = do_DELETE = do_GET

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            collected = bytearray()
            while size := int(self.rfile.readline(), 16):
                collected += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            body = bytes(collected)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        if self.path.startswith("/repo.git/"):
            self._git(body)
        else:
            self._say(hashlib.sha256(body).hexdigest().encode(), "text/plain")

    do_PUT = do_POST

    def _say(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _git(self, body: bytes) -> None:
        """By git-http-backend(1), a CGI program."""
        path, _, query = self.path.partition("?")
        env = {
            "GIT_PROJECT_ROOT": str(self.server.directory),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "PATH": os.environ["PATH"],
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200")[:3]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.directory = directory
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        """As the base's, which passes over an error of accept(2) in silence."""
        try:
            return super().get_request()  # type: ignore[return-value]
        except OSError as error:
            print(f"the site cannot accept: {error!r}", file=sys.stderr)
            raise


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = Path(tmp_path_factory.mktemp("site"))
    subprocess.run(["git", "init", "-q", "--bare", directory / "repo.git"], check=True)
    work = directory / "work"
    subprocess.run(["git", "init", "-q", "-b", "main", work], check=True)
    (work / "README").write_text("a repository\n" * 5000)
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", work, "add", "."], check=True)
    subprocess.run(["git", "-C", work, *identity, "commit", "-qm", "first"], check=True)
    subprocess.run(["git", "-C", work, "push", "-q", directory / "repo.git", "main"], check=True)
    subprocess.run(
        ["git", "-C", directory / "repo.git", "symbolic-ref", "HEAD", "refs/heads/main"], check=True
    )
    subprocess.run(
        ["git", "-C", directory / "repo.git", "config", "http.receivepack", "true"], check=True
    )
    server = Server(authority.server_context(SITE, CLOSED, READ_ONLY, RATED), directory)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def site(server: Server, authority: Authority) -> Iterator[Daemon]:
    roots = server.directory / "roots.pem"
    roots.write_bytes(authority.pem)
    hosts = ", ".join(
        f"{name}: '127.0.0.1:{server.server_port}'" for name in (SITE, CLOSED, READ_ONLY, RATED)
    )
    daemon = Daemon(f"gateway:\n  roots: {roots}\n  hosts: {{{hosts}}}\n", "allow_widening: true\n")
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture
def agent(site: Daemon, server: Server) -> Iterator[Caged]:
    server.seen.clear()
    with caged(site, NETWORK) as one:
        assert one.do("sorted(n for n in os.environ if 'proxy' in n.lower())") == []
        yield one


def need(program: str) -> None:
    if not os.path.exists(program):
        pytest.skip(f"{program} is not installed")


def test_curl(agent: Caged, server: Server) -> None:
    need("/usr/bin/curl")
    assert agent.do(f"run('curl', '-sS', 'https://{SITE}/a')") == [0, "hello from /a", ""]
    code, _, words = agent.do("run('curl', '-sS', 'https://other.example/')")
    assert code == 6 and "Could not resolve" in words, "the control"
    assert agent.do(f"run('curl', '-sS', '-I', 'https://{SITE}/a')")[1].startswith("HTTP/1.1 200")
    # By HTTP/2 it would ask if it were offered.
    by_2 = f"run('curl', '-sS', '--http2', '-w', '%{{http_version}}', 'https://{SITE}/b')"
    assert agent.do(by_2)[1] == "hello from /b1.1"
    data = f"mail {SECRET}"
    agent.do(f"run('curl', '-sS', '-d', {data!r}, 'https://{SITE}/form')")
    assert SECRET.encode() not in server.seen[-1][3] and b"%5BEMAIL%5D" in server.seen[-1][3]


def test_what_is_passed_through_is_trusted_by_the_administrators_roots(agent: Caged) -> None:
    """The certificate is the site's own, whose authority only ``gateway.roots`` names; the control:
    trusting another root alone.
    """
    need("/usr/bin/curl")
    # The first question waits for a gateway, on a busy machine longer than a resolver does.
    call = f"'--retry', '5', '--retry-all-errors', 'https://{CLOSED}/a'"
    assert agent.do(f"run('curl', '-sS', {call})")[:2] == [0, "hello from /a"]
    other = "$(ls /usr/share/ca-certificates/mozilla/*.crt | head -n 1)"
    script = f"curl -sS --cacert {other} https://{CLOSED}/a"
    assert agent.do(f"run('sh', '-c', {script!r})")[0] == 60
    own = (
        "openssl crl2pkcs7 -nocrl -certfile /etc/akios/ca.pem | openssl pkcs7 -print_certs | wc -l"
    )
    assert int(agent.do(f"run('sh', '-c', {own!r})")[1]) > 3


def test_git(agent: Caged, server: Server) -> None:
    need("/usr/bin/git")
    code, _, words = agent.do(f"run('git', 'clone', '-q', 'https://{SITE}/repo.git', '/tmp/repo')")
    assert code == 0, words
    assert agent.do("run('git', '-C', '/tmp/repo', 'log', '--format=%s')") == [0, "first\n", ""]
    commit = "git -c user.name=B -c user.email=b@example.org commit -qm second"
    push = f"cd /tmp/repo && echo x > new && git add new && {commit} && git push -q"
    code, _, words = agent.do(f"run('sh', '-c', {push!r})")
    assert code == 0, words
    found = subprocess.run(
        ["git", "-C", server.directory / "repo.git", "log", "--format=%s"], capture_output=True
    )
    assert found.stdout == b"second\nfirst\n"
    code, _, words = agent.do(
        "run('git', 'clone', '-q', 'https://other.example/repo.git', '/tmp/other')"
    )
    assert code == 128 and "Could not resolve host" in words, "the control"


def test_pip(agent: Caged) -> None:
    pip = (
        "run('python3', '-m', 'pip', 'download', '-q', '--no-cache-dir', '--disable-pip-version-check', "
        "'-d', '/tmp/w', '-i', {0!r}, 'harmless')"
    )
    if agent.do("run('python3', '-m', 'pip', '--version')")[0]:
        pytest.skip("the system's Python has no pip")
    code, out, words = agent.do(pip.format(f"https://{SITE}/simple"))
    assert code == 0, out + words
    assert agent.do("os.listdir('/tmp/w')") == ["harmless-1.0-py3-none-any.whl"]
    code, _, words = agent.do(
        pip.format("https://other.example/simple").replace("'-q'", "'-q', '--retries', '0'")
    )
    assert code == 1 and "No matching distribution" in words, "the control"


def test_node(site: Daemon, server: Server) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    script = (
        "const say = (url) => fetch(url, {method: 'POST', body: 'mail " + SECRET + "'})"
        ".then(async r => console.log(r.status, await r.text()), e => console.log(e.cause.code));"
        f"say('https://{SITE}/node').then(() => say('https://other.example/'))"
    )
    server.seen.clear()
    with caged(site, NETWORK) as agent:
        # As akiosctl run sets it: this Node brings certificates of its own.
        words = f"run('env', 'NODE_EXTRA_CA_CERTS=/etc/akios/ca.pem', 'node', '-e', {script!r})"
        code, out, err = agent.do(words)
    assert code == 0 and out.splitlines()[1] == "ENOTFOUND", out + err
    assert out.startswith("200 ")
    assert server.seen[-1][3] == b"mail [EMAIL]"


def test_only_reading_where_the_policy_says_so(agent: Caged, server: Server) -> None:
    answer = agent.do(f"get('https://{READ_ONLY}/')")
    assert answer[0] == 200, answer
    for method in ("POST", "PUT", "DELETE", "PATCH", "PROPFIND"):
        status, body = agent.do(f"get('https://{READ_ONLY}/', 'x', method={method!r})")
        assert (status, json.loads(body)["rule"]) == (403, "network.get_only")
    status, body = agent.do(
        f"get('https://{READ_ONLY}/', headers={{'X-HTTP-Method-Override': 'DELETE'}})"
    )
    assert status == 403
    assert json.loads(body)["hint"].startswith(f"take {READ_ONLY} out of network.get_only in ")
    assert [seen[0] for seen in server.seen] == ["GET"]
    control = agent.do(f"get('https://{SITE}/', 'x', method='PUT')")
    assert control[0] == 200, control


def test_a_rate_for_each_site(site: Daemon, server: Server) -> None:
    network = Network(allowed_domains=(SITE, RATED), requests_per_minute=5)
    server.seen.clear()
    with caged(site, network) as agent:
        found = [agent.do(f"get('https://{RATED}/')") for _ in range(8)]
        assert [status for status, _ in found].count(200) == 5
        assert agent.do(f"get('https://{SITE}/')")[0] == 200, "another site has its own"
        error = json.loads(found[-1][1])
        assert (
            found[-1][0] == 429
            and error["rule"] == "network.requests_per_minute"
            and "raise" in error["hint"]
        )
    assert len(server.seen) == 6


def test_websockets_only_where_tls_is_passed_through(
    agent: Caged, authority: Authority, server: Server
) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n"
    request = f"GET /ws HTTP/1.1\r\nHost: {{}}\r\n{upgrade}"
    text, _, _ = agent.do(f"talk({SITE!r}, {closing(request.format(SITE))!r}, port=443, tls=True)")
    assert text.startswith("HTTP/1.1 403") and f"network: {{passthrough: [{SITE}]}}" in text, text
    assert [seen[1] for seen in server.seen] == ["/last"]
    text, _, _ = agent.do(
        f"talk({CLOSED!r}, {request.format(CLOSED)!r}, port=443, tls=True, ca={authority.pem.decode()!r})"
    )
    assert text.startswith("HTTP/1.1 101") and text.endswith("\x81\x02hi")
    model = "api.openai.com"
    text, _, _ = agent.do(
        f"talk({model!r}, {closing(request.format(model))!r}, port=443, tls=True)"
    )
    assert text.startswith("HTTP/1.1 426 ") and "upgrade: http/1.1" in text.lower()
    agent.end()
    modes = {(record["host"], record["mode"]) for record in agent.records("net_request")}
    assert modes == {(CLOSED, "passthrough"), (SITE, "inspect")}


def closing(request: str) -> str:
    """With another behind it, after which the connection ends."""
    host = request.partition("Host: ")[2].partition("\r\n")[0]
    return request + f"GET /last HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


def test_a_client_that_waits_to_be_asked_for_its_body(agent: Caged, server: Server) -> None:
    need("/usr/bin/curl")
    body = "All is well here.\n" * 100_000
    agent.do("open('/tmp/body', 'w').write('All is well here.\\n' * 100_000)")
    expect = "run('curl', '-sSv', '-H', 'Expect: 100-continue', '-T', '/tmp/body', 'https://{}/up')"
    code, out, words = agent.do(expect.format(SITE))
    assert code == 0 and out == hashlib.sha256(body.encode()).hexdigest()
    assert "HTTP/1.1 100 Continue" in words
    code, out, words = agent.do(expect.format(READ_ONLY))
    assert "network.get_only" in out and "100 Continue" not in words, (
        "who is refused is not asked for it"
    )


def test_large_bodies_stream(agent: Caged, server: Server) -> None:
    """Both ways, with the gateway's memory bounded: nothing is collected."""
    send = (
        "(lambda c: (c.request('POST', '/up', iter([b'\\0' * 65536] * {0})), c.getresponse().read().decode())[1])"
        "(http.client.HTTPSConnection({1!r}))"
    )
    count = BIG // 65536
    assert agent.do(send.format(count, SITE)) == hashlib.sha256(b"\0" * BIG).hexdigest()
    assert agent.do(f"len(urllib.request.urlopen('https://{SITE}/big').read())") == BIG
    agent.end()
    sent, received = agent.records("net_request")
    assert (sent["bytes_out"], sent["unread"], received["bytes_in"]) == (BIG, BIG, BIG)


def test_who_does_not_read_is_not_read_for(agent: Caged, server: Server) -> None:
    """Flow control from end to end: an answer nobody takes stays with who gives it."""
    assert agent.do(f"get('https://{SITE}/a')")[0] == 200
    pid = gateways(agent.daemon)[agent.cage]
    before = anonymous(pid)
    open_ = f"(answers.append(urllib.request.urlopen('https://{SITE}/big', timeout=60)), 0)[1]"
    assert agent.do(open_) == 0
    assert agent.do(f"get('https://{SITE}/a')")[0] == 200, "others go on beside it"
    held = anonymous(pid) - before
    print(f"the gateway holds {held >> 20} MiB of {BIG >> 20} that nobody reads")
    assert held < BIG // 4
    assert agent.do("len(answers.pop().read())") == BIG


def anonymous(pid: int) -> int:
    """Bytes of memory that are a process's own."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) << 10


def test_a_hint_is_the_line_that_helps(site: Daemon) -> None:
    """What the refusal and the event say, written into the policy as it stands, allows what was
    refused.
    """
    with caged(site, Network()) as agent:
        assert agent.do(f"look({SITE!r})") == -2
        agent.end()
        [record, *_] = agent.records("net_denied")
    assert record["host"] == SITE and record["rule"] == "network.allowed_domains"
    line = record["hint"].partition(" in ")[0]
    partial = parse(f"version: 1\n{line}\n".encode(), "hint")
    with caged(
        site, Network(allowed_domains=tuple(partial.values["network.allowed_domains"]))
    ) as agent:
        assert agent.do(f"get('https://{SITE}/')")[0] == 200
