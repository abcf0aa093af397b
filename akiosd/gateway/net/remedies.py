"""What would allow what was denied: for each rule the settings to try, and the question to the
policy itself.

The words of a rule are one table, :data:`REMEDIES`.  What stands here are candidates; told are
only those that :mod:`akiosd.policy.advice` finds to help.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from akiosd.errors import PolicyError
from akiosd.gateway.net.names import (
    PROVIDER_HOSTS,
    WEB_PORTS,
    Names,
    canonical,
    capture_ports,
    local_ports,
    named_path,
)
from akiosd.policy.advice import ALLOWED_NOW, Allows, Edit, advise_merged
from akiosd.policy.fields import FIELDS
from akiosd.policy.merge import flatten
from akiosd.policy.refusals import ADMINISTRATOR
from akiosd.values.model_sites import find_model_site
from akiosd.values.places import CONFIG_FILE
from akiosd.values.policy import DEFAULT_POLICY, PROVIDERS, Policy
from akiosd.values.providers import FACTS
from akiosd.values.units import format_usd
from akiosd.wire.gateway import Setup

_FREE = frozenset(("files", "uploads", "moderations", "tokenize", "tokenize-text", "count_tokens"))
"""What providers do not charge for.  Below all others may be something that costs money."""
_DNS_PORT, _HTTP = 53, 80
KEEP_KEY = "sudo akiosctl keys set"
"""What an administrator gives before the name of a provider."""
UNCOUNTED = "uncounted"
"""Not a denial: calls of models that went to a site, where nothing counts them."""
_NEVER_COUNTED = (
    "no setting counts its calls; take its name out of the policy if it must not be called"
)


class Asked(msgspec.Struct, frozen=True):
    """What was denied: the fields of the record that say what was asked for.

    ``host`` as the client spelled it, ``port`` 0 where only a name was asked for, ``path`` without
    query, ``tls`` whether the connection was or could have been TLS.  ``reserved`` as ``Names`` has
    it.  ``method`` is that of a request that was let through, ``call`` is the name of a system
    call, ``config_file`` that of akiosd's own configuration.  ``needs`` is a value of the
    rule that would have been enough, where that is known.
    """

    rule: str
    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = True
    call: str = ""
    method: str = ""
    reserved: tuple[tuple[str, int], ...] = ()
    config_file: str = CONFIG_FILE
    needs: int = 0


class Remedy(msgspec.Struct, frozen=True):
    """Settings to try in turn; ``instead`` is what to do where none helps, ``besides`` what else
    it takes where one does, ``now`` what to do where the policy as it is allows it; "" for nothing.
    """

    edits: tuple[Edit, ...]
    allows: Allows
    instead: str = ""
    besides: str = ""
    now: str = ""


NAMESPACE_CALLS = frozenset(("clone", "unshare", "setns"))
_OWN_FENCE = (
    "new namespaces cannot be made inside a cage, which is the fence already: have the program"
    " leave its own out (Codex: --sandbox danger-full-access; Chromium: --no-sandbox)"
)


def never(policy: Policy) -> bool:
    return False


def find_remedy(asked: Asked, policy: Policy) -> Remedy:
    """For what was denied under ``policy``; a rule without a row has nothing that helps."""
    if asked.rule in REMEDIES:
        return REMEDIES[asked.rule](asked, policy)
    return _raised(asked, policy) if asked.rule.startswith("budget.") else Remedy((), never)


def hint(setup: Setup, names: Names, asked: Asked) -> str:
    """The line for the agent: a setting that was tried and its file, else what to do instead."""
    asked = msgspec.structs.replace(
        asked, reserved=tuple(sorted(names.reserved)), config_file=setup.config_file
    )
    remedy = find_remedy(asked, setup.policy)
    found = advise_merged(
        setup.policy, setup.system, remedy.edits, remedy.allows, setup.system_file
    )
    return found or remedy.instead


# ---- names ---------------------------------------------------------------------------------------


def _name(asked: Asked, policy: Policy) -> Remedy:
    try:
        host = canonical(asked.host)
    except ValueError as error:
        is_address = "an address" in str(error) or asked.host[:1] == "["
        instead = "addresses cannot be allowed: ask for the host by its name" if is_address else ""
        return Remedy((), never, instead)
    provider = provider_of(host)
    port = 0 if asked.port == _DNS_PORT else asked.port
    if provider:
        edits = (
            Edit("network.providers", "add", (provider,)),
            Edit("network.llm", "set", True),
        )
        instead = f"the API of {provider} is reached by https on port 443 alone" if port else ""
        return Remedy(edits, _reaches(host, port, asked.reserved), instead)
    entry = host if port in (0, *WEB_PORTS) else f"{host}:{port}"
    edit = Edit("network.allowed_domains", "add", (entry,))
    return Remedy((edit,), _reaches(host, port, asked.reserved))


def _reaches(host: str, port: int, reserved: Iterable[tuple[str, int]]) -> Allows:
    def allows(policy: Policy) -> bool:
        names = _names(policy, reserved)
        if names is None:
            return False
        if not port:
            return names.resolves(host) and any(names.find(host, web) for web in WEB_PORTS)
        return names.find(host, port) is not None

    return allows


def _names(policy: Policy, reserved: Iterable[tuple[str, int]]) -> Names | None:
    """None where the gateway would not start: the policy's ports are too many, or AKIOS's own."""
    try:
        capture_ports(policy.network)
    except PolicyError:
        return None
    return Names(policy, reserved=reserved)


def provider_of(host: str) -> str:
    """Whose API a canonical host is; "" for a site."""
    everything = msgspec.structs.replace(DEFAULT_POLICY.network, llm=True, providers=PROVIDERS)
    names = Names(msgspec.structs.replace(DEFAULT_POLICY, network=everything), PROVIDER_HOSTS)
    rule = names.find(host, 443)
    return rule.provider if rule is not None else ""


def _unopened(asked: Asked, policy: Policy) -> Remedy:
    """TLS that is not opened.  A provider's own host is never passed through, nor what is no
    TLS.
    """
    trust = "have the client trust the certificates of the file that SSL_CERT_FILE names"
    speak = {"tls.handshake": trust, "tls.alpn": "speak HTTP/1.1"}
    instead = speak.get(asked.rule, "")
    try:
        host = canonical(asked.host)
    except ValueError:
        return Remedy((), never, instead)
    if not asked.tls:
        return Remedy((), never, instead or "use TLS: without it there is no name to check")
    entry = host if asked.port in (0, *WEB_PORTS) else f"{host}:{asked.port}"

    def allows(changed: Policy) -> bool:
        names = _names(changed, asked.reserved)
        rule = names.find(host, asked.port or 443) if names is not None else None
        return rule is not None and rule.kind == "passthrough"

    return Remedy((Edit("network.passthrough", "add", (entry,)),), allows, instead)


def _free_path(asked: Asked, policy: Policy) -> Remedy:
    """A path of a provider's API is named only where nothing below it costs money."""
    instead = "no setting counts what this costs; use the provider's own interface"
    parts = asked.path.split("/")
    free = next((i for i, part in enumerate(parts) if part in _FREE), 0)
    provider = provider_of(asked.host) if asked.host else ""
    if not free or not provider or not asked.path.isascii():
        return Remedy((), never, instead)
    path = "/".join(parts[: free + 1])
    entry = f"{provider}:{path}"
    return Remedy(
        (Edit("network.llm_paths", "add", (entry,)),),
        lambda changed: named_path(changed.network.llm_paths, provider, asked.path),
        instead,
    )


