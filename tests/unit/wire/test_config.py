"""akiosd.yaml and the system policy: every refusal names its line, and only root's word counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from akiosd.daemon.config import Config, load_config, load_system_policy, parse_config, read_trusted
from akiosd.errors import AkiosError
from akiosd.values.policy import DEFAULT_POLICY


def test_an_empty_file_is_the_default() -> None:
    assert parse_config(b"", "f") == parse_config(b"# nothing\n", "f") == Config()


def test_values_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "akiosd.yaml"
    file.write_text("state_dir: /srv/akios\ngroups:\n  user: agents\nquotas: {cages_per_user: 3}\n")
    file.chmod(0o600)
    config = load_config(file, runtime_dir="/tmp/r", log_level=None)
    assert (config.state_dir, config.runtime_dir, config.groups.user) == ("/srv/akios", "/tmp/r", "agents")
    assert (config.quotas.cages_per_user, config.log_level) == (3, "info")


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("log_level: info\nstate_dri: /x\n", "f, line 2", "did you mean state_dir"),
        ("groups:\n  usr: x\n", "f, line 2", "did you mean user"),
        ("quotas:\n  cages_total: many\n", "f, line 2", "Expected `int`"),
        ("quotas: 3\n", "f, line 1", "table of keys"),
        ("log_level: loud\n", "f, line 1", "Invalid enum value"),
        ("a: 1\na: 2\n", "f, line 2", "stands twice"),
        ("a: &x [1]\nb: *x\n", "f, line 1", "aliases"),
        ("a: [\n", "f, line 2", "not valid YAML"),
        ("- 1\n", "f, line 1", "table of keys"),
        ("state_dir: here\n", "f", "not an absolute path"),
        ("uids: {first_cage: 1000}\n", "f", "ordinary users"),
        ("uids: {first_cage: 2147000000}\n", "f", "overlap"),
        ("uids: {display_base: 4294967295}\n", "f", "ends above"),
        ("uids: {base: 1}\n", "f, line 1", "unknown key uids.base"),
        ("quotas: {cages_total: -1}\n", "f", "negative"),
    ],
)
def test_refusals_name_the_line(text: str, where: str, says: str) -> None:
    with pytest.raises(AkiosError) as caught:
        parse_config(text.encode(), "f")
    assert caught.value.where == where
    assert says in str(caught.value)


def test_uids_of_cages() -> None:
    uids = Config().uids
    last = uids.first_cage + uids.cage_count - 1
    assert all(uids.is_caged(uid) for uid in (uids.first_cage, last, uids.display_base, uids.display_base + 1000))
    assert not any(uids.is_caged(uid) for uid in (0, 1000, 65534, uids.first_cage - 1, last + 1))


def test_only_the_owner_may_be_able_to_write(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\n")
    file.chmod(0o644)
    assert load_system_policy(file) == DEFAULT_POLICY
    file.chmod(0o664)
    with pytest.raises(AkiosError, match="written by others"):
        read_trusted(file)
    with pytest.raises(AkiosError, match="Is a directory"):
        read_trusted(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(AkiosError, match="not a regular file"):
        read_trusted(fifo)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a file away")
def test_another_users_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "akiosd.yaml"
    file.write_text("")
    os.chown(file, 1234, 1234)
    with pytest.raises(AkiosError, match="belongs to uid 1234"):
        load_config(file)


def test_absent_files() -> None:
    assert load_system_policy(Path("/nonexistent/policy.yaml")) == DEFAULT_POLICY
    with pytest.raises(AkiosError, match="no such file"):
        load_config(Path("/nonexistent/akiosd.yaml"))


def test_the_system_policy_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nlimits:\n  memroy: 1G\n")
    file.chmod(0o600)
    with pytest.raises(AkiosError, match="memory") as caught:
        load_system_policy(file)
    assert caught.value.where == f"{file}, line 3"
