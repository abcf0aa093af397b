"""The policy of a run, quickly: the merged result is remembered as msgpack, under the identity of
the files it came from.

A run whose policy files and options are those of an earlier run imports neither the YAML parser nor
the policy language. What is remembered lies in the user's own cache directory, and counts only if
this user wrote it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

from akiosctl.plain_msgpack import Packed, pack, unpack
from akiosd import __version__
from akiosd.errors import AkiosError, ProtocolError
from akiosd.values.trust import VARIABLES

if TYPE_CHECKING:
    from akiosd.policy.refusals import Excess
    from akiosd.values.policy import Network

PROJECT_POLICY = "akios.yaml"
_MAX_CACHE = 1 << 20
_FORMAT = 9


class RunPolicy:
    """The merged policy as ``Run`` carries it, and the parts of it that the client acts on."""

    def __init__(self, parts: dict[str, Any], is_new: bool) -> None:
        self.packed = Packed(parts["policy"])
        self.workspace_mode: str = parts["workspace_mode"]
        self.data: str = parts["data"]
        self.keep: list[str] = parts["keep"]
        self.set: dict[str, str] = parts["set"]
        self.read: list[str] = parts["read"]
        self.write: list[str] = parts["write"]
        self.places: dict[str, str] = parts.get("places", {})
        """Of what ``read`` and ``write`` name: file and line that ask for it."""
        self.sites: bool = parts.get("sites", False)
        self.news: str = parts["news"] if is_new else ""
        """What the project's file opens beyond the system policy, where this user was not told of
        it.
        """


class SystemSource(Protocol):
    """Who knows the system policy: akiosd, whose :class:`akiosctl.client.PlainClient` this is."""

    def system_digest(self) -> bytes: ...

    def read_system(self) -> bytes: ...


def resolve_policy(
    workspace: str,
    explicit: str | None,
    flags: dict[str, dict[str, object]],
    source: SystemSource,
) -> RunPolicy:
    """Built-in ← system ← user ← project (or ``explicit``) ← ``flags``.  Raises
    :class:`AkiosError`.

    The system's is asked for only where it is another than at the time that is remembered.
    """
    key = ascii(
        (
            _FORMAT,
            __version__,
            [identity(path) for path in _files(workspace, explicit)],
            source.system_digest(),
            explicit,
            flags,
        )
    )
    cache = f"{user_directory('XDG_CACHE_HOME', '.cache')}/run/{crc32(key.encode()):08x}"
    parts = read_cache(cache, key)
    is_new = parts is None
    if parts is None:
        parts = _merge(workspace, explicit, flags, source.read_system())
        write_cache(cache, pack([key, parts]))
    return RunPolicy(parts, is_new)


def _files(workspace: str, explicit: str | None) -> list[str]:
    user = f"{user_directory('XDG_CONFIG_HOME', '.config')}/policy.yaml"
    return [user, explicit if explicit is not None else f"{workspace}/{PROJECT_POLICY}"]


def user_directory(variable: str, below_home: str) -> str:
    """The directory ``akios`` in the one that the XDG ``variable`` names, else in ``below_home`` of
    the user's home.
    """
    base = os.environ.get(variable, "")
    return (base if base.startswith("/") else os.path.expanduser(f"~/{below_home}")) + "/akios"


def identity(path: str) -> tuple[str | int, ...]:
    """Device, inode, time of change and size of a file, or that it does not exist."""
    try:
        status = os.stat(path)
    except OSError as error:
        return (path, error.errno or 0)
    return (
        os.path.abspath(path),
        status.st_dev,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
    )


def _merge(
    workspace: str, explicit: str | None, flags: dict[str, dict[str, object]], system: bytes
) -> dict[str, Any]:
    from pathlib import Path

    import msgspec

    from akiosctl.policy_files import decode_flags, find_layers
    from akiosctl.shown_paths import places_of
    from akiosd.policy.merge import Layer, beyond_system, merge_explained
    from akiosd.policy.system import unpack as read_packed

    layers = find_layers(Path(workspace), explicit, system=read_packed(system))
    if flags:
        layers.append(Layer("flags", decode_flags(flags)))
    merged = merge_explained(layers)
    policy = merged.policy
    return {
        "news": _news(beyond_system(layers, merged, "project")),
        "policy": msgspec.msgpack.encode(policy),
        "workspace_mode": policy.filesystem.workspace,
        "data": policy.filesystem.data,
        "keep": list(policy.environment.keep),
        "set": dict(policy.environment.set),
        "read": list(policy.filesystem.read),
        "write": list(policy.filesystem.write),
        "places": places_of(layers),
        "sites": _has_own_sites(policy.network),
    }


def _has_own_sites(network: Network) -> bool:
    """Whether it names sites beyond those of presets, among which are no endpoints of models."""
    from akiosd.policy.presets import PRESETS, names_of

    known = set(names_of(tuple(PRESETS)))
    return not known.issuperset((*network.allowed_domains, *network.passthrough))


def _news(found: list[Excess]) -> str:
    from akiosd.policy.refusals import summary

    if not found:
        return ""
    file = found[0].asked.file
    return f"{file} gives the agent more than the system policy's values: {summary(found)}"


def read_cache(cache: str, key: str) -> dict[str, Any] | None:
    """What is remembered under ``key``; None when it is missing, foreign or unreadable."""
    try:
        with open(cache, "rb") as file:
            # Only what this user wrote, and nobody else can write, is our own memory.
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            entry = unpack(file.read(_MAX_CACHE))
    except (OSError, ProtocolError):
        return None
    if (
        not isinstance(entry, list)
        or len(entry) != 2
        or entry[0] != key
        or not isinstance(entry[1], dict)
    ):
        return None
    return entry[1]


def write_cache(cache: str, data: bytes) -> None:
    """Remember ``data``; failures are ignored."""
    temporary = f"{cache}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(cache), mode=0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, cache)
    except OSError:
        # A home that cannot be written costs time, not correctness.
        try:
            os.unlink(temporary)
        except OSError:
            pass


def choose_environment(policy: RunPolicy, given: list[str], kept: list[str]) -> dict[bytes, bytes]:
    """What the agent gets of the caller's environment: the policy's list, its own values, then the
    options'.
    """
    chosen: dict[bytes, bytes] = {}
    for name, value in os.environb.items():
        text = os.fsdecode(name)
        if any(
            text == pattern or (pattern[-1:] == "*" and text.startswith(pattern[:-1]))
            for pattern in policy.keep
        ):
            chosen[name] = value
    for text, setting in policy.set.items():
        chosen[os.fsencode(text)] = os.fsencode(setting)
    add_variables(chosen, given, kept)
    return chosen


def add_variables(chosen: dict[bytes, bytes], given: Sequence[str], kept: Sequence[str]) -> None:
    """What ``--env`` (``given``) and ``--keep-env`` (``kept``) say, added to ``chosen``."""
    for text in (*kept, *(word.partition("=")[0] for word in given)):
        _refuse_ours(text)
    for text in kept:
        if os.fsencode(text) in os.environb:
            chosen[os.fsencode(text)] = os.environb[os.fsencode(text)]
    for text in given:
        name_text, equals, setting = text.partition("=")
        if not equals or not name_text:
            raise AkiosError(
                f"{text!r} is not NAME=VALUE",
                "--env",
                "to pass a variable of yours: --keep-env NAME",
            )
        chosen[os.fsencode(name_text)] = os.fsencode(setting)


def _refuse_ours(name: str) -> None:
    """akiosd sets these; only the policy can say otherwise, and a value given here would be lost
    without a word.
    """
    # Only an option that names a variable needs the table of providers.
    from akiosd.values.agent_environment import hidden_variables
    from akiosd.values.providers import FACTS

    if name in hidden_variables(FACTS):
        raise AkiosError(
            f"{name} is an API key, and keys do not enter a cage: the agent gets a placeholder,"
            " and the gateway puts in the key",
            "environment",
            "store the key with akiosd, once: sudo akiosctl keys set PROVIDER; environment.set in"
            " the policy would show it to the agent in the clear",
        )
    if name in VARIABLES:
        words = f"{name} is set by AKIOS, and is not passed on from your environment"
        raise AkiosError(
            words,
            "environment",
            "if the cage must have another value: environment.set in the policy",
        )