def _writes(asked: Asked, policy: Policy) -> Remedy:
    host, port = asked.host, asked.port or 443
    patterns = tuple(
        entry
        for entry in policy.network.get_only
        if Names(_only(policy, entry)).find(host, port) is not None
    )

    def allows(changed: Policy) -> bool:
        names = _names(changed, asked.reserved)
        rule = names.find(host, port) if names is not None else None
        return rule is not None and not rule.get_only

    if not patterns:
        return Remedy((), never)
    return Remedy((Edit("network.get_only", "remove", patterns),), allows)


def _only(policy: Policy, entry: str) -> Policy:
    """A policy that allows one entry, to ask what it holds."""
    network = msgspec.structs.replace(
        policy.network, allowed_domains=(entry,), passthrough=(), get_only=()
    )
    return msgspec.structs.replace(policy, network=network)


def _inspected(asked: Asked, policy: Policy) -> Remedy:
    """HTTP on a port that is passed as raw TCP."""

    def allows(changed: Policy) -> bool:
        names = _names(changed, asked.reserved)
        rule = names.find(asked.host, asked.port) if names is not None else None
        return rule is not None and rule.kind == "inspect"

    return Remedy((Edit("network.ports", "add", (asked.port,)),), allows)


# ---- numbers and modes ---------------------------------------------------------------------------


