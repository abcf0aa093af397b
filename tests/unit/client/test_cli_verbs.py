"""The other verbs, the argument table, the small msgpack: what people type and what they get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosctl.choose_cage import match_beginning
from akiosctl.cli import run_command
from akiosctl.plain_msgpack import Packed, pack, unpack
from akiosctl.policy_files import parse
from akiosctl.records_text import record_json, record_line
from akiosctl.render import escape, quote_command
from akiosctl.run_options import OPTIONS, SHORT, help_text, parse_run, policy_flags
from akiosctl.run_policy import resolve_policy
from akiosctl.terminal import DetachKeys, parse_detach_keys
from akiosd.errors import AkiosError, ProtocolError
from akiosd.policy.system import SystemPolicy, digest
from akiosd.policy.system import pack as packed
from akiosd.values.policy import Policy
from akiosd.values.records import Birth, Syscall, encode_entry
from akiosd.wire.messages import CageInfo
from tests.unit.client.test_cli_run import World

# ---- the argument table --------------------------------------------------------------------------


def test_options_end_at_the_command() -> None:
    options = parse_run(
        ["-T", "--memory=1G", "--env", "A=b", "--env=C=--x", "ls", "--memory", "2G", "--"]
    )
    assert options.command == ["ls", "--memory", "2G", "--"]
    assert (options.value("memory"), options.values("env"), options.has("no_tty")) == (
        "1G",
        ["A=b", "C=--x"],
        True,
    )
    assert parse_run(["--", "--json"]).command == ["--json"]
    assert parse_run(["--json", "-", "x"]).command == ["-", "x"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--memroy", "1G"], "did you mean --memory"),
        (["-x"], "unknown option -x"),
        (["--memory"], "needs a value"),
        (["--json=1"], "takes no value"),
        (["--cow", "--rw"], "--cow and --rw contradict"),
        (["--commit", "--discard"], "contradict"),
    ],
)
def test_wrong_options_say_what_would_be_right(words: list[str], says: str) -> None:
    with pytest.raises(AkiosError) as caught:
        parse_run(words)
    assert says in str(caught.value)


def test_every_option_is_in_the_help() -> None:
    text = help_text()
    assert all(f" {option}" in text for option in OPTIONS)
    assert all(f"{short}," in text for short in SHORT)


def test_flags_are_words_of_the_policy_language() -> None:
    words = [
        "--memory",
        "1G",
        "--pids",
        "5",
        "--cpu",
        "50%",
        "--disk",
        "2G",
        "--timeout",
        "90s",
        "--trace",
        "all",
        "--ro",
        "--",
        "x",
    ]
    assert policy_flags(parse_run(words)) == {
        "limits": {"memory": "1G", "pids": 5, "cpu": "50%", "disk": "2G", "wall_clock": "90s"},
        "syscalls": {"trace": "all"},
        "filesystem": {"workspace": "ro"},
    }


# ---- the policy of a run -------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path


class Daemon:
    """What akiosd says of its system policy, and how often it was asked to."""

    def __init__(self, text: str = "") -> None:
        policy = parse(text.encode(), "/srv/policy.yaml")
        self._packed = packed(SystemPolicy("/srv/policy.yaml", True, policy))
        self.asked = 0

    def system_digest(self) -> bytes:
        return digest(self._packed)

    def read_system(self) -> bytes:
        self.asked += 1
        return self._packed


def limits_of(home: Path, flags: dict[str, dict[str, object]] | None = None) -> int:
    resolved = resolve_policy(str(home / "work"), None, flags or {}, Daemon())
    return msgspec.msgpack.decode(resolved.packed, type=Policy).limits.pids


def test_the_remembered_policy_follows_its_files(home: Path) -> None:
    assert limits_of(home) == limits_of(home) == Policy().limits.pids
    (home / "work" / "akios.yaml").write_text("version: 1\nlimits: {pids: 30}\n")
    assert limits_of(home) == limits_of(home) == 30
    assert limits_of(home, {"limits": {"pids": 20}}) == 20
    (home / "work" / "akios.yaml").write_text("version: 1\nlimits: {pids: 31}\n")
    assert limits_of(home) == 31
    (home / "work" / "akios.yaml").unlink()
    assert limits_of(home) == Policy().limits.pids


def test_what_others_could_have_written_is_not_remembered(home: Path) -> None:
    limits_of(home)
    (entry,) = (home / "home" / ".cache" / "akios" / "run").iterdir()
    whole = unpack(entry.read_bytes())
    assert isinstance(whole, list) and isinstance(whole[1], dict)
    whole[1]["policy"] = msgspec.msgpack.encode({"limits": {"pids": 9}})
    entry.write_bytes(pack(whole))
    assert limits_of(home) == 9
    entry.chmod(0o620)
    assert limits_of(home) == Policy().limits.pids
    entry.write_bytes(b"\xc1 not msgpack")
    assert limits_of(home) == Policy().limits.pids


def test_the_system_policy_is_akiosds_and_asked_for_once(home: Path) -> None:
    """Not a file that the client looks for; remembered until akiosd has another."""
    first, second = Daemon("limits: {pids: 12}"), Daemon("limits: {pids: 13}")

    def pids(daemon: Daemon) -> int:
        resolved = resolve_policy(str(home / "work"), None, {}, daemon)
        return msgspec.msgpack.decode(resolved.packed, type=Policy).limits.pids

    assert [pids(one) for one in (first, first, second, first, second)] == [12, 12, 13, 12, 13]
    assert (first.asked, second.asked) == (1, 1)
    with pytest.raises(AkiosError) as refused:
        resolve_policy(str(home / "work"), None, {"limits": {"pids": 20}}, first)
    assert refused.value.what == "--pids 20 is above the 12 of /srv/policy.yaml, line 1"
    assert refused.value.next.endswith("projects_may: {pids: 20} in /srv/policy.yaml")


def test_a_project_that_opens_more_is_told_of_once(home: Path) -> None:
    """It may come from elsewhere; who runs an agent there sees what its author asks for."""

    def told(text: str, daemon: Daemon) -> str:
        (home / "work" / "akios.yaml").write_text(text)
        return resolve_policy(str(home / "work"), None, {}, daemon).news

    may = Daemon("projects_may: {allowed_domains: any, memory: 8G}")
    wide = "network: {allowed_domains: [a.example]}\nlimits: {memory: 4G, pids: 7}\n"
    assert told(wide, may) == (
        f"{home}/work/akios.yaml gives the agent more than the system policy's values: "
        "a.example, limits.memory 4G"
    )
    assert resolve_policy(str(home / "work"), None, {}, may).news == "", "it was told"
    assert told(wide.replace("a.example", "b.example"), may).endswith("b.example, limits.memory 4G")
    assert told("limits: {pids: 7}\n", may) == "", "the control: what only narrows"


def test_flags_only_narrow(home: Path) -> None:
    with pytest.raises(AkiosError, match=r"--pids 1000000 is above the built-in 1,024"):
        limits_of(home, {"limits": {"pids": 10**6}})


# ---- small msgpack -------------------------------------------------------------------------------

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=300)
    | st.text("aé\0", max_size=40),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text("abc", max_size=3), inner, max_size=20)
    ),
    max_leaves=30,
)


@given(plain)
def test_it_agrees_with_msgspec_both_ways(value: object) -> None:
    assert msgspec.msgpack.decode(pack(value)) == value
    assert unpack(msgspec.msgpack.encode(value)) == value
    assert unpack(pack([Packed(pack(value))])) == [value]


@pytest.mark.parametrize("size", [255, 256, 65_535, 65_536])
def test_lengths_at_their_edges(size: int) -> None:
    for value in (b"x" * size, "x" * size, [1] * size, {str(n): n for n in range(size)}):
        assert msgspec.msgpack.decode(pack(value)) == value == unpack(pack(value))


@given(st.binary(max_size=60))
def test_hostile_bytes_raise_only_protocol_errors(data: bytes) -> None:
    try:
        unpack(data)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "data", [b"", b"\x91" * 10_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc1"]
)
def test_bad_msgpack(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(data)


# ---- printing ------------------------------------------------------------------------------------


@given(st.binary(max_size=30) | st.text(max_size=30))
def test_nothing_printed_can_drive_a_terminal(text: bytes | str) -> None:
    assert escape(text).isprintable()
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    entry = encode_entry(Syscall(ts=1, name="open", nr=2, pid=3, verdict="denied", path=raw))
    assert record_line("host", 1, entry).isprintable()
    assert json.dumps(record_json("host", 1, entry)).isprintable()
    assert record_line("host", 1, raw).isprintable()


def test_commands_and_records_for_people() -> None:
    assert quote_command([b"sh", b"-c", b"echo a", b"", b"\x1b"]) == "sh -c 'echo a' '' '\\x1b'"
    entry = encode_entry(
        Birth(ts=0, cage="c-1", uid=7, argv=(b"a b", b"\n"), policy_sha256=b"\xff")
    )
    assert record_line("host", 4, entry).endswith(
        "host:4  birth  cage=c-1 uid=7 argv=['a b' \\x0a] policy_sha256=ff"
    )


# ---- keys and names ------------------------------------------------------------------------------


def test_detach_keys() -> None:
    assert parse_detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_detach_keys("ctrl-@,a,ctrl-]") == b"\x00a\x1d"
    with pytest.raises(AkiosError):
        parse_detach_keys("ctrl-pp")


@given(st.binary(max_size=30), st.lists(st.integers(1, 5), max_size=30))
def test_every_split_passes_the_same_keys(data: bytes, cuts: list[int]) -> None:
    keys = b"\x10\x11"
    typed = data.replace(b"\x20", keys[:1]).replace(b"\x21", keys)
    finder, passed, rest, found = DetachKeys(keys), b"", typed + b"z", False
    for cut in [*cuts, len(rest)]:
        more, found = finder.feed(rest[:cut])
        passed, rest = passed + more, rest[cut:]
        if found:
            break
    before, sequence, _ = (typed + b"z").partition(keys)
    assert (passed, found) == (before, bool(sequence))


def a_cage(name: str) -> CageInfo:
    return CageInfo(name, 0, "", "", (), b"", 0)


def test_cages_by_their_beginning() -> None:
    cages = [a_cage("c-00ab"), a_cage("c-00ac"), a_cage("c-00ac11")]
    names = {
        text: [cage.cage for cage in match_beginning(cages, text)]
        for text in ("00ab", "c-00ac", "c-00", "", "x")
    }
    assert names == {
        "00ab": ["c-00ab"],
        "c-00ac": ["c-00ac", "c-00ac11"],
        "c-00": [cage.cage for cage in cages],
        "": [],
        "x": [],
    }


# ---- whole verbs ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("verbs"))
    yield made
    made.close()


def test_ps_stop_and_abbreviations(world: World) -> None:
    started = world.run("run", "--detach", "--", "sleep", "60")
    name = started.stdout.decode().strip()
    assert name.startswith("c-") and started.stderr == b""
    assert name in world.run("ps").stdout.decode()
    (row,) = [row for row in json.loads(world.run("--json", "ps").stdout) if row["cage"] == name]
    assert row["argv"] == ["sleep", "60"] and row["workspace"] == os.path.realpath(world.project)
    assert world.run("stop", "nonsense").returncode == 125
    assert world.run("stop", "--kill", "last").stdout.decode().strip() == name


def test_the_budget_of_a_running_cage(world: World) -> None:
    words = [
        "run",
        "--detach",
        "--budget",
        "0.50",
        "--env",
        "FAKE_SPENT=12300|2",
        "--",
        "sleep",
        "60",
    ]
    name = world.run(*words).stdout.decode().strip()
    shown = world.run("budget", name).stdout.decode()
    assert shown.splitlines() == [
        "money: $0.0123 used, $0.02 held by open calls, $0.4677 of $0.50 left",
        "tokens: 1,234 used, 50 held by open calls, no limit",
        "calls: 2 used, 1 held by open calls, no limit",
        "refused: 3",
        "",
        "MODEL            CALLS  SPENT    TOKENS IN  TOKENS OUT",
        "openai/\\x1b[31m  2      $0.0123  1,200      34",
        "",
        "OPEN CALL      HOLDS  SINCE",
        "openai/gpt-4o  $0.02  2 s",
    ]
    found = json.loads(world.run("budget", name, "--json").stdout)
    assert found["limits"]["usd_micro"] == 500_000 and found["left_usd_micro"] == 467_700
    assert (found["open"][0]["usd_micro"], found["models"][0]["model"]) == (
        20_000,
        "openai/\\x1b[31m",
    )
    (row,) = [row for row in json.loads(world.run("ps", "--json").stdout) if row["cage"] == name]
    assert (row["usd_micro"], row["calls"]) == (12_300, 2)
    (line,) = [
        line for line in world.run("ps").stdout.decode().splitlines() if line.startswith(name)
    ]
    assert " $0.0123 " in line
    assert world.run("stop", "--kill", name).returncode == 0


def test_a_budget_flag_only_narrows(world: World) -> None:
    wider = world.run("run", "--budget", "10.01", "--", "true")
    assert wider.returncode == 125 and b"--budget $10.01 is above the" in wider.stderr
    assert b"is not an amount of money" in world.run("run", "--budget", "much", "--", "true").stderr
    assert world.run("run", "--budget", "$10", "--", "true").returncode == 0


def test_unknown_text_of_the_daemon_is_escaped(world: World) -> None:
    result = world.run("doctor")
    assert result.returncode == 125
    assert result.stderr == b"akiosctl: line\\x0aone \\x1b[31mred\n  where: there\n  next:  do\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pss"], b"did you mean ps?"),
        (["ps", "--josn"], b"--json"),
        (["stop"], b"Missing argument"),
        (["diff"], b"has no changes"),
        (["commit", "zzz"], b"there is no cage"),
    ],
)
def test_mistakes_are_explained_in_the_one_shape(
    world: World, words: list[str], says: bytes
) -> None:
    world.run("run", "--", "true")
    result = world.run(*words)
    assert (
        result.returncode == 125
        and says in result.stderr
        and result.stderr.startswith(b"akiosctl: ")
    )


def test_diff_commit_and_discard(world: World) -> None:
    view = world.project.with_name("project-view")
    view.mkdir()
    (view / "new\n\x1b").write_text("line\n")
    (view / ".envrc").write_text("evil\n")
    world.run("run", "--", "true")
    listed = world.run("diff", "--patch", "last")
    assert (
        b'A "new\\n\\033"' in listed.stdout
        and b"+line" in listed.stdout
        and b"\x1b" not in listed.stdout
    )
    assert {row["path"] for row in json.loads(world.run("diff", "--json").stdout)["changes"]} >= {
        ".envrc"
    }
    refused = world.run("commit", "last")
    assert refused.returncode == 125 and b"refused" in refused.stderr
    assert not list(world.project.iterdir())
    result = world.run("commit", "--skip-refused")
    assert result.returncode == 0 and b"left out: .envrc" in result.stderr, result.stderr
    assert [path.name for path in world.project.iterdir()] == ["new\n\x1b"]
    (view / ".envrc").unlink()
    (view / "at-the-end").write_text("x")
    ended = "FAKE_ENDED=exited||yes"
    assert world.run("run", "--rw", "--env", ended, "--", "sh", "-c", "exit 2").returncode == 2
    assert (world.project / "at-the-end").read_text() == "x"
    (view / ".envrc").write_text("evil\n")
    left = world.run("run", "--commit", "--env", ended, "--", "true")
    assert left.returncode == 125 and b"akios: not committed: " in left.stderr
    assert world.run("discard", "last").returncode == 0


def test_help_of_every_verb(world: World) -> None:
    for verb in [
        "run",
        "ps",
        "attach",
        "stop",
        "diff",
        "commit",
        "discard",
        "events",
        "ledger",
        "policy",
        "doctor",
    ]:
        result = world.run(verb, "--help")
        assert result.returncode == 0 and b"Usage" in result.stdout, verb


def test_a_reader_that_leaves_is_no_traceback(world: World) -> None:
    process = world.start("--help", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(60)
    process.stderr.close()


def test_output_without_room_is_no_success(world: World) -> None:
    with Path("/dev/full").open("wb") as full:
        process = world.start("--help", stdout=full, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(60) == 125
    assert b"No space left on device" in said and b"Traceback" not in said


def test_standalone_needs_root() -> None:
    code = (
        "import os\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "from akiosctl.cli import run_command\n"
        "raise SystemExit(run_command(['run', '--standalone', '--', 'true']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert result.returncode == 125 and b"needs root" in result.stderr


@pytest.mark.parametrize(
    "words", [["events", "--kind", "nosuch"], ["ledger", "show", "--kind", "nosuch"]]
)
def test_a_kind_that_does_not_exist_is_not_an_empty_answer(words: list[str]) -> None:
    code = "import sys; from akiosctl.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 125 and done.stdout == ""
    assert (
        "no kind 'nosuch'" in done.stderr
        and "net_denied" in done.stderr
        and "--help" in done.stderr
    )


@pytest.mark.parametrize("words", [
    ["--json", "diff", "c-nothing"], ["diff", "--json", "c-nothing"], ["diff", "c-nothing", "--json"],
    ["run", "--json", "--", "x"], ["run", "--", "x", "--json"],
])  # fmt: skip
def test_who_asks_for_json_is_told_errors_in_json_too(
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Wherever the option stands, but behind -- it is the agent's."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["--socket", "/nonexistent", *words]) in (125, 127)
    told = capsys.readouterr().err
    if words[-1] == "--json" and "--" in words:
        assert told.startswith("akiosctl: ")
    else:
        assert set(json.loads(told)["error"]) >= {"what", "where"}
