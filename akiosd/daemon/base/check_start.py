"""What a start would be refused for besides the text of the settings: the host, directories, keys,
sockets.

Nothing is made or changed; where akiosd runs already, its sockets are no obstacle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from akiosd.daemon.base import directories
from akiosd.daemon.base.config import Config
from akiosd.daemon.base.exposed_keys import find_exposed_keys
from akiosd.daemon.base.key_store import KeyStore, credentials_directory
from akiosd.daemon.base.socket_path import find_obstacles
from akiosd.daemon.base.uids import CageUids
from akiosd.errors import AkiosError
from akiosd.kernel import cgroup, probe
from akiosd.store.durable import Directory
from akiosd.store.keys import KEY_PATH, NEXT_PATH, load_key
from akiosd.store.lock import find_holder
from akiosd.values.policy import PROVIDERS


def find_refusals(config: Config) -> Iterator[AkiosError]:
    """Everything on this host for which akiosd would not start with ``config``, or would not give
    agents what it was set up for.
    """
    state = Path(config.state_dir)
    yield from _caught(probe.refuse_old_kernel)
    if not config.policy_mode:
        yield from _caught(lambda: cgroup.find_layout(Path("/proc/self/mountinfo").read_text()))
    yield from _find_in_directory(state, directories.check_state)
    runtime = Path(config.runtime_dir)
    yield from _find_in_directory(runtime, directories.check_runtime)
    if state.is_dir():
        yield from find_exposed_keys(state)
        yield from _find_in_state(state, config)
    if not describe_state(state).startswith("in use"):
        yield from find_obstacles(runtime)


def describe_state(path: Path) -> str:
    """What would become of a directory at the start, in a few words."""
    if not path.is_dir():
        return "will be made"
    holder = find_holder(path)
    return f"in use by akiosd, process {holder}" if holder else "OK"


def _find_in_directory(path: Path, check: Callable[[Path], None]) -> Iterator[AkiosError]:
    yield from _caught(check if os.path.lexists(path) else directories.check_makeable, path)


def _find_in_state(state: Path, config: Config) -> Iterator[AkiosError]:
    disk = Directory(state)
    try:
        for path in (KEY_PATH, NEXT_PATH):
            yield from _caught(load_key, disk, path)
    finally:
        disk.close()
    uids = config.uids
    yield from _caught(CageUids, state / "next-uid", uids.first_cage, uids.cage_count)
    keys = KeyStore(state, credentials_directory())
    for provider in PROVIDERS:
        yield from _caught(keys.get, provider)


def _caught(check: Callable[..., object], *arguments: object) -> Iterator[AkiosError]:
    try:
        check(*arguments)
    except AkiosError as error:
        yield error
    except OSError as error:
        yield AkiosError(
            f"it cannot be read: {error.strerror}",
            str(error.filename or ""),
            "check it as root: sudo akiosd --check",
        )