def _raised(asked: Asked, policy: Policy) -> Remedy:
    """Twice the limit that refused, and at least what was needed; where that is more than a project
    may set, the most that it may.
    """
    row = next((row for row in FIELDS if row.path == asked.rule), None)
    before = flatten(policy)[row.name] if row else 0
    if row is None or not before:
        return Remedy((), never)

    def allows(changed: Policy) -> bool:
        now = flatten(changed)[row.name]
        return bool(now == 0 or (now >= asked.needs if asked.needs else now > before))

    bound = (getattr(policy.projects_may, row.may) if row.may else 0) or 0
    ample, least = max(2 * before, asked.needs), asked.needs or before + 1
    most = (ample, bound) if least <= bound < ample else (ample,)
    is_money = row.kind.word == "MONEY"
    values = [format_usd(one).replace(",", "") if is_money else one for one in most]
    edits = tuple(Edit(asked.rule, "set", value) for value in values)
    # Only an option of that run, or an older policy, had less than what the policy has.
    figure = format_usd(asked.needs).strip("$").replace(",", "")
    now = f"{ALLOWED_NOW.words}: leave out --budget, or give --budget {figure} or more"
    return Remedy(edits, allows, now=now if asked.needs and asked.rule == "budget.usd" else "")


def _binary(asked: Asked, policy: Policy) -> Remedy:
    edit = Edit("redact.binary", "set", "pass")
    return Remedy((edit,), lambda changed: changed.redact.binary == "pass")


def _masked(field: str, mode: str) -> Callable[[Asked, Policy], Remedy]:
    def remedy(asked: Asked, policy: Policy) -> Remedy:
        if getattr(policy.redact, field) != "block":
            return Remedy((), never)
        edit = Edit(f"redact.{field}", "set", mode)
        return Remedy((edit,), lambda changed: getattr(changed.redact, field) != "block")

    return remedy


# ---- models that are reached as sites -----------------------------------------------------------


def _uncounted(asked: Asked, policy: Policy) -> Remedy:
    """The administrator's setting that makes the gateway count, if the policy's own rules say that
    it would: the site is none any more, and the provider's API may be called.
    """
    found = find_model_site(asked.host, asked.method, asked.path)
    provider, base = found if found is not None else ("", "")
    if not provider:
        return Remedy((), never, _NEVER_COUNTED)
    url = base.replace("https", "http") if asked.port == _HTTP else base
    names = _names(policy, (*asked.reserved, (asked.host, asked.port)))
    if names is None or names.find(asked.host, asked.port) is not None:
        return Remedy((), never, _NEVER_COUNTED)
    api = PROVIDER_HOSTS[provider][0] if PROVIDER_HOSTS[provider] else ""
    called = f"https://{api}" if api else FACTS[provider].local_url
    line = f"gateway: {{providers: {{{provider}: {{upstream: {url}}}}}}} in {asked.config_file}"
    words = f"set {line}, which {ADMINISTRATOR} may change, and call {called} instead"
    if api and names.find(api, 443) is None:
        words += f"; the policy's network.providers must then have {provider}"
    return Remedy((), never, words)


