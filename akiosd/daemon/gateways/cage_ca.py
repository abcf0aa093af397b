"""The certificate authority of one cage: made for it, known to its gateway only, gone with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = timedelta(days=90)
"""How long it is valid; a cage that runs longer has to be started again."""
_CLOCKS_DIFFER_BY = timedelta(hours=1)


class Authority:
    """``certificate`` (X.509) and ``key`` (PKCS #8), both DER.  The key is secret, so no text of
    this object shows it.
    """

    def __init__(self, certificate: bytes, key: bytes, made: datetime) -> None:
        self.certificate = certificate
        self.key = key
        self.made = made

    @classmethod
    def of(cls, certificate: bytes, key: bytes) -> Authority:
        """One that another akiosd made."""
        made = x509.load_der_x509_certificate(certificate).not_valid_before_utc + _CLOCKS_DIFFER_BY
        return cls(certificate, key, made)

    def is_older(self, now: datetime, than: timedelta) -> bool:
        """Whether it was made more than ``than`` before ``now``, or after ``now`` (the clock was
        set).
        """
        return not timedelta(0) <= now - self.made <= than

    @cached_property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return x509.load_der_x509_certificate(self.certificate).public_bytes(
            serialization.Encoding.PEM
        )


def make_authority(cage: str, now: datetime) -> Authority:
    """A new key and its certificate, which may sign leaf certificates and no further authority (RFC
    5280 §4.2.1.9).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "AKIOS"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"AKIOS cage {cage}"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_only_signs_certificates(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(
        certificate.public_bytes(serialization.Encoding.DER),
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        now,
    )


def make_authority_now(cage: str) -> Authority:
    """:func:`make_authority` with the present time."""
    return make_authority(cage, datetime.now(UTC))


def _only_signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
