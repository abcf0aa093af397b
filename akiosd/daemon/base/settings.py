"""What the administrator's files say, read together: at the start, on SIGHUP, and by ``akiosd
--check``.

Whatever cannot be read or understood leaves nothing half read: the settings that hold stay.  Some
keys are looked at only while akiosd starts; when one of those is changed, that is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

import akiosd.policy
from akiosd.daemon.base.config import Config, load_config, load_roots, read_trusted
from akiosd.policy.fields import BY_NAME
from akiosd.policy.merge import Merged, flatten, merge_explained
from akiosd.policy.schema import load
from akiosd.policy.show_values import format_value
from akiosd.policy.system import SystemPolicy, digest, pack, without_file
from akiosd.policy.yaml_lines import load_positions
from akiosd.values.places import CONFIG_FILE
from akiosd.values.policy import DEFAULT_POLICY, Policy
from akiosd.values.records import FileRead
from akiosd.values.text import as_bytes, show

AT_START = ("state_dir", "runtime_dir", "log_level", "policy_mode", "pools", "uids")
"""Keys of ``akiosd.yaml`` that are used only while akiosd starts."""
MOST_CHANGES = 200
_LONGEST = 300

Overrides = Mapping[str, str | bool | None]


class Settings(msgspec.Struct, frozen=True):
    """``merged`` is the built-in policy under the system's; ``packed`` is that layer for clients.

    ``read`` has each file that was looked for.
    """

    config: Config
    config_file: str
    system: SystemPolicy
    merged: Merged
    packed: bytes
    roots: bytes
    read: tuple[FileRead, ...]

    @property
    def policy(self) -> Policy:
        """The system policy: what holds where nobody asks for anything."""
        return self.merged.policy

    @property
    def digest(self) -> bytes:
        """Tells two system policies apart."""
        return digest(self.packed)


class Change(msgspec.Struct, frozen=True):
    """What became of new settings: ``settings`` hold now, ``changed`` says in words what is new in
    them, ``restart`` what was changed in the files and waits for a restart.
    """

    settings: Settings
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def load_settings(path: Path | None, overrides: Overrides) -> Settings:
    """Read everything.  ``path`` and ``overrides`` as :func:`load_config` has them.  Raises
    AkiosError, with file and line.
    """
    config, data = load_config(path, **overrides)
    file = str(path or CONFIG_FILE)
    system, merged, policy_data = load_system_policy(Path(config.system_policy))
    system = msgspec.structs.replace(system, config_file=file)
    roots = load_roots(config)
    found = [(file, data), (system.file, policy_data)]
    if config.gateway.roots:
        found.append((config.gateway.roots, roots))
    read = tuple(FileRead(name, _sha256(text)) for name, text in found)
    return Settings(config, file, system, merged, pack(system), roots, read)


def load_system_policy(path: Path) -> tuple[SystemPolicy, Merged, bytes | None]:
    """The administrator's layer, what comes of it, and its text; without a file the layer that
    AKIOS comes with.

    Raises :class:`AkiosError`.
    """
    data = read_trusted(path, optional=True)
    text = read_shipped() if data is None else data
    values, positions = load_positions(text, str(path))
    policy = load(values, positions, name=str(path))
    system = SystemPolicy(str(path), True, policy)
    if data is None:
        system = without_file(str(path), policy)
    return system, merge_explained([system.layer]), data


def read_shipped() -> bytes:
    """The system policy that AKIOS comes with."""
    return Path(akiosd.policy.__path__[0], "profiles", "system.yaml").read_bytes()


def renew(old: Settings, new: Settings) -> Change:
    """What holds after ``new`` was read while ``old`` held.  Pure."""
    restart = tuple(key for key in AT_START if getattr(old.config, key) != getattr(new.config, key))
    kept = {key: getattr(old.config, key) for key in AT_START}
    settings = msgspec.structs.replace(new, config=msgspec.structs.replace(new.config, **kept))
    return Change(settings, _differences(old, settings), restart)


def first(settings: Settings) -> Change:
    """The settings of a start: told is what is not built in."""
    plain = msgspec.structs.replace(
        settings, config=Config(), merged=Merged(DEFAULT_POLICY, {}), roots=b""
    )
    return Change(settings, _differences(plain, settings), ())


def _differences(old: Settings, new: Settings) -> tuple[str, ...]:
    found = [
        f"{BY_NAME[key].path}: {format_value(key, before)} → {format_value(key, after)}"
        for (key, before), after in zip(
            flatten(old.policy).items(), flatten(new.policy).values(), strict=True
        )
        if before != after
    ]
    before, after = _flat("", old.config), _flat("", new.config)
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key, "nothing"), after.get(key, "nothing")
        if was != now:
            found.append(f"{key}: {was} → {now}")
    if old.roots != new.roots:
        found.append("the certificates of gateway.roots")
    lines = [show(line, as_bytes)[:_LONGEST] for line in found]
    more = len(lines) - MOST_CHANGES
    return (*lines[:MOST_CHANGES], f"{more} more") if more > 0 else tuple(lines)


def _flat(prefix: str, value: Any) -> dict[str, str]:
    """Every key of a configuration, as in ``quotas.cages_total``, with its value as text."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if not isinstance(value, dict):
        return {prefix: str(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    return found


def _sha256(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