# ---- what no policy decides ----------------------------------------------------------------------


def _address(asked: Asked, policy: Policy) -> Remedy:
    line = f"gateway: {{hosts: {{{asked.host}: ADDRESS}}}} in {asked.config_file}"
    return Remedy((), never, f"{line}, which {ADMINISTRATOR} may change")


def _call(asked: Asked, policy: Policy) -> Remedy:
    from akiosd.policy.compile.seccomp import compile_filter

    if asked.call not in policy.syscalls.deny:
        return Remedy((), never, _OWN_FENCE if asked.call in NAMESPACE_CALLS else "")

    def allows(changed: Policy) -> bool:
        spec = compile_filter(changed)
        through = any(r.name == asked.call and r.action == "allow" for r in spec.rules)
        entry = next((e for e in spec.pump_table if e.name == asked.call), None)
        return through or (entry is not None and entry.checked.otherwise == 0)

    return Remedy((Edit("syscalls.deny", "remove", (asked.call,)),), allows)


def served_ports(policy: Policy) -> tuple[frozenset[int], frozenset[int]]:
    """The ports on which a gateway answers: at the addresses of names, and on the loopback."""
    names = frozenset((*WEB_PORTS, *capture_ports(policy.network)))
    return names, names | {_DNS_PORT, *local_ports(policy.network)}


def _own_port(asked: Asked, policy: Policy) -> Remedy:
    """The host's localhost has a name inside where the administrator gives it one."""
    entry = f"{HOST_INSIDE}:{asked.port}"
    line = f"gateway: {{hosts: {{'{HOST_INSIDE}': '127.0.0.1:{asked.port}'}}}}"
    where = f"{line} in {asked.config_file}, which {ADMINISTRATOR} may change"
    return Remedy(
        (Edit("network.allowed_domains", "add", (entry,)),),
        _reaches(HOST_INSIDE, asked.port, asked.reserved),
        "start the server in the cage; no policy reaches the host's",
        f"besides {where}, and connect to {entry}",
    )


def _other_port(asked: Asked, policy: Policy) -> Remedy:
    line = f"network: {{allowed_domains: ['NAME:{asked.port}']}}"
    return Remedy((), never, f"allow the name with this port, as in {line}, and ask for NAME")


def _no_route(asked: Asked, policy: Policy) -> Remedy:
    return Remedy((), never, "addresses cannot be allowed: ask for the host by its name")


HOST_INSIDE = "host.internal"
"""What a hint calls this host where it has to be reached from a cage."""


def _keyless(asked: Asked, _: Policy) -> Remedy:
    return Remedy((), never, f"an administrator keeps the key: {KEEP_KEY} {_vendor(asked)}")


def _other_login(asked: Asked, _: Policy) -> Remedy:
    kept = f"{KEEP_KEY} {_vendor(asked)}"
    return Remedy((), never, f"only API keys are passed: an administrator keeps one: {kept}")


def _vendor(asked: Asked) -> str:
    try:
        return provider_of(canonical(asked.host)) or "PROVIDER"
    except ValueError:
        return "PROVIDER"


REMEDIES: dict[str, Callable[[Asked, Policy], Remedy]] = {
    "network.allowed_domains": _name,
    "network.passthrough": _unopened,
    "tls.alpn": _unopened,
    "tls.handshake": _unopened,
    "network.llm_paths": _free_path,
    "network.get_only": _writes,
    "network.ports": _inspected,
    "network.requests_per_minute": _raised,
    "redact.binary": _binary,
    "redact.models": _masked("models", "mask"),
    "redact.sites": _masked("sites", "mask"),
    "upstream": _address,
    UNCOUNTED: _uncounted,
    "syscalls": _call,
    "localhost": _own_port,
    "network.port": _other_port,
    "network.address": _no_route,
    "llm.key": _keyless,
    "llm.login": _other_login,
}
"""Rule of a record → what may help."""
