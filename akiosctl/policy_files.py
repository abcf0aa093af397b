"""Policy files: found and read as the user, parsed with line numbers, cached as msgpack.

The cache spares a run the import of the YAML parser; its key is the file's identity (device, inode,
time of change, size), and an entry of another version or path is ignored.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

import akiosd.policy
from akiosctl.open_regular import NotRegularError, reopen_regular
from akiosctl.run_options import LEFT_OUT, POLICY_OPTIONS
from akiosd import __version__
from akiosd.errors import PolicyError
from akiosd.kernel.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2
from akiosd.policy.merge import Layer
from akiosd.policy.schema import PartialPolicy, Position, load
from akiosd.policy.schema import Path as KeyPath
from akiosd.policy.system import SystemPolicy, restored, without_file

PROJECT_POLICY = "akios.yaml"
PROFILES = ("default", "strict", "permissive-dev")
MAX_BYTES = 1 << 20
_CACHE_VERSION = f"{__version__}/2"


class _Cached(msgspec.Struct, frozen=True):
    """What a cache file holds; ``path`` because the positions in ``policy`` name it."""

    version: str
    path: str
    policy: PartialPolicy


def user_policy_path() -> Path:
    """The user's own policy file, which may not exist."""
    return _directory("XDG_CONFIG_HOME", ".config") / "policy.yaml"


def find_layers(
    workspace: Path, explicit: str | None = None, *, system: SystemPolicy
) -> list[Layer]:
    """The system, user and project policies that exist, in the order of merging.

    ``explicit`` (``--policy``, a file or the name of a profile) stands in the project's place.
    """
    layers, user = [system.layer], user_policy_path()
    if _exists(user):
        layers.append(Layer("user", read_policy(user)))
    project = workspace / PROJECT_POLICY
    if explicit is not None:
        layers.append(Layer("project", read_named(explicit)))
    elif _exists(project):
        layers.append(Layer("project", read_policy(project, beneath=workspace)))
    return layers


def read_system(path: Path) -> SystemPolicy:
    """The system policy as this user can read it; akiosd is asked first, see
    :mod:`akiosctl.system_policy`.
    """
    if _exists(path):
        return SystemPolicy(str(path), True, read_policy(path))
    return without_file(str(path), read_profile("system"))


def read_profile(name: str) -> PartialPolicy:
    """A file that comes with AKIOS."""
    return parse(profile_path(name).read_bytes(), f"profile {name}")


def profile_path(name: str) -> Path:
    """Where a file that comes with AKIOS is."""
    return Path(akiosd.policy.__path__[0], "profiles", f"{name}.yaml")


def read_named(name: str) -> PartialPolicy:
    """A profile by its name, else a file by its path.  Raises :class:`PolicyError`."""
    if name in PROFILES:
        return read_profile(name)
    if "/" not in name and not os.path.lexists(name):
        hint = f"give the path of a file, or a profile: {', '.join(PROFILES)}"
        raise PolicyError("there is no policy file and no profile of this name", name, hint)
    return read_policy(Path(name))


def read_policy(path: Path, *, beneath: Path | None = None) -> PartialPolicy:
    """A policy file, from the cache if the very same file was parsed before.  Raises
    :class:`PolicyError`.

    ``beneath``: a directory full of somebody's links, out of which no link may lead.
    """
    opener = _open_regular if beneath is None else partial(_open_beneath, beneath)
    try:
        with open(path, "rb", opener=opener) as file:
            status = os.fstat(file.fileno())
            cache = _cache_path(status)
            cached = _read_cache(cache, str(path))
            if cached is not None:
                return cached
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"cannot read the policy: {error.strerror}", str(path), "check the path and its mode"
        ) from None
    try:
        policy = parse(data, str(path))
    except PolicyError:
        if _is_closed_link(path, status):
            raise PolicyError(
                "it is a link to a file that is not a policy; what is wrong with that file is not"
                " shown, because not everybody may read it",
                str(path),
                "name that file itself to see it: akiosctl policy check FILE",
            ) from None
        raise
    _write_cache(cache, _Cached(_CACHE_VERSION, str(path), policy))
    return policy


