"""What a cage trusts, and where keys are: every store inside holds the cage's own authority, no
process a key.

The control of each is outside: there the same program does not know that authority, and the files
are as they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from akiosctl.client import Client
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.policy import Environment, Network, Policy
from akiosd.wire.messages import Run, Started
from tests.e2e.daemon import NOBODY, OTHER, Daemon

SYSTEM_PYTHON = "/usr/bin/python3"
SECRET = "sk-proj-Zx81-this-is-the-real-key-of-the-test"
DEFAULT_TRUST = """
import ssl
names = [dict(pair[0] for pair in cert["subject"]) for cert in ssl.create_default_context().get_ca_certs()]
print([name["commonName"] for name in names if name.get("organizationName") == "AKIOS"])
"""


@pytest.fixture(scope="module")
def workspace(daemon: Daemon) -> Iterator[Path]:
    """A project with an environment of its own, with pip and its certificates in it, as ``python -m
    venv`` makes it.
    """
    where = daemon.workspace("trust-", uid=NOBODY)
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", where / ".venv"], check=True, capture_output=True)
    for path in (where, *where.rglob("*")):
        os.lchown(path, NOBODY, NOBODY)
    yield where
    shutil.rmtree(where)


@pytest.fixture(scope="module")
def store(workspace: Path) -> Path:
    found = next(
        workspace.glob(".venv/lib/python3*/site-packages/pip/_vendor/certifi/cacert.pem"), None
    )
    if found is None:
        pytest.skip("the system's pip brings no certificates of its own")
    return found


def authorities(pem: str) -> list[str]:
    """Common names of the certificates that AKIOS made."""
    found = []
    for part in pem.split("-----BEGIN CERTIFICATE-----")[1:]:
        text = (
            f"-----BEGIN CERTIFICATE-----{part.partition('-----END')[0]}-----END CERTIFICATE-----\n"
        )
        # Some hosts trust certificates that a strict reader refuses.
        if len(text) < 1000:
            subject = x509.load_pem_x509_certificate(text.encode()).subject
            if subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "AKIOS":
                found.append(str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value))
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cage_of(stderr: str) -> str:
    return str(json.loads(stderr.strip().splitlines()[-1])["cage"])


# ---- stores --------------------------------------------------------------------------------------


def test_every_way_to_the_certificates_finds_the_cages(
    daemon: Daemon, workspace: Path, store: Path
) -> None:
    inside = store.relative_to(workspace)
    paths = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/cert.pem",
        str(inside),
        "/etc/akios/ca.pem",
    ]
    before = {
        path: digest(Path(path)) for path in (str(store), "/etc/ssl/certs/ca-certificates.crt")
    }
    program = "import sys; [print(open(path).read(), end='\\0') for path in sys.argv[1:]]"
    done = daemon.run(
        ".venv/bin/python", "-c", program, *paths, flags=["--json"], cwd=workspace, uid=NOBODY
    )
    assert done.returncode == 0, done.stderr
    cage = cage_of(done.stderr)
    for path, text in zip(paths, done.stdout.split("\0"), strict=False):
        assert authorities(text) == [f"AKIOS cage {cage}"], path
        assert text.count("BEGIN CERT") == 1 or path != "/etc/akios/ca.pem"
    for path, known in before.items():
        assert digest(Path(path)) == known and not authorities(Path(path).read_text()), (
            f"{path} outside is as it was"
        )
    assert daemon.ctl("diff", cage, uid=NOBODY).returncode == 125, "a store is no change"


@pytest.mark.parametrize("launch", [[], ["env", "-i"]], ids=["variables", "no variables"])
def test_python_trusts_it_by_default(daemon: Daemon, launch: list[str]) -> None:
    done = daemon.run(*launch, SYSTEM_PYTHON, "-c", DEFAULT_TRUST, flags=["--json"])
    assert done.stdout.strip() == f"['AKIOS cage {cage_of(done.stderr)}']", done.stderr
    outside = subprocess.run([SYSTEM_PYTHON, "-c", DEFAULT_TRUST], capture_output=True, text=True)
    assert outside.stdout.strip() == "[]"


def test_two_cages_have_two_authorities(daemon: Daemon) -> None:
    found = [daemon.run("cat", "/etc/akios/ca.pem").stdout for _ in range(2)]
    first, second = (x509.load_pem_x509_certificate(pem.encode()) for pem in found)
    assert first.public_key() != second.public_key() and first.subject != second.subject


def test_java_trusts_it(daemon: Daemon) -> None:
    if shutil.which("keytool") is None or not Path("/etc/ssl/certs/java/cacerts").exists():
        pytest.skip("no keytool(1), or no Java trust store on this host")
    words = ("-list", "-cacerts", "-storepass", "changeit", "-alias", "akios")
    inside = daemon.run("keytool", *words)
    assert "trustedCertEntry" in inside.stdout, inside.stdout + inside.stderr
    assert (
        "trustedCertEntry"
        not in subprocess.run(["keytool", *words], capture_output=True, text=True).stdout
    )


URL = "https://api.openai.com/v1/models"
NODE = f"fetch({URL!r}).then(r => console.log(r.status), e => console.log(e.cause.code))"
PYTHON = f"""
import urllib.error, urllib.request
try: urllib.request.urlopen({URL!r})
except urllib.error.HTTPError as error: print(error.code)
"""
JAVA = """
public class Ask { public static void main(String[] words) throws Exception {
    var request = (javax.net.ssl.HttpsURLConnection) new java.net.URL("URL").openConnection();
    System.out.println(request.getResponseCode()); } }
