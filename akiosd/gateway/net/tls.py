"""TLS towards the agent: one certificate for each name, signed by the certificate authority of the
cage.
"""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MAX_CONTEXTS = 256
"""Names whose certificate is kept."""
LEAF_LIFE = timedelta(hours=24)
"""From notBefore to notAfter of a certificate."""
_CLOCKS_DIFFER_BY = timedelta(hours=1)
_RENEW_AFTER = timedelta(hours=12)
# OpenSSL keeps up to 20,480 sessions in a context, for clients without tickets; they are freed with
# the context.
_MAX_HANDSHAKES = 2048


def _now() -> datetime:
    return datetime.now(UTC)


def preload() -> None:
    """Make one certificate and drop it.

    cryptography imports parts of itself on first use, and a confined gateway cannot open modules.
    """
    key, now = ec.generate_private_key(ec.SECP256R1()), _now()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "AKIOS")])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    )
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + LEAF_LIFE)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    authority = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    encoded = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ServerTls(authority, encoded).server_context("localhost")


class ServerTls:
    """Makes TLS server contexts.

    ``ca_certificate`` and ``ca_key`` are DER, as in ``Setup``. All certificates of a gateway share
    one key. Raises ValueError when the two cannot be parsed or do not belong together.
    """

    def __init__(
        self, ca_certificate: bytes, ca_key: bytes, now: Callable[[], datetime] = _now
    ) -> None:
        self._authority = x509.load_der_x509_certificate(ca_certificate)
        key = serialization.load_der_private_key(ca_key, None)
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != self._authority.public_key()
        ):
            raise ValueError("the key of the cage's authority is not that of its certificate")
        self._authority_key = key
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._key_pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._now = now
        self._contexts: OrderedDict[str, _Context] = OrderedDict()

    def server_context(self, name: str) -> ssl.SSLContext:
        """The context for a handshake with a client that asks for ``name``, a canonical host name.

        It speaks TLS 1.2 or later, and offers HTTP/1.1 only. Ask anew for every connection: a
        context is reused for half the life of its certificate, and the least recently used of more
        than ``MAX_CONTEXTS`` is dropped.
        """
        now = self._now()
        found = self._contexts.get(name)
        if found is None or found.is_worn(now):
            found = self._contexts[name] = _Context(self._make_context(name, now), now)
        self._contexts.move_to_end(name)
        if len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)
        found.handshakes += 1
        return found.context

    def _make_context(self, name: str, now: datetime) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 1
        context.set_alpn_protocols(["http/1.1"])
        _load_chain(
            context, self._key_pem + self.leaf(name, now).public_bytes(serialization.Encoding.PEM)
        )
        return context

    def leaf(self, name: str, now: datetime) -> x509.Certificate:
        """A certificate for exactly ``name``, valid from about ``now``, and never longer than the
        authority's own.
        """
        authority = self._authority
        organisation = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "AKIOS")])
        identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(organisation)
            .issuer_name(authority.subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - _CLOCKS_DIFFER_BY, authority.not_valid_before_utc))
            .not_valid_after(
                min(now + LEAF_LIFE - _CLOCKS_DIFFER_BY, authority.not_valid_after_utc)
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_only_signs_handshakes(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
        )
        return builder.sign(self._authority_key, hashes.SHA256())


class _Context:
    """A context, when it was made, and how many handshakes it has served."""

    def __init__(self, context: ssl.SSLContext, made: datetime) -> None:
        self.context = context
        self.made = made
        self.handshakes = 0

    def is_worn(self, now: datetime) -> bool:
        """Whether a new one must be made."""
        return (
            self.handshakes >= _MAX_HANDSHAKES
            or not timedelta(0) <= now - self.made <= _RENEW_AFTER
        )


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Load key and certificate from ``pem`` into ``context``.

    The ssl module reads both from files only, so a memfd is used. A process may open its own
    descriptors by /proc even when it is non-dumpable and they belong to root
    (``proc_fd_permission`` and ``proc_fd_access_allowed`` in the kernel's fs/proc), and Landlock
    does not apply to files that are in no directory tree.
    """
    fd = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        os.write(fd, pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _only_signs_handshakes() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
