"""Tells before a run which steps their policy, or their own config, will refuse for certain.

Only what stands in the file as it is: a value that is filled in later may be anything, and of a
site at least scheme and host have to be there.  What is not known here, as addresses and hosts of
providers, is left to the run; so is a step that may fail (``continue_on_error``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from akiosd.errors import AkiosError, PolicyError
from akiosd.values.domains import canonical_domain, is_of_host
from akiosd.values.places import DATA
from akiosd.values.policy import Network, Policy
from akiosd.values.providers import FACTS
from akiosd.values.workflow import Step
from akiosd.workflow.interpolate import pieces_of
from akiosd.workflow.references import Path
from akiosd.workflow.steps.kinds import OLD_ACTIONS, OLD_KINDS

_SITES: dict[str, tuple[tuple[str, str], ...]] = {
    "http": (("parameters", "url"),),
    "webhook": (("config", "url"), ("config", "webhook_url")),
    "database": (("config", "database"),),
}
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}
_WEB_PORTS = (80, 443)
_URL = re.compile(
    r"(?P<scheme>https?|postgres(?:ql)?)://(?:[^@/?#\s]*@)?(?P<host>[^@/?#:\\\s\[\]]+)(?::(?P<port>\d{1,5}))?"
    r"(?P<end>[/?#]|\Z)"
)
_READS = ("get", "head")
_WRITES = ("write", "append")
_PROVIDERS = [host for facts in FACTS.values() for host in facts.hosts]


class Denial(NamedTuple):
    """At ``path`` in the step."""

    path: Path
    what: str
    next: str


def find_denials(step: Step, policy: Policy) -> Iterator[Denial]:
    """What this step is refused whenever it is done."""
    agent = OLD_KINDS.get(str(step.agent), str(step.agent))
    action = OLD_ACTIONS.get((agent, step.action), step.action)
    if step.continue_on_error:
        return
    for section, key in _SITES.get(agent, ()):
        written = getattr(step, section).get(key)
        denied = _denied_site(written, policy.network, agent, action)
        if denied is not None:
            yield Denial((section, key), *denied)
    if agent == "filesystem":
        yield from _denied_paths(step, action, policy)


def _denied_site(written: Any, network: Network, agent: str, action: str) -> tuple[str, str] | None:
    known, is_whole = _known_part(written)
    found = _URL.match(known)
    if found is None or not (found["end"] or is_whole):
        return None
    try:
        host = canonical_domain(found["host"])
    except PolicyError:
        return None
    port = int(found["port"] or _PORTS[found["scheme"]])
    if "." not in host or any(_is_provider(host, one) for one in _PROVIDERS):
        return None
    site = host if port in _WEB_PORTS else f"{host}:{port}"
    entries = (*network.allowed_domains, *network.passthrough)
    if not any(_holds(one, host, port, (*_WEB_PORTS, *network.ports)) for one in entries):
        return (
            f"the policy of this step does not allow {site}",
            f"write network: {{allowed_domains: ['{site}']}} in akios.yaml, and see that no policy"
            " of the workflow or the step leaves it out",
        )
    is_read_only = any(_holds(one, host, port, (port,)) for one in network.get_only)
    if is_read_only and (agent == "webhook" or action not in _READS):
        return (
            f"the policy of this step only lets {site} be read (network.get_only)",
            "take it out of network.get_only, or ask for it with get",
        )
    return None


def _holds(entry: str, host: str, port: int, ports: tuple[int, ...]) -> bool:
    name, _, own = entry.partition(":")
    return is_of_host(name, host) and (port == int(own) if own else port in ports)


def _is_provider(host: str, pattern: str) -> bool:
    labels, wanted = host.split("."), pattern.split(".")
    return len(labels) == len(wanted) and all(
        one in ("*", label) for one, label in zip(wanted, labels, strict=True)
    )


def _denied_paths(step: Step, action: str, policy: Policy) -> Iterator[Denial]:
    path, is_whole = _known_part(step.parameters.get("path"))
    if not path or path.startswith("/") or "\0" in path:
        return  # what is shown outside of the project is known when it runs
    at: Path = ("parameters", "path")
    names = _names(path)
    done = names if is_whole or path.endswith("/") else names[:-1]
    if ".." in done:
        yield Denial(at, f"{path} goes up, and no step follows ..", "name it from the project")
        return
    allowed = _allowed(step)
    roots = [_names(one) for one in allowed]
    if is_whole and allowed and not any(names[: len(root)] == root for root in roots):
        what = f"{path} is not below the step's paths: {', '.join(allowed)}"
        yield Denial(at, what, "name a path below one of them, or add its directory to them")
    if action not in _WRITES:
        return
    workspace = policy.filesystem.workspace
    if workspace == "ro":
        what = "the policy of this step lets nothing be written in the project"
        yield Denial(at, what, "write filesystem: {workspace: cow} or rw, where it may be")
    elif workspace != "rw-direct" and "/".join(done[:2]) == DATA["input"]:
        what = f"{DATA['input']} is read-only in a workflow"
        yield Denial(at, what, f"write below {DATA['output']}")
    if step.config.get("read_only") is True:
        what = "this step may only read: its config says read_only"
        yield Denial(("config", "read_only"), what, "take that out, if the step is to write")


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _allowed(step: Step) -> list[str]:
    """The directories that the step names; none where they are not known, or are outside."""
    found: list[str] = []
    for key in ("paths", "allowed_paths"):
        given = step.config.get(key, [])
        for one in given if isinstance(given, list) else [None]:
            known, is_whole = _known_part(one)
            if not is_whole or not known or known.startswith("/"):
                return []
            found.append(known)
    return found


def _known_part(written: Any) -> tuple[str, bool]:
    """What a text begins with before anything is filled in, and whether nothing is."""
    if not isinstance(written, str):
        return "", False
    try:
        ((_, pieces),) = pieces_of(written)
    except (AkiosError, ValueError):
        return "", False
    known = ""
    for piece in pieces:
        if not isinstance(piece, str):
            return known, False
        known += piece
    return known, True
