"""The keys of providers: where they are kept, who may change them, and that nothing shows them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from akiosd.daemon.base.config import Config
from akiosd.daemon.base.gateway_config import GatewayConfig, PriceConfig, ProviderConfig
from akiosd.daemon.base.key_store import Key, KeyStore, fingerprint
from akiosd.daemon.base.peers import Peer, Role
from akiosd.daemon.gateways.gateway_setup import allowed_providers, gateway_setup, region_of
from akiosd.daemon.requests.keys import KeyKeeper
from akiosd.errors import AkiosError, DeniedError
from akiosd.values.policy import PROVIDERS, Network, Policy
from akiosd.values.records import ProviderKey
from akiosd.values.spend import ModelPrice
from akiosd.wire.check import check_key, check_request
from akiosd.wire.gateway import ProviderSetup, Setup
from akiosd.wire.messages import KeyInfo, KeyList, KeyRemove, Keys, KeySet, Ok

SECRET = b"sk-proj-0123456789abcdef"
AWS = b"AKIAABCDEFGHIJKLMNOP\nwJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.mkdir()
    return path


@pytest.fixture
def store(tmp_path: Path, credentials: Path) -> KeyStore:
    (tmp_path / "state").mkdir()
    return KeyStore(tmp_path / "state", credentials)


def credential(directory: Path, provider: str, data: bytes, mode: int = 0o400) -> None:
    path = directory / provider
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def test_a_key_is_kept_replaced_and_forgotten(store: KeyStore, tmp_path: Path) -> None:
    assert store.get("openai") is None and store.list() == () and not store.remove("openai")
    store.set("openai", SECRET)
    store.set("bedrock", AWS, "eu-west-1")
    file = tmp_path / "state/keys/providers/openai"
    assert (
        stat.S_IMODE(file.stat().st_mode) == 0o600
        and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    )
    assert store.get("openai") == Key(SECRET, "", "set")
    assert store.get("bedrock") == Key(AWS, "eu-west-1", "set")
    store.set("openai", SECRET + b"2")
    assert store.get("openai") == Key(SECRET + b"2", "", "set")
    assert store.remove("openai") and store.get("openai") is None
    assert [path.name for path in file.parent.iterdir()] == ["bedrock"], "and no temporary file"


def test_a_key_that_was_set_goes_before_a_credential(store: KeyStore, credentials: Path) -> None:
    credential(credentials, "openai", b"  " + SECRET + b"\n\n")
    credential(credentials, "bedrock", AWS + b"\nregion=eu-central-1\n")
    assert store.get("openai") == Key(SECRET, "", "credential")
    assert store.get("bedrock") == Key(AWS, "eu-central-1", "credential")
    store.set("openai", b"another-key")
    assert store.get("openai") == Key(b"another-key", "", "set")
    assert store.remove("openai") and store.get("openai") == Key(SECRET, "", "credential")


def test_what_cannot_be_trusted_is_a_problem_and_not_shown(
    store: KeyStore, credentials: Path, tmp_path: Path
) -> None:
    credential(credentials, "openai", SECRET, 0o444)
    credential(credentials, "mistral", b"two words of a secret")
    (credentials / "xai").symlink_to(credentials / "openai")
    os.mkfifo(credentials / "gemini")
    directory = tmp_path / "state/keys/providers"
    directory.mkdir(parents=True)
    (directory / "anthropic").symlink_to("/etc/hostname")
    for provider in ("openai", "mistral", "xai", "gemini", "anthropic"):
        with pytest.raises(AkiosError) as caught:
            store.get(provider)
        assert "secret" not in str(caught.value) and "0123456789" not in str(caught.value)
    assert {info.provider: bool(info.problem) for info in store.list()} == dict.fromkeys(
        ("openai", "mistral", "xai", "gemini", "anthropic"), True
    )
    credential(credentials, "openai", SECRET, 0o440)
    assert store.list()[0] == KeyInfo("openai", "credential", fingerprint("openai", SECRET))


def test_shapes_of_keys() -> None:
    for provider in PROVIDERS:
        check_key(provider, AWS if provider == "bedrock" else SECRET)
    check_key("bedrock", AWS + b"\nIQoJb3JpZ2luX2VjEMf")
    for provider, key in (
        ("openai", b""),
        ("openai", b"short"),
        ("openai", b"with a space"),
        ("openai", b"a" * 9000),
        ("openai", AWS),
        ("openai", "schlüssel-schlüssel".encode()),
        ("openai", b"nul\0nul-nul"),
        ("bedrock", SECRET),
        ("bedrock", AWS + b"\n" + AWS),
        ("bedrock", AWS + b"\n"),
    ):
        with pytest.raises(DeniedError) as caught:
            check_key(provider, key)
        assert not key or key.decode("utf-8", "replace") not in str(caught.value)
    with pytest.raises(DeniedError, match="no provider"):
        check_request(KeySet(provider="../ledger.key", key=SECRET), 0)
    with pytest.raises(DeniedError, match="no provider"):
        check_request(KeyRemove(provider=""), 0)


def test_nothing_that_is_printed_holds_a_key() -> None:
    setup = Setup(
        cage="c",
        policy=Policy(),
        ca_key=SECRET,
        pseudonym_key=SECRET,
        providers=(ProviderSetup("openai", key=SECRET),),
    )
    for value in (
        KeySet(provider="openai", key=SECRET),
        Key(SECRET, "", "set"),
        setup,
        setup.providers[0],
    ):
        assert "0123456789" not in repr(value) + str(value) + f"{[value]}"
    assert SECRET in msgspec.msgpack.encode(setup), "only the wire has it"


class Client:
    def __init__(self) -> None:
        self.replies: list[Any] = []

    async def reply(self, message: Any) -> None:
        self.replies.append(message)


class Ledger:
    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self.records: list[tuple[ProviderKey, bool]] = []

    async def commit(self, log: str, record: ProviderKey) -> None:
        assert log == "host"
        self.records.append((record, self.store.is_set(record.provider)))


def peer(role: Role, uid: int = 1000) -> Peer:
    return Peer(uid, uid, 1, (), role)


async def test_administrators_change_keys_and_the_ledger_hears_it_first(store: KeyStore) -> None:
    ledger, client = Ledger(store), Client()
    keeper = KeyKeeper(SimpleNamespace(keys=store, ledger=ledger))  # type: ignore[arg-type]
    await keeper.set(peer("admin", 1001), KeySet(provider="openai", key=SECRET), [], client)  # type: ignore[arg-type]
    await keeper.list(peer("root", 0), KeyList(), [], client)  # type: ignore[arg-type]
    await keeper.remove(peer("root", 0), KeyRemove(provider="openai"), [], client)  # type: ignore[arg-type]
    assert client.replies == [
        Ok(),
        Keys(keys=(KeyInfo("openai", "set", fingerprint("openai", SECRET)),)),
        Ok(),
    ]
    told = [
        (record.provider, record.action, record.uid, was_set) for record, was_set in ledger.records
    ]
    assert told == [("openai", "set", 1001, False), ("openai", "removed", 0, True)]
    assert all(b"0123456789" not in msgspec.msgpack.encode(record) for record, _ in ledger.records)
    with pytest.raises(DeniedError, match="no key of openai"):
        await keeper.remove(peer("root", 0), KeyRemove(provider="openai"), [], client)  # type: ignore[arg-type]
    with pytest.raises(AkiosError, match="only bedrock"):
        await keeper.set(
            peer("root"), KeySet(provider="openai", key=SECRET, region="eu-west-1"), [], client
        )  # type: ignore[arg-type]
    for role in ("user", "monitor"):
        for handler, request in (
            (keeper.set, KeySet(provider="openai", key=SECRET)),
            (keeper.list, KeyList()),
            (keeper.remove, KeyRemove(provider="openai")),
        ):
            with pytest.raises(DeniedError, match="only root and administrators"):
                await handler(peer(role), request, [], client)  # type: ignore[arg-type, operator]
    assert store.list() == () and len(ledger.records) == 2


def test_a_gateway_is_told_what_its_policy_allows(store: KeyStore) -> None:
    for provider in ("openai", "anthropic"):
        store.set(provider, SECRET + provider.encode())
    store.set("bedrock", AWS)
    config = Config(
        gateway=GatewayConfig(
            hosts={"a.example": "10.0.0.1"},
            prices={"m": PriceConfig(input=1, output=2.5)},
            providers={
                "bedrock": ProviderConfig(region="eu-west-1"),
                "xai": ProviderConfig(upstream="http://x"),
            },
        )
    )
    host: Any = SimpleNamespace(config=config, keys=store, settings=SimpleNamespace(roots=b"pem"))
    network = Network(providers=("openai", "xai", "bedrock"))
    found = gateway_setup(host, Policy(network=network))
    assert found.providers == (
        ProviderSetup("openai", key=SECRET + b"openai"),
        ProviderSetup("xai", upstream="http://x"),
        ProviderSetup("bedrock", key=AWS, region="eu-west-1"),
    )
    assert found.prices == {"m": ModelPrice(1_000_000, 2_500_000)}
    assert (found.hosts, found.roots) == ({"a.example": "10.0.0.1"}, b"pem")
    store.set("bedrock", AWS, "us-west-2")
    assert region_of(host, "bedrock") == "us-west-2" and region_of(host, "openai") == ""
    none = Policy(network=Network(llm=False))
    assert allowed_providers(none) == () == gateway_setup(host, none).providers
    assert allowed_providers(Policy()) == PROVIDERS


def test_a_credential_has_the_name_that_the_configuration_gives(
    tmp_path: Path, credentials: Path
) -> None:
    names = {"openai": "work-key"}
    (tmp_path / "state").mkdir(exist_ok=True)
    store = KeyStore(tmp_path / "state", credentials, lambda name: names.get(name, ""))
    credential(credentials, "openai", b"not-this-one")
    credential(credentials, "mistral", SECRET)
    with pytest.raises(AkiosError, match="names the credential work-key, and there is none"):
        store.get("openai")
    credential(credentials, "work-key", SECRET)
    assert store.get("openai") == store.get("mistral") == Key(SECRET, "", "credential")
    with pytest.raises(AkiosError, match="there is none"):
        KeyStore(tmp_path / "state", None, lambda name: "work-key").get("openai")


def test_a_credential_that_another_group_reads_is_refused(
    store: KeyStore, credentials: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: changes a group")
    credential(credentials, "openai", SECRET, 0o440)
    assert store.get("openai") is not None, "root's group: an access list's mask"
    os.chown(credentials / "openai", 0, 12345)
    with pytest.raises(AkiosError, match="users other than root may read"):
        store.get("openai")
