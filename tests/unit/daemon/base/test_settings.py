"""What the administrator's files say together, and what becomes of a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from akiosd.daemon.base.config import Config, find_config_errors
from akiosd.daemon.base.settings import (
    AT_START,
    MOST_CHANGES,
    Settings,
    first,
    load_settings,
    renew,
)
from akiosd.errors import AkiosError
from akiosd.policy.system import unpack


def write(tmp_path: Path, config: str = "", policy: str | None = "version: 1\n") -> Settings:
    file, system = tmp_path / "akiosd.yaml", tmp_path / "policy.yaml"
    file.write_text(f"system_policy: {system}\n" + config)
    system.unlink(missing_ok=True)
    if policy is not None:
        system.write_text(policy)
    return load_settings(file, {})


@pytest.mark.parametrize("key", Config.__struct_fields__)
def test_a_key_is_read_again_or_waits_for_a_restart(tmp_path: Path, key: str) -> None:
    other = {
        "state_dir": "/var/tmp/x",
        "runtime_dir": "/var/tmp/x",
        "system_policy": "",
        "log_level": "debug",
        "policy_mode": "true",
        "groups": "{user: x}",
        "quotas": "{cages_total: 7}",
        "pools": "{userns: 7}",
        "uids": "{cage_count: 7}",
        "ledger": "{keep_days: 7}",
        "ended": "{keep_days: 7}",
        "restart": "{come_back_s: 7}",
        "gateway": "{hosts: {a.example: 10.0.0.1}}",
    }[key]
    old = write(tmp_path)
    new = write(tmp_path, f"{key}: {other}\n") if other else write(tmp_path)
    change = renew(old, new)
    if not other:
        assert change.changed == change.restart == ()
    elif key in AT_START:
        assert (change.restart, change.changed) == ((key,), ())
        assert getattr(change.settings.config, key) == getattr(old.config, key)
    else:
        assert change.restart == () and change.changed[0].startswith(f"{key}.")
        assert change.settings == new


def test_what_is_new_is_told_in_words(tmp_path: Path) -> None:
    old = write(tmp_path, policy="limits: {memory: 1G}\n")
    new = write(
        tmp_path,
        "gateway: {prices: {m: {input: 1, output: 2.5}}}\n",
        "limits: {memory: 2G}\nnetwork: {allowed_domains: [a.example]}\n",
    )
    told = renew(old, new).changed
    assert told[:2] == (
        "network.allowed_domains: none → a.example",
        "limits.memory: 1 GiB → 2 GiB",
    )
    assert "gateway.prices.m.output: nothing → 2.5" in told
    assert [line for line in first(new).changed if line.startswith("limits")] == []
    many = ", ".join(f"m{i}: {{input: 1, output: 2}}" for i in range(MOST_CHANGES))
    flood = renew(old, write(tmp_path, f"gateway: {{prices: {{{many}}}}}\n")).changed
    assert len(flood) == MOST_CHANGES + 1 and flood[-1].endswith(" more")


def test_clients_get_the_very_layer(tmp_path: Path) -> None:
    text = "network: {presets: [python], get_only: [pypi.org]}\nlimits:\n  pids: 9\n"
    settings = write(tmp_path, policy=text)
    assert unpack(settings.packed) == settings.system and settings.system.exists
    assert settings.system.policy.where["limits.pids"] == (str(tmp_path / "policy.yaml"), 3)
    other = write(tmp_path, policy=text.replace("9", "8"))
    assert other.digest != settings.digest
    assert not write(tmp_path, policy=None).system.exists


def test_a_policy_that_fills_a_frame_is_refused(tmp_path: Path) -> None:
    names = "".join(f"  - n{i}.{'a' * 60}.example\n" for i in range(12_000))
    with pytest.raises(AkiosError, match="too long"):
        write(tmp_path, policy=f"network:\n  allowed_domains:\n{names}")


def test_every_finding_has_its_line() -> None:
    text = (
        "quotas:\n  cages_total: many\n  kept_per_user: 3\nfoo: 1\nuids: {first_cage: 5}\n"
        "gateway:\n  hosts:\n    a.example: x\n    B.example: 10.0.0.1\n"
        "  providers:\n    openay: {}\nledger: {check_every_s: 0}\n"
    )
    found, config = find_config_errors(text.encode(), "f")
    assert sorted(int(error.where.rpartition(" ")[2]) for error in found) == [
        2, 4, 5, 8, 9, 11, 12
    ]  # fmt: skip
    assert config.quotas.kept_per_user == 3, "the rest of it is read"
    assert all("`" not in error.what for error in found)