""".replace('URL")', URL + '")')
# Without a key the gateway refuses the request in HTTP: who reads that has taken its certificate.
TAKEN = "403"
PROGRAMS = {
    "curl": ("/usr/bin/curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", URL),
    "python": (SYSTEM_PYTHON, "-c", PYTHON),
    "git": ("/usr/bin/git", "ls-remote", URL),
    "node": ("/usr/bin/node", "-e", NODE),
    "java": ("/usr/bin/java", "Ask.java"),
    "certifi": (
        ".venv/bin/python",
        "-c",
        f"from pip._vendor import requests; print(requests.get({URL!r}).status_code)",
    ),
}


@pytest.mark.parametrize("launch", [[], ["/usr/bin/env", "-i"]], ids=["variables", "no variables"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_take_the_gateways_certificate(
    daemon: Daemon, workspace: Path, store: Path, program: str, launch: list[str]
) -> None:
    """By the variables, and without them by the stores themselves; node(1) as built by Debian reads
    the system's.
    """
    command = PROGRAMS[program]
    if command[0].startswith("/") and not os.path.exists(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    if program == "java" and not Path(os.path.realpath(command[0])).with_name("javac").exists():
        pytest.skip("this Java cannot run a source file")
    if program == "node" and launch and not node_reads_the_system():
        pytest.skip("this node brings its certificates built in")
    (workspace / "Ask.java").write_text(JAVA)
    done = daemon.run(*launch, *command, cwd=workspace, uid=NOBODY)
    assert TAKEN in done.stdout + done.stderr, done.stdout + done.stderr
    assert "CERTIFICATE_VERIFY_FAILED" not in done.stderr


def node_reads_the_system() -> bool:
    script = "console.log(process.config.variables.openssl_use_def_ca_store || '')"
    done = subprocess.run(["/usr/bin/node", "-e", script], capture_output=True, text=True)
    return bool(done.stdout.strip())


def test_a_program_that_trusts_nobody_does_not_take_it(daemon: Daemon) -> None:
    """The control of those above, in the same place: it is by the stores that the certificate is
    taken.
    """
    for trusted in ("/dev/null", "/etc/ssl/certs/ISRG_Root_X1.pem"):
        done = daemon.run("curl", "-sS", "--cacert", trusted, "--capath", "/etc/ssl/certs", URL)
        assert done.returncode in (60, 77), done.stdout + done.stderr
    assert daemon.run("curl", "-sS", "--cacert", "/etc/akios/ca.pem", URL).returncode == 0


# ---- what an agent does to its environment -------------------------------------------------------


def test_an_environment_can_be_removed_and_made_again(
    daemon: Daemon, workspace: Path, store: Path
) -> None:
    script = f"rm -rf .venv && test ! -e .venv && {SYSTEM_PYTHON} -m venv .venv && .venv/bin/python -m pip --version"
    done = daemon.run("sh", "-c", script, flags=["--json"], cwd=workspace, uid=NOBODY)
    assert done.returncode == 0, done.stderr
    assert store.exists(), "the workspace is as it was"
    assert daemon.ctl("discard", cage_of(done.stderr), uid=NOBODY).returncode == 0


def test_writing_beside_a_store_changes_nothing_else(
    daemon: Daemon, workspace: Path, store: Path
) -> None:
    beside = store.parent.relative_to(workspace)
    script = f"touch {beside}/new && mv {beside} {beside}-moved && mv {beside}-moved {beside}"
    done = daemon.run("sh", "-c", script, flags=["--json"], cwd=workspace, uid=NOBODY)
    assert done.returncode == 0, done.stderr
    cage = cage_of(done.stderr)
    changes = json.loads(daemon.ctl("diff", cage, "--json", uid=NOBODY).stdout)["changes"]
    assert [(change["path"], change["kind"]) for change in changes] == [(f"{beside}/new", "added")]
    before = {path: os.lstat(path) for path in store.parents if path.is_relative_to(workspace)}
    assert daemon.ctl("commit", cage, uid=NOBODY).returncode == 0
    for path, was in before.items():
        now = os.lstat(path)
        assert (now.st_uid, now.st_gid, now.st_mode) == (was.st_uid, was.st_gid, was.st_mode), path
    (store.parent / "new").unlink()


@pytest.mark.parametrize("mode", ["--ro", "--rw"])
def test_in_every_mode_of_a_workspace(
    daemon: Daemon, workspace: Path, store: Path, mode: str
) -> None:
    known = digest(store)
    relative = store.relative_to(workspace)
    program = f"import os; print(open({str(relative)!r}).read()); print(os.stat('.').st_uid, os.stat('.venv').st_uid)"
    done = daemon.run(SYSTEM_PYTHON, "-c", program, flags=[mode], cwd=workspace, uid=NOBODY)
    assert done.returncode == 0, done.stderr
    assert len(authorities(done.stdout)) == 1 and done.stdout.strip().endswith("1000 1000")
    assert digest(store) == known
    refused = daemon.run(
        "sh", "-c", f"echo x >> {relative}", flags=[mode], cwd=workspace, uid=NOBODY
    )
    assert refused.returncode != 0 and digest(store) == known


def test_a_store_in_a_tree_shown_read_only(daemon: Daemon, store: Path) -> None:
    """By a mount: nothing there can be removed anyway.  Modes and owners around it stay."""
    tree = daemon.base / "shown"
    if not tree.exists():
        shutil.copytree(store.parents[6], tree, symlinks=True)
    inside = tree / store.relative_to(store.parents[6])
    policy = daemon.workspace("policy-") / "p.yaml"
    policy.write_text(f"version: 1\nfilesystem: {{read: [{tree}]}}\n")
    done = daemon.run("cat", inside, flags=["--policy", str(policy)])
    assert len(authorities(done.stdout)) == 1, done.stderr
    assert not authorities(inside.read_text())


# ---- keys and placeholders -----------------------------------------------------------------------


def variables(stdout: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in stdout.splitlines() if "=" in line)


def test_placeholders_stand_where_keys_would(daemon: Daemon) -> None:
    environment = {**os.environ, "OPENAI_API_KEY": SECRET, "MY_KEY": SECRET}
    policy = daemon.workspace("policy-") / "p.yaml"
    policy.write_text(
        "version: 1\nnetwork: {providers: [openai, bedrock]}\nenvironment: {set: {AWS_REGION: eu-north-1}}\n"
    )
    flags = ["--policy", str(policy), "--keep-env", "MY_KEY"]
    found = variables(daemon.run("env", flags=flags, env=environment).stdout)
    assert found["OPENAI_API_KEY"].startswith("sk-") and "placeholder" in found["OPENAI_API_KEY"]
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_REGION"]) == (
        "AKIAPLACEHOLDERAKIOS",
        "eu-north-1",
    )
    assert found["AWS_DEFAULT_REGION"] == "us-east-1"
    assert found["MY_KEY"] == SECRET, "the control: what is asked for does pass"
    assert not {"ANTHROPIC_API_KEY", "GEMINI_API_KEY", "XAI_API_KEY"} & set(found), (
        "providers that are not allowed"
    )
    refused = daemon.run("env", flags=["--keep-env", "OPENAI_API_KEY"], env=environment)
    assert (
        refused.returncode == 125 and "keys set" in refused.stderr and SECRET not in refused.stderr
    )


def test_akiosd_lets_no_client_send_a_key(daemon: Daemon) -> None:
    """A client that knows nothing of placeholders sends its whole environment."""
    sent = dict.fromkeys(
        ("OPENAI_API_KEY", "AWS_SESSION_TOKEN", "XAI_API_KEY", "MINE", "MY_OWN"), SECRET
    )
    network = Network(providers=("openai", "bedrock", "xai"))
    policy = Policy(
        network=network, environment=Environment(set={"MINE": SECRET, "XAI_API_KEY": SECRET})
    )
    found = variables(run_plainly(daemon, policy, {**sent, "SSL_CERT_FILE": "/tmp/mine"}))
    assert "placeholder" in found["OPENAI_API_KEY"] and "AWS_SESSION_TOKEN" not in found
    assert found["SSL_CERT_FILE"] == "/etc/akios/ca-bundle.pem"
    assert found["MINE"] == found["MY_OWN"] == found["XAI_API_KEY"] == SECRET, (
        "the control, and what the policy names"
    )


def run_plainly(daemon: Daemon, policy: Policy, env: dict[str, str]) -> str:
    """What env(1) prints in a cage that no akiosctl prepared."""
    where = daemon.workspace()
    request = Run(
        policy=policy,
        argv=(b"env",),
        command=b"/usr/bin/env",
        cwd=bytes(where),
        workspace=bytes(where),
        env={name.encode(): value.encode() for name, value in env.items()},
    )
    client, fd = Client(str(daemon.socket)), os.open(where, os.O_PATH | os.O_DIRECTORY)
    with client:
        try:
            client.send(request, [fd])
            started = client.receive()
        finally:
            os.close(fd)
        assert isinstance(started.message, Started), started.message
        with os.fdopen(started.fds.pop(1), "rb") as stdout:
            close_fds(started.fds)
            return stdout.read().decode()


def test_keys_are_roots_business_and_nowhere_but_in_their_file(daemon: Daemon) -> None:
    # What agents of other tests were given and printed themselves.
    printed = holders(daemon.base)
    assert {path.name for path in printed} <= {"output.log"}
    try:
        done = daemon.ctl("keys", "set", "openai", input=SECRET + "\n")
        assert done.returncode == 0 and SECRET not in done.stdout + done.stderr, done.stderr
        listed = json.loads(daemon.ctl("keys", "list", "--json").stdout)
        assert [(key["provider"], key["source"]) for key in listed] == [("openai", "set")]
        assert SECRET not in daemon.ctl("keys", "list").stdout
        for uid in (NOBODY, OTHER):
            for words in (["set", "mistral"], ["list"], ["rm", "openai"]):
                refused = daemon.ctl("keys", *words, uid=uid, input=SECRET)
                assert (
                    refused.returncode == 125 and "only root and administrators" in refused.stderr
                )
        inside = daemon.run("sh", "-c", "env; cat /etc/akios/*", text=False)
        assert inside.returncode == 0 and SECRET.encode() not in inside.stdout
        assert holders(daemon.base) == [*printed, daemon.state / "keys/providers/openai"]
        assert (daemon.state / "keys/providers/openai").stat().st_mode & 0o777 == 0o600
        processes = subprocess.run(["ps", "axeww"], capture_output=True).stdout
        assert SECRET.encode() not in processes and str(daemon.config).encode() in processes
        shown = daemon.ctl("ledger", "show", "--json", "--kind", "provider_key").stdout
        told = [json.loads(line) for line in shown.splitlines()]
        assert [(event["provider"], event["action"], event["uid"]) for event in told] == [
            ("openai", "set", 0)
        ]
        for words in (["openai"], ["bedrock"]):
            wrong = daemon.ctl("keys", "set", *words, input="one two")
            assert wrong.returncode == 125 and "one two" not in wrong.stderr
    finally:
        removed = daemon.ctl("keys", "rm", "openai")
    assert removed.returncode == 0 and holders(daemon.base) == printed
    assert daemon.ctl("keys", "rm", "openai").returncode == 125


def holders(base: Path) -> list[Path]:
    """Files of the daemon (state, log, sockets, workspaces) in which the key can be found."""
    files = [path for path in base.rglob("*") if not path.is_symlink() and path.is_file()]
    return [
        path
        for path in files
        if path.stat().st_size < 64 << 20 and SECRET.encode() in path.read_bytes()
    ]


def test_a_credential_of_the_service_is_a_key(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "anthropic").write_text(SECRET + "\n")
    (tmp_path / "anthropic").chmod(0o400)
    private = Daemon()
    os.environ["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    try:
        private.start()
        listed = json.loads(private.ctl("keys", "list", "--json").stdout)
        assert [(key["provider"], key["source"], key["problem"]) for key in listed] == [
            ("anthropic", "credential", "")
        ]
        assert holders(private.base) == []
    finally:
        del os.environ["CREDENTIALS_DIRECTORY"]
        private.close()


def test_a_key_is_asked_for_without_echo(daemon: Daemon) -> None:
    """On a terminal of its own, which shows the prompt and nothing of what is typed."""
    master, slave = os.openpty()
    process = daemon.popen(
        "keys", "set", "xai", stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    shown = b""
    try:
        while b"Key of xai" not in shown:
            shown += os.read(master, 4096)
        os.write(master, SECRET.encode() + b"\n")
        while process.poll() is None:
            try:
                shown += os.read(master, 4096)
            except OSError:
                break
        assert process.wait(30) == 0, shown
        assert SECRET.encode() not in shown and b"is kept" in shown
    finally:
        if process.poll() is None:
            process.kill()
        os.close(master)
        daemon.ctl("keys", "rm", "xai")


def test_the_interpreter_of_the_tests_has_no_cage_in_it() -> None:
    """The control of all of the above, in this very process."""
    assert not os.path.exists("/etc/akios/ca.pem") and sys.executable
    assert "AKIOS" not in str(ssl.create_default_context().get_ca_certs())
