"""akiosd.yaml and the system policy: every refusal names its line, and only root's word counts."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from akiosd.daemon.base.config import (
    Config,
    load_config,
    load_roots,
    parse_config,
    read_trusted,
)
from akiosd.daemon.base.gateway_config import GatewayConfig, find_expired
from akiosd.daemon.base.setting_ranges import RANGES
from akiosd.daemon.base.settings import load_system_policy
from akiosd.daemon.gateways.cage_ca import make_authority_now
from akiosd.errors import AkiosError
from akiosd.values.policy import DEFAULT_POLICY
from akiosd.values.spend import ModelPrice


def test_an_empty_file_is_the_default() -> None:
    assert parse_config(b"", "f") == parse_config(b"# nothing\n", "f") == Config()


def test_every_number_has_its_range_and_its_ends_are_taken() -> None:
    numbers = {
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(Config)
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct)
        for key in msgspec.structs.fields(section.type)
        if key.type is int and section.name != "uids"
    }
    assert numbers == set(RANGES)
    for setting, allowed in RANGES.items():
        if setting == "ledger.host_keep_days":
            continue  # it stands with keep_days only
        section, _, key = setting.partition(".")
        for number in (allowed.least, allowed.most):
            parse_config(f"{section}: {{{key}: {number}}}".encode(), "f")
        for number in (allowed.least - 1, allowed.most + 1):
            with pytest.raises(AkiosError, match=f"{setting} is {number}, and may be"):
                parse_config(f"{section}: {{{key}: {number}}}".encode(), "f")


def test_values_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "akiosd.yaml"
    file.write_text("state_dir: /srv/akios\ngroups:\n  user: agents\nquotas: {cages_per_user: 3}\n")
    file.chmod(0o600)
    config = load_config(file, runtime_dir="/tmp/r", log_level=None)[0]
    assert (config.state_dir, config.runtime_dir, config.groups.user) == (
        "/srv/akios",
        "/tmp/r",
        "agents",
    )
    assert (config.quotas.cages_per_user, config.log_level) == (3, "info")


def test_a_root_that_is_not_valid_now_is_told() -> None:
    pem, now = make_authority_now("cage").pem, datetime.now(UTC)
    assert find_expired(b"", now) == find_expired(pem, now) == []
    for then in (now - timedelta(days=1), now + timedelta(days=365)):
        (told,) = find_expired(pem, then)
        assert f"is valid from {now:%Y}" in told and "CN=" in told


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("log_level: info\nstate_dri: /x\n", "f, line 2", "did you mean state_dir"),
        ("groups:\n  usr: x\n", "f, line 2", "did you mean user"),
        (
            "quotas:\n  cages_total: many\n",
            "f, line 2",
            "quotas.cages_total: expected a whole number, got text",
        ),
        ("quotas: 3\n", "f, line 1", "keys and values"),
        ("log_level: loud\n", "f, line 1", "log_level: there is no 'loud'"),
        ("a: 1\na: 2\n", "f, line 2", "stands twice"),
        ("a: &x [1]\nb: *x\n", "f, line 2", "aliases"),
        ("a: [\n", "f, line 2", "not valid YAML"),
        ("- 1\n", "f, line 1", "keys and values"),
        ("state_dir: here\n", "f, line 1", "not an absolute path"),
        ("uids: {first_cage: 1000}\n", "f, line 1", "ordinary users"),
        ("uids: {first_cage: 2147000000}\n", "f, line 1", "overlap"),
        ("uids: {display_base: 4294967295}\n", "f, line 1", "end above"),
        ("uids: {base: 1}\n", "f, line 1", "unknown key uids.base"),
        ("quotas: {cages_total: -1}\n", "f, line 1", "is -1, and may be 0 to 100000 cages"),
        ("ledger: {keep_days: -1}\n", "f, line 1", "is -1, and may be 0 to 36500 days"),
        ("ledger: {wipe_passes: 36}\n", "f, line 1", "is 36, and may be 0 to 35 passes"),
        ("ledger: {check_every_s: 0}\n", "f, line 1", "is 0, and may be 1 to 86400 seconds"),
        ("pools: {disk_image_bytes: 1}\n", "f, line 1", "is 1, and may be 64 MiB to 512.0 TiB"),
        ("ledger: {host_keep_days: 30}\n", "f, line 1", "are still kept"),
        ("ledger: {host_keep_days: 30, keep_days: 31}\n", "f, line 1", "are still kept"),
        ("gateway:\n  host: {}\n", "f, line 2", "did you mean hosts"),
        (
            "gateway:\n  providers:\n    openai:\n      upsteam: x\n",
            "f, line 4",
            "did you mean upstream",
        ),
        ("gateway: {providers: {openay: {}}}\n", "f, line 1", "no provider"),
        (
            "gateway: {providers: {openai: {upstream: 'ftp://x'}}}\n",
            "f, line 1",
            "URL",
        ),
        (
            "gateway: {providers: {openai: {upstream: 'https://u:p@x/'}}}\n",
            "f, line 1",
            "URL",
        ),
        (
            "gateway: {providers: {openai: {upstream: 'https://x/?a=b'}}}\n",
            "f, line 1",
            "URL",
        ),
        (
            "gateway: {providers: {openai: {upstream: 'https://x/v1/'}}}\n",
            "f, line 1",
            "write the URL without that end: https://x",
        ),
        (
            "gateway: {providers: {openai: {upstream: 'https://x/y/v1/chat/completions'}}}\n",
            "f, line 1",
            "write the URL without that end: https://x/y",
        ),
        (
            "gateway: {providers: {openai: {region: eu-west-1}}}\n",
            "f, line 1",
            "only bedrock",
        ),
        (
            "gateway: {providers: {bedrock: {region: evil.example/}}}\n",
            "f, line 1",
            "region",
        ),
        ("gateway: {roots: ca.pem}\n", "f, line 1", "absolute"),
        ("gateway: {hosts: {'*.a.example': 10.0.0.1}}\n", "f, line 1", "one plain name"),
        ("gateway: {hosts: {'a.example:80': 10.0.0.1}}\n", "f, line 1", "one plain name"),
        ("gateway: {hosts: {10.0.0.1: 10.0.0.1}}\n", "f, line 1", "address, not a name"),
        ("gateway: {hosts: {A.example: 10.0.0.1}}\n", "f, line 1", "one plain name"),
        ("gateway:\n  prices:\n    m: {input: 1}\n", "f, line 2", "missing required field"),
        ("gateway: {prices: {m: {input: -1, output: 1}}}\n", "f, line 1", "dollars"),
        ("gateway: {prices: {m: {input: .inf, output: 1}}}\n", "f, line 1", "dollars"),
        (
            "gateway: {prices: {m: {input: 1, output: 1, context: 0}}}\n",
            "f, line 1",
            "numbers of tokens",
        ),
    ],
)
def test_refusals_name_the_line(text: str, where: str, says: str) -> None:
    with pytest.raises(AkiosError) as caught:
        parse_config(text.encode(), "f")
    assert caught.value.where == where
    assert says in str(caught.value)


GOOD = ("10.0.0.1", "10.0.0.1:8443", "::1", "fd00::7", "[fd00::7]", "[fd00::7]:1", "fd00::")
BAD = ("", "10.0.0", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "[::1]:", "[::1", "::1]", "fe80::1%eth0", "a.example",
       "[10.0.0.1:80]", "10.0.0.1:80:80", "[::1]x", "١٠.0.0.1")  # fmt: skip


def test_addresses_of_hosts() -> None:
    for address in GOOD:
        found = parse_config(
            f"gateway: {{hosts: {{a.example: '{address}'}}}}".encode(), "f"
        ).gateway.hosts
        assert found == {"a.example": address}
    for address in BAD:
        with pytest.raises(AkiosError, match="not an address") as caught:
            parse_config(f"gateway: {{hosts: {{a.example: '{address}'}}}}".encode(), "f")
        assert caught.value.where == "f, line 1"


def test_prices_are_never_rounded_down() -> None:
    text = b"gateway: {prices: {m: {input: 0.1, output: 2, cache_read: 0.0000001}, n: {input: 0, output: 0.07}}}"
    prices = {name: price.price() for name, price in parse_config(text, "f").gateway.prices.items()}
    assert prices["m"] == ModelPrice(input=100_000, output=2_000_000, cache_read=1, cache_write=-1)
    assert (prices["n"].input, prices["n"].output, prices["n"].context) == (0, 70_000, 200_000)


def test_roots_are_certificates_that_only_root_writes(tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    config = Config(gateway=GatewayConfig(roots=str(file)))
    assert load_roots(Config()) == b""
    with pytest.raises(AkiosError, match="no such file"):
        load_roots(config)
    pem = make_authority_now("cage").pem
    file.write_bytes(b"# ours\n" + pem + pem)
    file.chmod(0o644)
    assert load_roots(config).count(b"BEGIN") == 2
    file.chmod(0o664)
    with pytest.raises(AkiosError, match="users other than its owner can write it"):
        load_roots(config)
    file.chmod(0o644)
    for text in (b"", b"no certificate", pem[:200] + pem[240:], pem * 1000):
        file.write_bytes(text)
        with pytest.raises(AkiosError, match=r"PEM certificates|larger than"):
            load_roots(config)


def test_uids_of_cages() -> None:
    uids = Config().uids
    last = uids.first_cage + uids.cage_count - 1
    assert all(
        uids.is_caged(uid)
        for uid in (uids.first_cage, last, uids.display_base, uids.display_base + 1000)
    )
    assert not any(uids.is_caged(uid) for uid in (0, 1000, 65534, uids.first_cage - 1, last + 1))


def test_only_the_owner_may_be_able_to_write(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\n")
    file.chmod(0o644)
    assert load_system_policy(file)[1].policy == DEFAULT_POLICY
    file.chmod(0o664)
    with pytest.raises(AkiosError, match="users other than its owner can write it"):
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
    system, merged, data = load_system_policy(Path("/nonexistent/policy.yaml"))
    assert data is None and not system.exists and merged.policy.limits == DEFAULT_POLICY.limits
    assert merged.policy.projects_may.allowed_domains == "any", "as the file that AKIOS comes with"
    with pytest.raises(AkiosError, match="no such file"):
        load_config(Path("/nonexistent/akiosd.yaml"))


def test_the_system_policy_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nlimits:\n  memroy: 1G\n")
    file.chmod(0o600)
    with pytest.raises(AkiosError, match="memory") as caught:
        load_system_policy(file)
    assert caught.value.where == f"{file}, line 3"