def parse(data: bytes, name: str) -> PartialPolicy:
    """YAML text → partial policy; ``name`` stands in error messages before the line."""
    if len(data) > MAX_BYTES:
        raise PolicyError(
            f"the policy is larger than {MAX_BYTES} bytes",
            name,
            "policies are short; check the path",
        )
    from akiosd.policy.yaml_lines import load_positions

    content, positions = load_positions(data, name)
    return load(content, positions, name=name)


def _open_regular(path: str, flags: int) -> int:
    return _reopen(os.open(path, os.O_PATH | os.O_CLOEXEC), path)


def _reopen(anchor: int, path: str) -> int:
    """What ``anchor`` (O_PATH, closed here) stands for, for reading."""
    try:
        return reopen_regular(anchor)
    except NotRegularError:
        raise PolicyError("the policy is not a regular file", path, "check the path") from None
    finally:
        os.close(anchor)


def _open_beneath(directory: Path, path: str, flags: int) -> int:
    """As ``_open_regular``, for a file in a directory whose links are not the user's.
    openat2(2).
    """
    anchor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = os.fsencode(os.path.relpath(path, directory))
        fd = openat2(anchor, name, os.O_PATH, resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ELOOP):
            raise
        hint = "put the policy itself there, or name it with --policy"
        raise PolicyError(
            "the project's policy is a link that leads out of the project", path, hint
        ) from None
    finally:
        os.close(anchor)
    return _reopen(fd, path)


def _is_closed_link(path: Path, status: os.stat_result) -> bool:
    """Whether ``path`` is a link to a file that not everybody may read: who made the link may not
    be allowed to.
    """
    return os.path.islink(path) and not status.st_mode & stat.S_IROTH


def _exists(path: Path) -> bool:
    """A policy that is there and cannot be read is an error later, never an absent policy."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise PolicyError(
            f"cannot look for the policy: {error.strerror}",
            str(path),
            "check the mode of its directory",
        )
    return True


def _directory(variable: str, below_home: str) -> Path:
    base = os.environ.get(variable, "")
    return (Path(base) if base.startswith("/") else Path.home() / below_home) / "akios"


def _cache_path(status: os.stat_result) -> Path:
    identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
    return (
        _directory("XDG_CACHE_HOME", ".cache")
        / "policy"
        / "-".join(f"{number:x}" for number in identity)
    )


def _read_cache(cache: Path, path: str) -> PartialPolicy | None:
    try:
        with open(cache, "rb") as file:
            # Only what this user wrote, and nobody else can write, is our own memory.
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            entry = msgspec.msgpack.decode(file.read(MAX_BYTES), type=_Cached)
    except (OSError, msgspec.MsgspecError):
        return None
    is_ours = (entry.version, entry.path) == (_CACHE_VERSION, path)
    return restored(entry.policy) if is_ours else None


def _write_cache(cache: Path, entry: _Cached) -> None:
    temporary = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(msgspec.msgpack.encode(entry))
        os.replace(temporary, cache)
    except OSError:
        # A home that cannot be written costs time, not correctness.
        _remove(temporary)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass


def decode_flags(values: dict[str, Any]) -> PartialPolicy:
    """Command line flags as a layer: ``{"limits": {"memory": "1G"}}``; errors name the option."""
    options: dict[KeyPath, Position] = {
        place: (f"--{name}", 0) for name, place in POLICY_OPTIONS.items()
    }
    for name, sections in LEFT_OUT.items():
        keys = {
            (section, key): value
            for section, found in sections.items()
            for key, value in found.items()
        }
        if len(keys) > 1 and all(
            values.get(s, {}).get(k) == value for (s, k), value in keys.items()
        ):
            options |= {place: (f"--{name.replace('_', '-')}:", 0) for place in keys}
    return load(values, options, name="the command line")
