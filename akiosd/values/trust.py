"""What a cage trusts: the places of certificates, and the variables that name them.

The host's certificates and that of the cage's own authority stand in one directory of the cage's
``/etc``. Known trust stores lead there, by a link in ``/etc`` or by a mount over the file;
environment variables are the second way.
"""

from __future__ import annotations

DIRECTORY = "/etc/akios"
BUNDLE_NAME = "ca-bundle.pem"
"""The root certificates of the host and of ``gateway.roots``, and the cage's."""
AUTHORITY_NAME = "ca.pem"
"""The cage's certificate, and those of ``gateway.roots``."""
JAVA_NAME = "cacerts"
"""The bundle as a Java key store."""

BUNDLE = f"{DIRECTORY}/{BUNDLE_NAME}"
AUTHORITY = f"{DIRECTORY}/{AUTHORITY_NAME}"
JAVA = f"{DIRECTORY}/{JAVA_NAME}"

# Those that add to what a program trusts get the one certificate: node(1) parses the file at every
# start.
VARIABLES: dict[str, str] = {
    "SSL_CERT_FILE": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "CURL_CA_BUNDLE": BUNDLE,
    "AWS_CA_BUNDLE": BUNDLE,
    "GIT_SSL_CAINFO": BUNDLE,
    "PIP_CERT": BUNDLE,
    "CARGO_HTTP_CAINFO": BUNDLE,
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": BUNDLE,
    "NODE_EXTRA_CA_CERTS": AUTHORITY,
    "DENO_CERT": AUTHORITY,
}

MAX_STORES = 64
STORES: dict[str, str] = {
    "cacert.pem": BUNDLE_NAME,  # certifi and its copies, botocore, conda
    "roots.pem": BUNDLE_NAME,  # grpc
    "cacerts.txt": BUNDLE_NAME,  # httplib2
    "ca-certificates.crt": BUNDLE_NAME,  # stripe
    "cacerts": JAVA_NAME,
}
"""Names of files that are trust stores wherever they stand, and which of the cage's files is put
over each.
"""


def store_kind(path: bytes) -> str:
    """Which of the cage's files covers this trust store, whose name is one of ``STORES``."""
    return STORES[path.rpartition(b"/")[2].decode()]
