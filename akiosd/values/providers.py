"""The LLM providers: what is known of each before any of its requests is read, one row a provider.

A provider is a row here and a class in the module of the same name in
:mod:`akiosd.gateway.llm.providers`, which says what its requests and answers mean.  Who needs a
fact of a provider reads it here and names none: hosts and keys for the gateway, price lists for the
meter, variables for the cage's environment, prompts for ``akiosctl keys``.

These are named tuples because ``akiosctl run`` reads them where an option names a variable, and it
imports no msgspec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class KeyForm(NamedTuple):
    """How a key is given, in lines.

    ``prompts`` ask for one line each, "" for the provider's name alone; the last ``optional`` of
    them may be left out.  ``words`` say in a refusal what was wanted, ``help`` is a sentence for
    ``akiosctl keys set --help``.
    """

    prompts: tuple[str, ...] = ("",)
    optional: int = 0
    words: str = "one key"
    help: str = ""


class Regions(NamedTuple):
    """A provider that has hosts in regions.

    ``label`` is the regular expression of a region, which is the ``*`` in the provider's hosts: one
    whole label.  ``variables`` tell the vendor's clients of the region, ``default`` is where
    requests go when nobody says.
    """

    label: str
    variables: tuple[str, ...]
    default: str


ErrorPart = Literal["null", "rule", "type", "text", "status", "name"]


class ErrorShape(NamedTuple):
    """The JSON in which the provider's clients expect an error, as its documentation has it.

    AKIOS's own fields stand beneath the key ``beneath``, or on the top level when that is "".
    ``first`` are fixed fields before them on the top level, ``fields`` are those that are added
    beside or replace them, by what is put there: ``null``, the ``rule``, the ``type`` of the
    answer, the ``text`` (message and hint), the HTTP ``status`` or its ``name`` in ``names``
    (``other`` where it has none).  ``header`` is the response header that has the name.
    """

    beneath: str = "error"
    first: Mapping[str, str] = {}
    fields: Mapping[str, ErrorPart] = {}
    names: Mapping[int, str] = {}
    other: str = ""
    header: str = ""


class ModelNames(NamedTuple):
    """How the provider spells its models, for looking up a price.

    ``prefixes`` are taken off one after the other.  ``geographies`` are the first part of the name of a model's
    profile in a part of the world, which has the price of the model.  ``resold``: beginning of a name → the provider
    whose model it is.  ``given_away``: beginnings of the names of models that are listed without a price because
    they have none.  ``longest``: (beginning, most tokens of one answer) as the vendor's model pages have them, the
    first that fits counts.
    """

    prefixes: tuple[str, ...] = ()
    geographies: tuple[str, ...] = ()
    resold: Mapping[str, str] = {}
    given_away: tuple[str, ...] = ()
    longest: tuple[tuple[str, int], ...] = ()


class ProviderFacts(NamedTuple):
    """One provider.

    name: as the policy, ``akiosd.yaml`` and the log have it.  hosts: where its API is, on port 443.
    local_port: the port of this machine on which it listens instead; 0 for none.  key_header,
    key_prefix: the request header with the key, and what stands before the key in it.  needs_key:
    False where requests without a key are answered.  key: how a key is given.  signed_as: the name
    of the service in AWS Signature Version 4, which is over the body too; "" where the key itself
        is sent.
    regions: None for a provider without.
    placeholders: the variables that programs take a key from → what stands there in a cage.  It has the vendor's
        prefix and length, because programs check them before they call; the rest says what it is.
    other_variables: other ways to hand a program a key, or to make it look for one where none is.
    client_headers: request headers of the vendor's own clients (lower case) that are passed on.
    patience_seconds: how long a call may wait for others to leave room in the budget; half of what
    the vendor's clients
        wait for an answer, and not more than four minutes where that is ten minutes or for ever.
    login_headers, login_tokens: a header, or the beginning of a token, that shows a log-in instead of a key → words.
    error: the shape of its errors.
    price_list: the provider's name in genai-prices; "" where it has no list.
    is_free: its calls cost nothing.
    models: the spelling of model names.
    called_at: the regular expression of the ends of paths that are posted to for an answer of a model.
    begins: the first segments of its paths; clients and documentation often count them to the base URL.
    telemetry_name: its name in OpenTelemetry's conventions (``gen_ai.provider.name``); "" where it is ours.
    spoken_at: hosts of others (or "*." and their end) that speak its interface → what stands before its paths there.
    """

    name: str
    hosts: tuple[str, ...] = ()
    local_port: int = 0
    key_header: bytes = b"authorization"
    key_prefix: bytes = b"Bearer "
    needs_key: bool = True
    key: KeyForm = KeyForm()
    signed_as: str = ""
    regions: Regions | None = None
    placeholders: Mapping[str, str] = {}
    other_variables: tuple[str, ...] = ()
    client_headers: tuple[bytes, ...] = ()
    patience_seconds: float = 240.0
    login_headers: Mapping[bytes, str] = {}
    login_tokens: Mapping[bytes, str] = {}
    error: ErrorShape = ErrorShape()
    price_list: str = ""
    is_free: bool = False
    models: ModelNames = ModelNames()
    called_at: str = ""
    begins: tuple[str, ...] = ("v1",)
    telemetry_name: str = ""
    spoken_at: Mapping[str, str] = {}

    @property
    def local_url(self) -> str:
        """The base URL of a provider on this machine; only with a ``local_port``."""
        return f"http://127.0.0.1:{self.local_port}"


_ROWS = (
    ProviderFacts(
        "openai",
        hosts=("api.openai.com",),
        placeholders={"OPENAI_API_KEY": "sk-proj-akios-placeholder-the-key-stays-outside-the-cage"},
        client_headers=(
            b"openai-organization", b"openai-project", b"openai-beta", b"openai-client-user-agent",
        ),
        login_headers={b"chatgpt-account-id": "a ChatGPT log-in"},
        error=ErrorShape(fields={"message": "text", "param": "null", "code": "rule"}),
        price_list="openai",
        models=ModelNames(
            given_away=("omni-moderation", "text-moderation"),
            longest=(
                ("gpt-3.5", 4_096), ("gpt-4-32k", 8_192), ("gpt-4-", 4_096), ("gpt-4o-2024-05-13", 4_096),
                ("gpt-4o", 16_384), ("chatgpt-4o", 16_384), ("gpt-4.1", 32_768), ("gpt-4.5", 16_384), ("gpt-4", 8_192),
                ("gpt-5-chat", 16_384), ("gpt-5.1-chat", 16_384), ("gpt-5.2-chat", 16_384), ("gpt-5.3-chat", 16_384),
                ("gpt-5", 128_000), ("gpt-6", 128_000), ("gpt-audio", 16_384), ("o1-mini", 65_536),
                ("o1-preview", 32_768), ("o1", 100_000), ("o3", 100_000), ("o4", 100_000), ("codex", 100_000),
                ("computer-use", 1_024),
            ),
        ),
        called_at="/v1/(chat/completions|completions|responses|embeddings)",
        # As each of them documents its interface "compatible with OpenAI".
        spoken_at={
            "openrouter.ai": "/api",
            "api.groq.com": "/openai",
            "*.openai.azure.com": "/openai",
            "*.services.ai.azure.com": "/openai",
            "*.cognitiveservices.azure.com": "/openai",
            "api.together.xyz": "",
            "api.together.ai": "",
            "api.deepseek.com": "",
            "api.fireworks.ai": "/inference",
            "api.cerebras.ai": "",
            "api.sambanova.ai": "",
            "api.moonshot.ai": "",
            "api.moonshot.cn": "",
            "api.hyperbolic.xyz": "",
            "api.novita.ai": "/openai",
            "api.studio.nebius.com": "",
            "api.tokenfactory.nebius.com": "",
            "integrate.api.nvidia.com": "",
            "router.huggingface.co": "",
            "dashscope.aliyuncs.com": "/compatible-mode",
            "dashscope-intl.aliyuncs.com": "/compatible-mode",
            "ai-gateway.vercel.sh": "",
        },
    ),
    ProviderFacts(
        "anthropic",
        hosts=("api.anthropic.com",),
        key_header=b"x-api-key",
        key_prefix=b"",
        placeholders={"ANTHROPIC_API_KEY": "sk-ant-api03-akios-placeholder-the-key-stays-outside-the-cage"},
        other_variables=("ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        client_headers=(
            b"anthropic-version", b"anthropic-beta", b"anthropic-dangerous-direct-browser-access", b"x-app",
        ),
        login_tokens={b"sk-ant-oat": "a Claude log-in (OAuth)"},
        error=ErrorShape(first={"type": "error"}, fields={"message": "text"}),
        price_list="anthropic",
        models=ModelNames(
            longest=(
                ("claude-2", 4_096), ("claude-3-5", 8_192), ("claude-3-7", 64_000), ("claude-3-", 4_096),
                ("claude-opus-4-0", 32_000), ("claude-opus-4-1", 32_000), ("claude-opus-4-2", 32_000),
                ("claude-", 64_000),
            ),
        ),
        called_at="/v1/messages",
    ),
    ProviderFacts(
        "gemini",
        hosts=("generativelanguage.googleapis.com",),
        key_header=b"x-goog-api-key",
        key_prefix=b"",
        placeholders={
            "GEMINI_API_KEY": "AIzaSyAkiosPlaceholderKeyStaysOutsideIt",
            "GOOGLE_API_KEY": "AIzaSyAkiosPlaceholderKeyStaysOutsideIt",
            # Vercel's AI SDK, and the program llm.
            "GOOGLE_GENERATIVE_AI_API_KEY": "AIzaSyAkiosPlaceholderKeyStaysOutsideIt",
            "LLM_GEMINI_KEY": "AIzaSyAkiosPlaceholderKeyStaysOutsideIt",
        },
        client_headers=(b"x-goog-api-client",),
        login_tokens={b"ya29.": "a Google log-in (OAuth)"},
        error=ErrorShape(
            fields={"message": "text", "code": "status", "status": "name"},
            # google.rpc.Code names for HTTP statuses (googleapis google/rpc/code.proto).
            names={
                400: "INVALID_ARGUMENT", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT",
                426: "FAILED_PRECONDITION", 402: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED",
                502: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
            },
            other="PERMISSION_DENIED",
        ),
        price_list="google",
        telemetry_name="gcp.gemini",
        models=ModelNames(
            # models/x (API), publishers/google/models/x (Vertex AI).  tunedModels/x is somebody's
            # own.
            prefixes=("publishers/google/", "models/"),
            given_away=("gemma-",),
            longest=(("gemini-1", 8_192), ("gemini-2.0", 8_192), ("gemma", 8_192), ("gemini-", 65_536)),
        ),
        called_at="/v1(beta)?/models/[^/]+:(streamG|g)enerateContent",
        begins=("v1", "v1beta", "v1alpha"),
    ),
    ProviderFacts(
        "mistral",
        hosts=("api.mistral.ai", "codestral.mistral.ai"),
        placeholders={
            "MISTRAL_API_KEY": "akiosPlaceholderKeyStaysOutside0",
            # The program llm, and editors that complete code.
            "LLM_MISTRAL_KEY": "akiosPlaceholderKeyStaysOutside0",
            "CODESTRAL_API_KEY": "akiosPlaceholderKeyStaysOutside0",
        },
        error=ErrorShape(
            "", first={"object": "error"}, fields={"message": "text", "param": "null", "code": "rule"}
        ),
        price_list="mistral",
        telemetry_name="mistral_ai",
    ),
    ProviderFacts(
        "xai",
        hosts=("api.x.ai",),
        placeholders={"XAI_API_KEY": "xai-akios-placeholder-the-key-stays-outside-the-cage"},
        client_headers=(b"x-grok-conv-id",),
        error=ErrorShape("", fields={"code": "type", "error": "text"}),
        price_list="x-ai",
        telemetry_name="x_ai",
    ),
    ProviderFacts(
        "bedrock",
        hosts=("bedrock-runtime.*.amazonaws.com",),
        begins=(),
        key=KeyForm(
            prompts=("Access key ID", "Secret access key", "Session token (empty: none)"),
            optional=1,
            words="an access key id, a secret key, and perhaps a session token",
            help="Bedrock takes an access key id, a secret access key, and a session token if there is one: a line "
            "each.",
        ),
        signed_as="bedrock",
        telemetry_name="aws.bedrock",
        # Not any label: bedrock-runtime.s3.amazonaws.com is a bucket that anybody may own.
        regions=Regions(
            r"[a-z]{2}(-[a-z]{1,16}){1,3}-[0-9]{1,2}", ("AWS_REGION", "AWS_DEFAULT_REGION"), "us-east-1"
        ),
        placeholders={
            "AWS_ACCESS_KEY_ID": "AKIAPLACEHOLDERAKIOS",
            "AWS_SECRET_ACCESS_KEY": "akiosPlaceholderTheKeyStaysOutsideTheCag",
        },
        other_variables=("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE"),
        client_headers=(
            b"amz-sdk-invocation-id", b"amz-sdk-request", b"x-amzn-bedrock-accept", b"x-amz-user-agent",
        ),
        # botocore gives up after 60 s without a byte (Config.read_timeout).
        patience_seconds=30.0,
        error=ErrorShape(
            "", fields={"message": "text", "__type": "name"},
            # Names of the errors of the Bedrock runtime.
            names={
                400: "ValidationException", 413: "ValidationException", 415: "ValidationException",
                502: "ServiceUnavailableException", 504: "ModelTimeoutException",
            },
            other="AccessDeniedException", header="x-amzn-errortype",
        ),
        price_list="aws",
        models=ModelNames(
            # Amazon Bedrock user guide, "Supported regions and models for inference profiles".
            geographies=(
                *("us", "us-gov", "eu", "apac", "ap", "jp", "au", "in", "ca", "sa", "me", "af", "global"),
            ),
            resold={"anthropic.": "anthropic"},
            longest=(
                ("amazon.nova-2", 65_536), ("amazon.nova", 5_000), ("amazon.titan", 3_072), ("meta.llama3", 2_048),
                ("", 8_192),
            ),
        ),
    ),
    ProviderFacts(
        "ollama",
        local_port=11434,
        needs_key=False,
        error=ErrorShape("", fields={"error": "text"}),
        is_free=True,
        called_at="/api/(chat|generate|embed)",
        begins=("v1", "api"),
    ),
)  # fmt: skip

FACTS: Mapping[str, ProviderFacts] = {row.name: row for row in _ROWS}
"""By name, in the order in which they are listed to people."""
_UNKNOWN = ProviderFacts("")


def facts_of(provider: str) -> ProviderFacts:
    """The row of ``provider``; for a name that is none of ours a row that knows nothing."""
    return FACTS.get(provider, _UNKNOWN)


def with_regions() -> tuple[str, ...]:
    """The names of the providers that have regions."""
    return tuple(name for name, facts in FACTS.items() if facts.regions is not None)
