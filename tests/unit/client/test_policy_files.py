"""Policy files as the user reads them: layers, the cache, and what is refused."""

import json
import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from akiosctl import policy_files, system_policy
from akiosctl.commands import Globals
from akiosctl.policy_files import find_layers, read_policy, read_system
from akiosctl.verbs.policy import group
from akiosd.errors import PolicyError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own, with the system policy in it."""
    for name in ("config/akios", "cache", "project"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def cached(home):
    return list((home / "cache").rglob("*/policy/*"))


def test_layers_come_in_the_order_of_merging(home):
    system = home / "system.yaml"
    for path in (system, home / "config/akios/policy.yaml", home / "project/akios.yaml"):
        path.write_text("limits: {pids: 10}\n")
    layers = find_layers(home / "project", system=read_system(system))
    assert [layer.name for layer in layers] == ["system", "user", "project"]
    without = find_layers(home / "project", "strict", system=read_system(home / "absent"))
    assert [layer.name for layer in without] == ["built-in", "user", "project"]
    assert without[0].policy.values["projects_may.allowed_domains"] == "any"
    assert without[0].file == str(home / "absent")


def test_the_second_read_does_not_parse(home, monkeypatch):
    path = home / "p.yaml"
    path.write_text("limits:\n  pids: 10\n  memory: 1G\nfilesystem: {hide: [/a, /b]}\n")
    first = read_policy(path)
    assert len(cached(home)) == 1

    def no_parser(*_):
        raise AssertionError("parsed again")

    monkeypatch.setattr(policy_files, "parse", no_parser)
    assert read_policy(path) == first


def test_a_changed_file_is_read_again(home):
    path = home / "p.yaml"
    path.write_text("limits: {pids: 10}\n")
    read_policy(path)
    path.write_text("limits: {pids: 111}\n")
    assert read_policy(path).values == {"limits.pids": 111}


def test_two_files_with_the_same_identity_are_told_apart_by_their_path(home):
    path, link = home / "p.yaml", home / "q.yaml"
    path.write_text("limits: {pids: 10}\n")
    link.hardlink_to(path)
    assert read_policy(path).where["limits.pids"][0] == str(path)
    assert read_policy(link).where["limits.pids"][0] == str(link)


@pytest.mark.parametrize("content", [b"", b"\xff" * 10, b"\x80", None])
def test_a_broken_cache_is_ignored(home, content):
    path = home / "p.yaml"
    path.write_text("limits: {pids: 10}\n")
    first = read_policy(path)
    (entry,) = cached(home)
    foreign = msgspec.msgpack.encode(
        {
            "version": policy_files._CACHE_VERSION,
            "path": "/elsewhere",
            "policy": {"values": {"limits.pids": 9}, "where": {}},
        }
    )
    entry.write_bytes(foreign if content is None else content)
    assert read_policy(path) == first


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(home, monkeypatch):
    (home / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    path = home / "p.yaml"
    path.write_text("limits: {pids: 10}\n")
    assert read_policy(path).values == {"limits.pids": 10}


def test_what_is_not_a_regular_file_is_refused_without_waiting(home):
    os.mkfifo(home / "fifo")
    with pytest.raises(PolicyError, match="not a regular file"):
        read_policy(home / "fifo")
    with pytest.raises(PolicyError):
        read_policy(home)


def test_a_dangling_policy_is_an_error_not_an_absent_policy(home):
    (home / "project/akios.yaml").symlink_to("absent")
    with pytest.raises(PolicyError, match="cannot read"):
        find_layers(home / "project", system=read_system(home / "absent"))


def test_a_huge_file_is_refused(home):
    path = home / "p.yaml"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(PolicyError, match="larger"):
        read_policy(path)


@pytest.fixture
def no_system(home, monkeypatch):
    """No akiosd, and no system policy."""
    monkeypatch.setattr(system_policy, "CONFIG_FILE", str(home / "akiosd.yaml"))
    monkeypatch.setattr(system_policy, "SYSTEM_FILE", str(home / "absent"))


def invoke(*arguments):
    return CliRunner().invoke(group, arguments, obj=Globals("/nonexistent/socket", False))


def test_without_akiosd_the_file_that_it_would_read_is_read(home, no_system):
    """And that is said, since it is not known what akiosd has."""
    system = home / "elsewhere.yaml"
    system.write_text("limits: {pids: 7}\n")
    result = invoke("explain")
    assert "akiosd is not running" in result.stderr and "which does not exist" in result.stderr
    assert json.loads(invoke("explain", "--json").stdout)["limits.pids"]["value"] == 1024
    (home / "akiosd.yaml").write_text(f"system_policy: {system}\n")
    result = invoke("explain", "--json")
    assert f"taken from {system}\n" in result.stderr
    assert json.loads(result.stdout)["limits.pids"] == {
        "value": 7,
        "layer": "system",
        "file": str(system),
        "line": 1,
    }


def test_presets_are_shown_with_their_date(home):
    shown = invoke("presets", "python").stdout
    assert "files.pythonhosted.org" in shown and "looked at on 20" in shown
    listed = json.loads(invoke("presets", "--json").stdout)
    assert set(listed) == {"python", "node", "rust", "go", "debian", "github"}
    assert all(entry["names"] and entry["looked_at"] for entry in listed.values())


def test_explain_names_layer_file_and_line(home, no_system):
    (home / "project/akios.yaml").write_text("limits:\n  memory: 512M\nbudget: {usd: $1.5}\n")
    result = invoke("explain")
    assert result.exit_code == 0
    (line,) = [line for line in result.output.splitlines() if line.startswith("limits.memory ")]
    assert "512 MiB" in line and line.endswith("akios.yaml, line 2")
    assert "$1.50" in result.output
    entries = json.loads(invoke("explain", "--json").stdout)
    assert entries["limits.memory"]["value"] == 512 << 20
    assert entries["limits.memory"]["layer"] == "project"
    assert entries["limits.pids"] == {"value": 1024, "layer": "built-in", "file": "", "line": 0}


def test_check_accepts_and_refuses(home, no_system):
    good, bad = home / "good.yaml", home / "bad.yaml"
    good.write_text("limits: {memory: 64G}\n")
    bad.write_text("limits:\n  memry: 1G\n")
    result = invoke("check", str(good))
    assert result.exit_code == 0 and "OK" in result.output and "limits.memory" in result.output
    result = invoke("check", str(bad), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["next"] == "did you mean memory?"
    assert invoke("check").exit_code == 0
    (home / "project/akios.yaml").write_text("limits: {memory: 64G}\n")
    result = invoke("check")
    assert (
        result.exit_code == 1
        and "limits.memory 64G is above the 8 GiB that the built-in policy lets" in result.output
    )


def test_control_characters_of_a_policy_never_reach_the_terminal(home, no_system):
    (home / "project/akios.yaml").write_text(
        'redact: {allow_values: []}\nenvironment: {set: {A: "\\e[2J\\n"}}\n'
    )
    output = invoke("explain").output
    assert "\x1b" not in output and r"A=\x1b[2J\n" in output


SECRET = "daemon:$6$salted$hash:19000:0:99999:7:::\n"


@pytest.mark.parametrize(
    "content", [SECRET, "root:\n  - *x\n" + SECRET, "\tkey\n", "version: 1\nlimits: {pids: 7}\n"]
)
@pytest.mark.parametrize("kind", ["absolute", "relative", "chain", "directory"])
def test_a_projects_policy_does_not_lead_out_of_it(home: Path, content: str, kind: str) -> None:
    """Root runs in a cloned repository whose akios.yaml links to /etc/shadow: of that no word is
    shown or obeyed.
    """
    secret, project = home / "secret", home / "project"
    secret.write_text(content)
    secret.chmod(0o600)
    link = project / "akios.yaml"
    link.unlink(missing_ok=True)
    if kind == "chain":
        (project / "inner").symlink_to(secret)
        link.symlink_to("inner")
    elif kind == "directory":
        (project / "up").symlink_to(home)
        link.symlink_to("up/secret")
    else:
        link.symlink_to(secret if kind == "absolute" else "../secret")
    with pytest.raises(PolicyError) as refused:
        find_layers(project, system=read_system(home / "absent"))
    assert refused.value.what == "the project's policy is a link that leads out of the project"
    assert refused.value.where == str(link) and "hash" not in refused.value.next
    link.unlink()
    link.symlink_to("policies.yaml")
    (project / "policies.yaml").write_text("limits: {pids: 9}\n")
    (layer,) = [
        one
        for one in find_layers(project, system=read_system(home / "absent"))
        if one.name == "project"
    ]
    assert layer.policy.values == {"limits.pids": 9}, "the control: a link that stays inside"


def test_what_a_link_leads_to_is_not_quoted_unless_everybody_may_read_it(home: Path) -> None:
    secret, link = home / "secret", home / "link.yaml"
    secret.write_text(SECRET)
    link.symlink_to(secret)
    secret.chmod(0o600)
    with pytest.raises(
        PolicyError, match="is not shown, because not everybody may read it"
    ) as refused:
        read_policy(link)
    assert "hash" not in str(refused.value)
    for readable in (link, secret):
        secret.chmod(0o644 if readable is link else 0o600)
        with pytest.raises(PolicyError, match="unknown key 'daemon"):
            read_policy(readable)
