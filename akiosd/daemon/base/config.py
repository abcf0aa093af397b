"""``akiosd.yaml``: read, checked, frozen; and how files are read that only root may write.

They are instructions to a process that holds every privilege, so they must belong to root and be
writable by nobody else.  A key nobody knows is refused with its line.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from akiosd.daemon.base.gateway_config import (
    GatewayConfig,
    Where,
    check_roots,
    find_gateway_errors,
)
from akiosd.daemon.base.setting_ranges import find_out_of_range
from akiosd.errors import AkiosError
from akiosd.policy.compile.identity import DISPLAY_COUNT
from akiosd.policy.schema import Positions
from akiosd.policy.yaml_lines import load_positions
from akiosd.store.wipe import How
from akiosd.values.places import CONFIG_FILE, SYSTEM_FILE

MAX_BYTES = 1 << 20
# (uid_t) -1 means "no id" (setresuid(2)).
_NO_UID = 2**32 - 1

KeyPath = tuple[str, ...]
_TYPE_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "object": "a table of keys",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
}


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the sections of ``akiosd.yaml``."""


class Groups(Section, frozen=True):
    """Names of the unix groups that give a role.  A group that does not exist gives its role to
    nobody.
    """

    user: str = "akios"
    admin: str = "akios-admin"
    monitor: str = "akios-monitor"


class Quotas(Section, frozen=True):
    """How many cages may run at once (root is bound only by ``cages_total``), and what they leave
    of others' disks.
    """

    cages_per_user: int = 100
    cages_total: int = 400
    kept_per_user: int = 200
    """Ended cages whose changes wait for a commit or a discard."""
    keep_free_bytes: int = 1 << 30
    """What cages leave free on the file system of a user's directory that they write to, and on
    that of the state directory, where their disks are: a twentieth of it at most; 0 for nothing.
    """


class Pools(Section, frozen=True):
    """What is prepared before anybody asks for a cage."""

    userns: int = 8
    """Half-made cages, each with its namespaces."""
    disk_image_bytes: int = 16 << 30
    """Size of the sparse image that holds cages' disks where the file system has no project
    quota.
    """


class LedgerConfig(Section, frozen=True):
    """What happens to old logs without anybody asking; 0 means never, or no limit."""

    keep_days: int = 0
    """Ended cages are destroyed after so many days, logs included."""
    keep_bytes: int = 16 << 30
    """The oldest ended cages are destroyed until the rest takes at most so many bytes."""
    spare_days: int = 7
    """For their size, no cages are destroyed that ended fewer days ago; where those alone take more
    than ``keep_bytes``, no cage starts.
    """
    pack_after_s: int = 86_400
    """After so many seconds the log of an ended cage becomes one archive."""
    host_keep_days: int = 0
    """Entries of the host's log are pruned after so many days."""
    wipe_passes: int = 1
    """How often data is overwritten with random bytes before the zeros; 0 only unlinks."""
    check_every_s: int = 3600

    @property
    def how(self) -> How:
        """How files are destroyed, in the terms of :mod:`akiosd.store.wipe`."""
        return How(self.wipe_passes) if self.wipe_passes else How(fast=True)


class EndedConfig(Section, frozen=True):
    """What is there of ended cages besides their logs, and for how long; days of 0 are for ever."""

    per_user: int = 200
    """Cages of one user that ``ps --all`` knows."""
    keep_days: int = 30
    """Then they are forgotten, but for the last one of each workspace, and their output goes."""
    changes_days: int = 90
    """Changes that nobody commits or discards are destroyed after so many days."""
    output_bytes: int = 4 << 20
    """Output that is kept of one cage: the first and the last of it.  0 keeps none."""
    output_bytes_per_user: int = 256 << 20
    """Output of one user's ended cages; the oldest goes first."""


class Uids(Section, frozen=True):
    """Host ids of cages.

    Each cage gets one from ``first_cage`` on. ``display_base`` begins a range in which nothing
    runs: it shows everybody else's ids, with their numbers kept (``display_base`` + id).
    """

    first_cage: int = 1_900_000_000
    cage_count: int = 1_000_000
    display_base: int = 1 << 31

    def is_caged(self, uid: int) -> bool:
        """Whether ``uid`` belongs to the inside of a cage."""
        return (
            self.first_cage <= uid < self.first_cage + self.cage_count or uid >= self.display_base
        )


