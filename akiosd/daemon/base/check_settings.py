"""``akiosd --check``: everything that is wrong in the administrator's files, each with its line,
and on this host.

Nothing is started, nothing is changed.  What akiosd would refuse at its start or on SIGHUP is found
here, and not only the first of it.
"""

from __future__ import annotations

import grp
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from akiosd.daemon.base.check_start import describe_state, find_refusals
from akiosd.daemon.base.config import Config, find_config_errors, load_roots, read_trusted
from akiosd.daemon.base.gateway_config import find_expired
from akiosd.daemon.base.settings import Overrides, Settings, load_settings, load_system_policy
from akiosd.errors import AkiosError
from akiosd.policy.schema import find_errors
from akiosd.policy.yaml_lines import load_positions
from akiosd.values.places import CONFIG_FILE
from akiosd.values.text import as_bytes, show


def check_settings(path: Path | None, overrides: Overrides) -> int:
    """Print what was read and what is wrong; returns 0 when akiosd would take the files, else 1."""
    findings, config = _check_config(path, overrides)
    findings += _check_policy(Path(config.system_policy))
    is_root = os.geteuid() == 0
    if is_root:
        findings += find_refusals(config)
    if not findings:
        # Nothing is left out above; this is the very call of a start.
        try:
            settings = load_settings(path, overrides)
        except AkiosError as error:
            findings.append(error)
        else:
            _tell_good(settings, is_root)
    for found in findings:
        print(_printable(f"{found.where}: {found.what}"), file=sys.stderr)
        if found.next:
            print(_printable(f"  next: {found.next}"), file=sys.stderr)
    return 1 if findings else 0


def _tell_good(settings: Settings, is_root: bool) -> None:
    for read in settings.read:
        print(_printable(f"{read.path}: {'OK' if read.sha256 else 'absent'}"))
    for expired in find_expired(settings.roots, datetime.now(UTC)):
        print(_printable(f"gateway.roots: {expired}, which is not now"))
    if not settings.system.exists:
        print("without a system policy, the one that AKIOS comes with holds")
    if not is_root:
        print("only the files were looked at: directories, keys and sockets are root's to see")
        return
    for directory in (settings.config.state_dir, settings.config.runtime_dir):
        print(_printable(f"{directory}: {describe_state(Path(directory))}"))
    for key, group in msgspec.structs.asdict(settings.config.groups).items():
        if not _exists(group):
            print(_printable(f"groups.{key}: there is no group {group}, so nobody has that role"))


def _exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _check_config(path: Path | None, overrides: Overrides) -> tuple[list[AkiosError], Config]:
    """What is wrong with akiosd.yaml, and what the rest of it says."""
    name = str(path or CONFIG_FILE)
    try:
        data = read_trusted(path or Path(CONFIG_FILE), optional=path is None)
        findings, config = find_config_errors(data or b"", name, **overrides)
    except AkiosError as error:
        return [error], Config()
    return [*findings, *_check_roots(config)], config


def _check_roots(config: Config) -> Iterator[AkiosError]:
    try:
        load_roots(config)
    except AkiosError as error:
        yield error


def _check_policy(path: Path) -> list[AkiosError]:
    try:
        data = read_trusted(path, optional=True)
        if data is None:
            return []
        values, positions = load_positions(data, str(path))
        found: list[AkiosError] = [*find_errors(values, positions, name=str(path))]
        if not found:
            load_system_policy(path)
    except AkiosError as error:
        return [error]
    return found


def _printable(text: str) -> str:
    return show(text, as_bytes)
