"""What a cage trusts and where its agent finds API keys: paths, environment variables,
placeholders.

The host's certificates and that of the cage's own authority stand in one directory of the cage's
``/etc``. Known trust stores lead there, by a link in ``/etc`` or by a mount over the file;
environment variables are the second way.
"""

from __future__ import annotations

DIRECTORY = "/etc/akios"
BUNDLE_NAME = "ca-bundle.pem"
"""The host's root certificates and the cage's."""
AUTHORITY_NAME = "ca.pem"
"""The cage's certificate alone."""
JAVA_NAME = "cacerts"
"""The bundle as a Java key store."""

BUNDLE = f"{DIRECTORY}/{BUNDLE_NAME}"
AUTHORITY = f"{DIRECTORY}/{AUTHORITY_NAME}"
JAVA = f"{DIRECTORY}/{JAVA_NAME}"

# Those that add to what a program trusts get the one certificate: node(1) parses the file at every start.
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


# The vendor's prefix, because programs check it before they call; the rest says what it is.
PLACEHOLDERS: dict[str, dict[str, str]] = {
    "openai": {"OPENAI_API_KEY": "sk-proj-akios-placeholder-the-key-stays-outside-the-cage"},
    "anthropic": {"ANTHROPIC_API_KEY": "sk-ant-api03-akios-placeholder-the-key-stays-outside-the-cage"},
    "gemini": dict.fromkeys(("GEMINI_API_KEY", "GOOGLE_API_KEY"), "AIzaSyAkiosPlaceholderKeyStaysOutsideIt"),
    "mistral": {"MISTRAL_API_KEY": "akiosPlaceholderKeyStaysOutside0"},
    "xai": {"XAI_API_KEY": "xai-akios-placeholder-the-key-stays-outside-the-cage"},
    "bedrock": {
        "AWS_ACCESS_KEY_ID": "AKIAPLACEHOLDERAKIOS",
        "AWS_SECRET_ACCESS_KEY": "akiosPlaceholderTheKeyStaysOutsideTheCag",
    },
    "ollama": {},
}
# Other ways to hand a program a key, or to make it look for one where none is.
OTHER_KEYS: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
    "bedrock": ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE"),
}
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
DEFAULT_REGION = "us-east-1"


def hidden_variables(providers: tuple[str, ...]) -> frozenset[str]:
    """Variables that would carry a real key of one of ``providers`` into the cage."""
    tables = (PLACEHOLDERS, OTHER_KEYS)
    return frozenset(name for table in tables for provider in providers for name in table.get(provider, ()))


def environment(providers: tuple[str, ...], region: str = "") -> dict[str, str]:
    """The trust variables, and the placeholders of ``providers``; ``region`` is that of bedrock."""
    found = dict(VARIABLES)
    for provider in providers:
        found |= PLACEHOLDERS.get(provider, {})
    if "bedrock" in providers:
        found |= dict.fromkeys(REGION_VARIABLES, region or DEFAULT_REGION)
    return found
