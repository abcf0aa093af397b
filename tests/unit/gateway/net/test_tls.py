"""The authority of a cage and the leaves its gateway signs: judged by two other implementations,
and by handshakes.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import ssl
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from akiosd.daemon.gateways.cage_ca import LIFE, Authority, make_authority
from akiosd.gateway.net import tls
from akiosd.gateway.net.tls import LEAF_LIFE, ServerTls
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "api.example.com"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("c-aaaaaaaaaaaa", NOW)


def signer(authority: Authority, now: datetime = NOW) -> ServerTls:
    return ServerTls(authority.certificate, authority.key, lambda: now)


def accepts(authority: Authority, leaf: x509.Certificate, name: str, when: datetime) -> bool:
    store = Store([x509.load_der_x509_certificate(authority.certificate)])
    verifier = PolicyBuilder().store(store).time(when).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(leaf, [])
    except VerificationError:
        return False
    return True


def test_a_leaf_is_good_for_its_name_its_time_and_its_cage(authority: Authority) -> None:
    leaf = signer(authority).leaf(NAME, NOW)
    assert accepts(authority, leaf, NAME, NOW)
    assert accepts(authority, leaf, NAME, NOW - timedelta(minutes=50)), "clocks differ"
    assert not accepts(authority, leaf, "www." + NAME, NOW)
    assert not accepts(authority, leaf, "example.com", NOW)
    assert not accepts(authority, leaf, NAME, NOW + LEAF_LIFE)
    assert not accepts(make_authority("c-aaaaaaaaaaaa", NOW), leaf, NAME, NOW), (
        "the name of a cage is no key"
    )


def test_what_an_authority_says_of_itself(authority: Authority) -> None:
    certificate = x509.load_der_x509_certificate(authority.certificate)
    text = certificate.subject.rfc4514_string()
    assert "AKIOS" in text and "c-aaaaaaaaaaaa" in text
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and basic.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.key_cert_sign and not usage.value.digital_signature
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc == NOW + LIFE
    assert x509.load_pem_x509_certificate(authority.pem) == certificate


def test_a_leaf_lives_a_day_and_never_longer_than_its_authority(authority: Authority) -> None:
    leaf = signer(authority).leaf(NAME, NOW)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(hours=24)
    late = signer(authority).leaf(NAME, NOW + LIFE - timedelta(minutes=5))
    assert late.not_valid_after_utc == NOW + LIFE


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl(1)")
def test_openssl_agrees(authority: Authority, tmp_path: Path) -> None:
    root, good, other = tmp_path / "ca.pem", tmp_path / "leaf.pem", tmp_path / "other.pem"
    root.write_bytes(authority.pem)
    good.write_bytes(signer(authority).leaf(NAME, NOW).public_bytes(Encoding.PEM))
    other.write_bytes(make_authority("c-bbbbbbbbbbbb", NOW).pem)

    def verify(trusted: Path, name: str, when: datetime = NOW) -> bool:
        words = [
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-attime",
            str(int(when.timestamp())),
            "-verify_hostname",
            name,
        ]
        done = subprocess.run(
            ["openssl", "verify", *words, "-CAfile", trusted, good], capture_output=True
        )
        return done.returncode == 0

    assert verify(root, NAME)
    assert (
        not verify(other, NAME)
        and not verify(root, "evil.example")
        and not verify(root, NAME, NOW + LEAF_LIFE)
    )


def test_a_key_that_is_not_the_certificates_is_refused(authority: Authority) -> None:
    with pytest.raises(ValueError, match="is not that of its certificate"):
        ServerTls(authority.certificate, make_authority("c-bbbbbbbbbbbb", NOW).key)


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = NAME
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends in memory; raises ssl.SSLError where one of them refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(20):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return ends[0], ends[1]
    raise AssertionError("the handshake does not end")


def client_context(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@pytest.fixture(scope="module")
def today() -> Authority:
    return make_authority("c-cccccccccccc", datetime.now(UTC))


def test_handshakes(today: Authority) -> None:
    server = ServerTls(today.certificate, today.key).server_context(NAME)
    ours, theirs = handshake(server, client_context(today, "h2", "http/1.1"))
    assert (theirs.selected_alpn_protocol(), theirs.version()) == ("http/1.1", "TLSv1.3")
    assert list(ours.getpeercert()["subjectAltName"]) == [("DNS", NAME)]  # type: ignore[index]
    assert handshake(server, client_context(today, "h2"))[0].selected_alpn_protocol() is None
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(today), "other.example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client_context(make_authority("c-x", datetime.now(UTC))))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(today: Authority) -> None:
    server = ServerTls(today.certificate, today.key).server_context(NAME)
    client = client_context(today)
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(server, client)[0].version() == "TLSv1.2"
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(server, client)


def test_contexts_are_kept_renewed_and_bounded(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [NOW]
    server = ServerTls(authority.certificate, authority.key, lambda: clock[0])
    first = server.server_context(NAME)
    assert server.server_context(NAME) is first and server.server_context("b.example") is not first
    clock[0] += timedelta(hours=13)
    second = server.server_context(NAME)
    assert second is not first, "half of its leaf's life is over"
    clock[0] -= timedelta(hours=13)
    assert server.server_context(NAME) is not second, "a clock that went back"
    monkeypatch.setattr(tls, "MAX_CONTEXTS", 3)
    kept = server.server_context(NAME)
    for number in range(5):
        server.server_context(f"n{number}.example")
        assert server.server_context(NAME) is kept, "the least used one is forgotten"
    assert len(server._contexts) == 3
    monkeypatch.setattr(tls, "_MAX_HANDSHAKES", 10)
    assert any(server.server_context(NAME) is not kept for _ in range(10)), (
        "sessions are not hoarded"
    )


def confine() -> None:
    """As a gateway: another uid, no new privileges, non-dumpable, a Landlock ruleset that allows no
    file at all.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    libc.prctl(38, 1, 0, 0, 0)
    libc.prctl(4, 0, 0, 0, 0)
    ruleset = libc.syscall(444, ctypes.create_string_buffer(struct.pack("<Q", (1 << 13) - 1)), 8, 0)
    assert ruleset >= 0 and libc.syscall(446, ruleset, 0) == 0, os.strerror(ctypes.get_errno())
    assert libc.prctl(3, 0, 0, 0, 0) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: takes another uid")
def test_a_leaf_is_loaded_in_a_confined_process(today: Authority, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    tmp_path.chmod(0o755)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            server = ServerTls(today.certificate, today.key)
            readable = (tmp_path / "file").read_text()
            confine()
            try:
                (tmp_path / "file").read_text()
            except PermissionError:
                handshake(server.server_context(NAME), client_context(today))
                os.write(write_end, b"served " + readable.encode())
        except BaseException as error:
            os.write(write_end, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with os.fdopen(read_end, "rb") as words:
        assert words.read() == b"served x"