class RestartConfig(Section, frozen=True):
    """What happens to cages when akiosd ends and another takes its place."""

    come_back_s: int = 90
    """After so many seconds without akiosd, in which cages wait where they need it, they are ended.
    0: they end with it.
    """


class Config(Section, frozen=True):
    """All of ``akiosd.yaml``, with its defaults."""

    state_dir: str = "/var/lib/akios"
    runtime_dir: str = "/run/akios"
    system_policy: str = SYSTEM_FILE
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    policy_mode: bool = False
    """Whether akiosd runs without privileges, and cages without namespaces."""
    groups: Groups = Groups()
    quotas: Quotas = Quotas()
    pools: Pools = Pools()
    uids: Uids = Uids()
    ledger: LedgerConfig = LedgerConfig()
    ended: EndedConfig = EndedConfig()
    restart: RestartConfig = RestartConfig()
    gateway: GatewayConfig = GatewayConfig()


def load_config(path: Path | None, **overrides: str | bool | None) -> tuple[Config, bytes | None]:
    """The configuration in ``path`` and its text; None reads the default file, which may be absent,
    and then has no text.

    ``overrides`` are fields given on the command line (``state_dir``, ``runtime_dir``,
    ``log_level``); None keeps the file's value. Raises :class:`AkiosError` with file and line.
    """
    data = read_trusted(path or Path(CONFIG_FILE), optional=path is None)
    return parse_config(data or b"", str(path or CONFIG_FILE), **overrides), data


def parse_config(data: bytes, name: str, **overrides: str | bool | None) -> Config:
    """Parse YAML; ``name`` stands before the line in errors.  Raises :class:`AkiosError`."""
    findings, config = find_config_errors(data, name, **overrides)
    if findings:
        raise findings[0]
    return config


def find_config_errors(
    data: bytes, name: str, **overrides: str | bool | None
) -> tuple[list[AkiosError], Config]:
    """Everything that is wrong in a configuration, and what the rest of it says.

    Raises :class:`AkiosError` for a text that is no YAML.
    """
    values, positions = load_positions(data, name, noun="the configuration")
    findings, good = list[AkiosError](), dict[str, Any]()
    if values is not None and not isinstance(values, dict):
        place = f"{name}, line {positions[()][1]}"
        raise AkiosError(
            "the file is not made of keys and values", place, "write `key: value` lines"
        )
    for key, value in (values or {}).items():
        # One entry at a time, so that each of them can be refused.
        is_section = isinstance(value, dict) and value and key in Config.__struct_fields__
        for part in [{entry: value[entry]} for entry in value] if is_section else [value]:
            try:
                _convert({key: part}, positions, name)
            except AkiosError as error:
                findings.append(error)
            else:
                good[key] = {**good.get(key, {}), **part} if is_section else part
    config = _convert(good, positions, name)
    given = {key: value for key, value in overrides.items() if value is not None}
    config = msgspec.structs.replace(config, **given)

    def where(*keys: str) -> str:
        return "the command line" if keys[0] in given else _where(name, positions, keys)

    findings += _find_contradictions(config, where)
    return findings, config


def _convert(values: dict[str, Any], positions: Positions, name: str) -> Config:
    _refuse_unknown(values, Config, (), positions, name)
    try:
        return msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        # A key of a table with names of its own is written [...]: the table is told.
        keys = tuple(key for key in place.rstrip("`").partition("[")[0].split(".") if key)
        key = ".".join(keys) or "the file"
        raise AkiosError(
            f"{key}: {_in_words(what)}", _where(name, positions, keys), f"correct {key}"
        ) from None


def _in_words(what: str) -> str:
    """What msgspec says of a value, without its names of types."""
    for theirs, ours in _TYPE_WORDS.items():
        what = what.replace(f"`{theirs}`", ours)
    return what.replace("Expected", "expected").replace("Invalid enum value", "there is no")


def load_roots(config: Config) -> bytes:
    """The PEM certificates that gateways trust besides the host's; empty without
    ``gateway.roots``.
    """
    if not config.gateway.roots:
        return b""
    data = read_trusted(Path(config.gateway.roots))
    return check_roots(data or b"", config.gateway.roots)


