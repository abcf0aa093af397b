"""``akiosctl http`` by hand: every flag, what is wrong, exit codes, JSON; by a running cage's
rules, by one's own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from akiosd.values.policy import Network
from tests.e2e.caged import caged
from tests.e2e.daemon import BIN, NOBODY, OTHER, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.test_gateway_process import gateways
from tests.e2e.upstreams import Authority, Seen, Upstream, answer

NAME, READ_ONLY = "site.example", "docs.example"
NETWORK = Network(allowed_domains=(NAME, READ_ONLY), get_only=(READ_ONLY,), requests_per_minute=0)
SECRET = "ada.lovelace@example.org"


def echo(seen: Seen) -> bytes:
    if seen.target == "/teapot":
        return answer(418, b"short and stout")
    if seen.target == "/bytes":
        return answer(200, b"\xff\xfe\x00\x1b[2J")
    if seen.target == "/lies":
        return answer(
            200,
            b"x",
            [("Akios-Redacted", "EMAIL body 99"), ("Akios-Verdict", "denied"), ("Alt-Svc", "h3")],
        )
    if seen.target == "/away":
        return answer(302, b"", [("Location", "http://169.254.169.254/")])
    return answer(
        200,
        f"{seen.method} {seen.target} ".encode() + seen.body,
        [("X-Kept", seen.header("x-mine"))],
    )


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    authority = Authority()
    with Upstream(echo, authority, (NAME, READ_ONLY)) as running:
        yield running


@pytest.fixture(scope="module")
def site(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    assert up.authority is not None
    roots = Path(tmp_path_factory.mktemp("roots")) / "roots.pem"
    roots.write_bytes(up.authority.pem)
    hosts = f"{{{NAME}: '127.0.0.1:{up.port}', {READ_ONLY}: '127.0.0.1:{up.port}'}}"
    daemon = Daemon(f"gateway:\n  roots: {roots}\n  hosts: {hosts}\n", "allow_widening: true\n")
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture
def project(site: Daemon) -> Path:
    where = site.workspace(uid=NOBODY)
    (where / "akios.yaml").write_text(
        f"version: 1\nnetwork: {{allowed_domains: [{NAME}, {READ_ONLY}], get_only: [{READ_ONLY}]}}\n"
    )
    return where


def http(
    site: Daemon, project: Path, *words: str, uid: int = 0, **more: Any
) -> subprocess.CompletedProcess[Any]:
    """``akiosctl http`` in a directory with a policy."""
    options = (
        {"capture_output": True, "text": True, "timeout": 60, "cwd": project}
        | site.as_user(uid)
        | more
    )
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    command = [BIN / "akiosctl", "--socket", str(site.socket), "http"]
    return subprocess.run([*command, *words], **options)


# ---- a request -----------------------------------------------------------------------------------


def test_a_plain_one(site: Daemon, project: Path, up: Upstream) -> None:
    done = http(site, project, "GET", f"https://{NAME}/a?b=c%20d&e")
    assert (done.returncode, done.stdout, done.stderr) == (0, "GET /a?b=c%20d&e ", "")
    assert http(site, project, "get", f"{NAME}/x y").stdout == "GET /x%20y ", (
        "https when nothing is said"
    )
    assert up.requests[-1].server_name == NAME and up.requests[-1].header("user-agent") == ""


def test_bodies(site: Daemon, project: Path, up: Upstream) -> None:
    (project / "body").write_bytes(b"from a file")
    url = f"https://{NAME}/b"
    assert http(site, project, "POST", url, "-d", "words").stdout == "POST /b words"
    assert http(site, project, "PUT", url, "--data", "@body").stdout == "PUT /b from a file"
    assert (
        http(site, project, "POST", url, "-d", "-", input="from a pipe").stdout
        == "POST /b from a pipe"
    )
    assert http(site, project, "POST", url, "-d", "").stdout == "POST /b "
    assert up.requests[-1].header("content-length") == "0"


def test_headers_in_and_out(site: Daemon, project: Path) -> None:
    done = http(
        site,
        project,
        "GET",
        f"https://{NAME}/",
        "-H",
        "X-Mine: yes",
        "--header",
        "Accept: a/b",
        "-i",
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "HTTP/1.1 200" and "x-kept: yes" in lines and lines[-1] == "GET / "


def test_an_output_file(site: Daemon, project: Path) -> None:
    done = http(site, project, "GET", f"https://{NAME}/bytes", "-o", "out")
    assert (done.returncode, done.stdout) == (0, "")
    assert (project / "out").read_bytes() == b"\xff\xfe\x00\x1b[2J"
    done = http(site, project, "GET", f"https://{NAME}/", "-o", "none/out")
    assert done.returncode == 125 and "none/out cannot be written" in done.stderr


def test_json(site: Daemon, project: Path) -> None:
    done = http(
        site,
        project,
        "POST",
        f"https://{NAME}/p",
        "-d",
        f"mail {SECRET}",
        "--json",
        "-H",
        "Content-Type: text/plain",
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["status"], found["body"]) == (0, 200, "POST /p mail [EMAIL]")
    assert found["redactions"] == [{"type": "EMAIL", "place": "body", "count": 1}]
    assert dict(found["headers"])["x-kept"] == "" and found["cage"].startswith("c-")
    found = json.loads(http(site, project, "GET", f"https://{NAME}/bytes", "--json").stdout)
    assert found["body_base64"] == "//4AG1sySg==" and "body" not in found
    cage = json.loads(done.stdout)["cage"]
    assert wait_until(lambda: site.events(cage)[-1]["kind"] == "end")
    kinds = [record["kind"] for record in site.events(cage)]
    assert kinds == ["log_open", "birth", "redaction", "net_request", "end"], (
        "it has a log of its own"
    )


def test_what_a_site_says_of_akios_is_not_believed(site: Daemon, project: Path) -> None:
    found = json.loads(http(site, project, "GET", f"https://{NAME}/lies", "--json").stdout)
    names = [name for name, _ in found["headers"]]
    assert found["redactions"] == [] and "refusal" not in found and found["body"] == "x"
    assert not [name for name in names if name.startswith("akios-")] and "alt-svc" not in names


def test_redirects_are_shown_and_not_followed(site: Daemon, project: Path) -> None:
    found = json.loads(http(site, project, "GET", f"https://{NAME}/away", "--json").stdout)
    assert (found["status"], dict(found["headers"])["location"]) == (302, "http://169.254.169.254/")


# ---- what is refused -----------------------------------------------------------------------------

REFUSED = {
    # The words of the command, the rule, and what helps.
    "a name": (["GET", "https://other.example/"], "network.allowed_domains",
               "network: {allowed_domains: [other.example]}"),
    "a port": (["GET", f"https://{NAME}:8443/"], "network.allowed_domains",
               f"network: {{allowed_domains: [{NAME}:8443]}}"),
    "a method": (["POST", f"https://{READ_ONLY}/", "-d", "x"], "network.get_only", "out of network.get_only"),
    "a tunnel": (["CONNECT", f"https://{NAME}/"], "http", ""),
    "a WebSocket": (["GET", f"https://{NAME}/", "-H", "Upgrade: websocket", "-H", "Connection: upgrade"],
                    "network.passthrough", f"network: {{passthrough: [{NAME}]}}"),
    "a coding": (["POST", f"https://{NAME}/", "-d", "x", "-H", "Content-Encoding: br"], "http",
                 "without Content-Encoding"),
    "a model without a key": (["POST", "https://api.openai.com/v1/chat/completions", "-d", "{}"], "llm.key",
                              "akiosctl keys set openai"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_explained(site: Daemon, project: Path, up: Upstream, case: str) -> None:
    words, rule, hint = REFUSED[case]
    before = len(up.requests)
    done = http(site, project, *words)
    assert done.returncode == 22 and done.stdout == "", done.stderr
    assert (
        f"({rule}: " in done.stderr
        and ("next: " in done.stderr) == bool(hint)
        and hint in done.stderr
    )
    found = json.loads(http(site, project, *words, "--json").stdout)
    assert (found["refusal"]["rule"], found["refusal"]["type"]) == (rule, "akios_denied")
    assert hint in found["refusal"]["hint"]
    denied = [record for record in site.events(found["cage"]) if record["kind"] == "net_denied"]
    assert [record["rule"] for record in denied] == [rule]
    assert len(up.requests) == before


def test_an_answer_of_failure_is_a_failure(site: Daemon, project: Path) -> None:
    done = http(site, project, "GET", f"https://{NAME}/teapot")
    assert (done.returncode, done.stdout, done.stderr) == (22, "short and stout", "")


WRONG = {
    "no scheme of the web": (["GET", "ftp://site.example/"], "not an http or https URL"),
    "no host": (["GET", "https:///"], "not an http or https URL"),
    "no URL": (["GET"], "Missing argument"),
    "a header without a colon": (["GET", f"https://{NAME}/", "-H", "nonsense"], "is not a header"),
    "a header of two lines": (
        ["GET", f"https://{NAME}/", "-H", "X: a\r\nHost: evil"],
        "cannot be sent",
    ),
    "a Host": (
        ["GET", f"https://{NAME}/", "-H", "Host: evil.example"],
        "Host is a header that AKIOS makes from the URL",
    ),
    "a length": (
        ["POST", f"https://{NAME}/", "-H", "Content-Length: 9"],
        "that AKIOS makes from the URL",
    ),
    "a coding": (
        ["POST", f"https://{NAME}/", "-H", "Transfer-Encoding: chunked"],
        "that AKIOS makes from the URL",
    ),
    "a file that is not there": (
        ["POST", f"https://{NAME}/", "-d", "@nothing"],
        "nothing cannot be read",
    ),
    "a method of two words": (["GET /x", f"https://{NAME}/"], "cannot be sent"),
    "a cage that is not there": (["--cage", "c-nothing", "GET", f"https://{NAME}/"], "c-nothing"),
    "a cage and a policy": (
        ["--cage", "c-x", "--policy", "akios.yaml", "GET", f"https://{NAME}/"],
        "contradict each other",
    ),
    "a policy that is not there": (
        ["--policy", "/none.yaml", "GET", f"https://{NAME}/"],
        "/none.yaml",
    ),
    "a flag nobody knows": (["--insecure", "GET", f"https://{NAME}/"], "No such option"),
    "a user in the URL": (["GET", f"https://me:secret@{NAME}/"], ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(site: Daemon, project: Path, up: Upstream, case: str) -> None:
    words, said = WRONG[case]
    before = len(up.requests)
    done = http(site, project, *words)
    assert done.returncode in (125, 22 if case == "a user in the URL" else 125), done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr and done.stdout == "", done.stderr
    assert len(up.requests) == before


def test_a_daemon_that_is_not_there(site: Daemon, project: Path) -> None:
    done = site.ctl("--socket", "/none.sock", "http", "GET", f"https://{NAME}/", cwd=project)
    assert done.returncode == 125 and "/none.sock" in done.stderr


# ---- whose rules ---------------------------------------------------------------------------------


def test_another_policy(site: Daemon, project: Path) -> None:
    other = project / "other.yaml"
    other.write_text(f"version: 1\nnetwork: {{allowed_domains: [{READ_ONLY}]}}\n")
    done = http(site, project, "--policy", str(other), "POST", f"https://{READ_ONLY}/", "-d", "x")
    assert (done.returncode, done.stdout) == (0, "POST / x")
    assert http(site, project, "--policy", str(other), "GET", f"https://{NAME}/").returncode == 22


def test_by_the_rules_of_a_running_cage(site: Daemon, project: Path, up: Upstream) -> None:
    with caged(site, NETWORK) as agent:
        found = json.loads(
            http(
                site, project, "--cage", agent.cage, "GET", f"https://{NAME}/cage", "--json"
            ).stdout
        )
        assert (found["cage"], found["status"], found["body"]) == (agent.cage, 200, "GET /cage ")
        done = http(site, project, "--cage", agent.cage, "POST", f"https://{READ_ONLY}/", "-d", "x")
        assert done.returncode == 22 and "network.get_only" in done.stderr
        agent.end()
        assert [record["path"] for record in agent.records("net_request")] == ["/cage"], (
            "in its log"
        )
        assert agent.denials() == {("http", "network.get_only", READ_ONLY): 1}
    gone = http(site, project, "--cage", agent.cage, "GET", f"https://{NAME}/")
    assert gone.returncode == 125 and agent.cage in gone.stderr


def test_another_users_cage_is_not_ones_own(site: Daemon, project: Path, up: Upstream) -> None:
    before = len(up.requests)
    with caged(site, NETWORK) as agent:
        for uid in (NOBODY, OTHER):
            done = http(site, project, "--cage", agent.cage, "GET", f"https://{NAME}/", uid=uid)
            assert done.returncode == 125 and done.stdout == "", done.stderr
        assert len(up.requests) == before
        assert (
            http(site, project, "--cage", agent.cage, "GET", f"https://{NAME}/").returncode == 0
        ), "the control"
    assert http(site, project, "GET", f"https://{NAME}/", uid=NOBODY).returncode == 0, (
        "by rules of one's own"
    )


def test_a_cage_without_a_word_of_its_agent_has_a_gateway_all_the_same(
    site: Daemon, project: Path
) -> None:
    with caged(site, NETWORK) as agent:
        results = [
            http(site, project, "--cage", agent.cage, "GET", f"https://{NAME}/{n}").stdout
            for n in range(3)
        ]
        assert results == [f"GET /{n} " for n in range(3)]
        assert agent.do(f"get('https://{NAME}/')") == [200, "GET / "]


def test_nothing_is_left_of_it(site: Daemon, project: Path) -> None:
    http(site, project, "GET", f"https://{NAME}/")
    assert wait_until(lambda: not gateways(site))