def read_trusted(path: Path, *, optional: bool = False) -> bytes | None:
    """The bytes of a file that only root may write; None when it is absent and ``optional``.

    Owner and mode are checked on the open file, so that it cannot be exchanged in between. Raises
    :class:`AkiosError`.
    """
    try:
        with open(
            path,
            "rb",
            opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC),
        ) as file:
            status = os.fstat(file.fileno())
            _refuse_untrusted(path, status)
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if optional:
            return None
        raise AkiosError("there is no such file", str(path), "check the path") from None
    except OSError as error:
        raise AkiosError(
            f"it cannot be read: {error.strerror}", str(path), "check the path and its mode"
        ) from None
    if len(data) > MAX_BYTES:
        raise AkiosError(f"it is larger than {MAX_BYTES} bytes", str(path), "check the path")
    return data


def _refuse_untrusted(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AkiosError("it is not a regular file", str(path), "check the path")
    if status.st_uid not in (0, os.geteuid()):
        raise AkiosError(
            f"it belongs to uid {status.st_uid}, not to root", str(path), f"chown root {path}"
        )
    if status.st_mode & 0o022:
        raise AkiosError("users other than its owner can write it", str(path), f"chmod go-w {path}")


def _refuse_unknown(
    values: Any, shape: type[msgspec.Struct], path: KeyPath, positions: Positions, name: str
) -> None:
    where = _where(name, positions, path)
    if not isinstance(values, dict):
        raise AkiosError("keys and values should stand here", where, "write `key: value` lines")
    fields = {field.name: field.type for field in msgspec.structs.fields(shape)}
    for key, value in values.items():
        inner = (*path, str(key))
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"did you mean {near[0]}?" if near else "known keys: " + ", ".join(fields)
            raise AkiosError(f"unknown key {'.'.join(inner)}", _where(name, positions, inner), hint)
        for shape, at, inside in _tables(fields[key], value, inner):
            _refuse_unknown(inside, shape, at, positions, name)


def _tables(
    kind: Any, value: Any, path: KeyPath
) -> list[tuple[type[msgspec.Struct], KeyPath, Any]]:
    """The tables of known keys in a field of this type: itself, or those it holds under names of
    their own.
    """
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [(kind, path, value)]
    if get_origin(kind) is dict and isinstance(value, dict):
        inner = get_args(kind)[1]
        return [
            table
            for key, held in value.items()
            for table in _tables(inner, held, (*path, str(key)))
        ]
    return []


def _where(name: str, positions: Positions, path: KeyPath) -> str:
    """File and line of a key, or of the table that lacks it."""
    while path and path not in positions:
        path = path[:-1]
    return f"{name}, line {positions[path][1]}" if path else name


def _find_contradictions(config: Config, where: Where) -> Iterator[AkiosError]:
    """What types cannot say."""
    for key in ("state_dir", "runtime_dir", "system_policy"):
        if not getattr(config, key).startswith("/"):
            what = f"{key} is not an absolute path"
            yield AkiosError(what, where(key), "write a path that starts with /")
    yield from find_out_of_range(config, where)
    yield from _find_in_ledger(config.ledger, where)
    yield from _find_in_uids(config.uids, where)
    yield from find_gateway_errors(config.gateway, where)


def _find_in_ledger(ledger: LedgerConfig, where: Where) -> Iterator[AkiosError]:
    if ledger.host_keep_days and not 0 < ledger.keep_days <= ledger.host_keep_days:
        what = "the host's log would forget cages whose logs are still kept"
        hint = "set ledger.keep_days too, no larger than ledger.host_keep_days"
        yield AkiosError(what, where("ledger", "host_keep_days"), hint)


def _find_in_uids(uids: Uids, where: Where) -> Iterator[AkiosError]:
    if uids.first_cage < 65_536 or uids.cage_count < 2:
        what = "the uids for cages begin below 65536, among ordinary users, or are fewer than 2"
        yield AkiosError(what, where("uids"), "see uids in akiosd.yaml(5)")
    if uids.first_cage + uids.cage_count > uids.display_base:
        what = "the uids for cages overlap those that begin at uids.display_base"
        yield AkiosError(what, where("uids"), "lower uids.first_cage or uids.cage_count")
    if uids.display_base + DISPLAY_COUNT >= _NO_UID:
        what = "the uids that begin at uids.display_base end above the last uid that Linux has"
        yield AkiosError(what, where("uids"), "lower uids.display_base")
