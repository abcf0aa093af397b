"""The ``/etc`` that cages see: a chosen, world-readable part of the host's, and files made for the
agent.

The host's part is copied once, and again when one of its files changes. For each user name and home
one directory of hard links to that copy is made: it is cheap, and small, since callers choose these
names.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from akiosd.errors import DeniedError
from akiosd.values import trust
from akiosd.values.etc_names import is_secret_part, why_not

CHOSEN = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone",
    "terminfo", "ssl", "ca-certificates", "pki", "mime.types", "protocols", "services", "rpc",
    "networks", "gitattributes", "os-release", "lsb-release", "debian_version", "profile",
    "profile.d", "bash.bashrc", "inputrc", "locale.alias", "locale.conf", "default/locale",
    "gai.conf", "host.conf", "fonts", "magic", "magic.mime", "python3", "python3.11", "python3.12",
    "python3.13", "perl", "java-17-openjdk", "java-21-openjdk", "ImageMagick-6", "mailcap",
    "shells", "skel", "bash_completion.d", "nanorc", "vim", "xattr.conf", "login.defs",
    "X11/rgb.txt", "dpkg/origins",
)  # fmt: skip
"""Relative to /etc.  Files that not everybody may read are left out wherever they stand."""

BROUGHT = (
    "maven", "ant", "gradle", "composer", "php", "R", "sbclrc", "chromium", "chromium.d",
    "chromium-browser", "manpath.config", "man_db.conf", "groff", "papersize", "libpaper.d",
    "gtk-2.0", "gtk-3.0", "gtk-4.0", "xdg", "vulkan", "OpenCL", "glvnd", "openal", "gdb",
    "gprofng.rc", "debuginfod", "emacs", "sgml", "xml", "texmf", "ghostscript", "zsh", "fish",
    "screenrc", "mercurial", "netconfig", "ethertypes", "python3.14", "java-8-openjdk",
    "java-11-openjdk", "java-25-openjdk", "ImageMagick-7", "dotnet", "lynx", "w3m",
)  # fmt: skip
"""What packages bring and their programs cannot do without; what is called as secrets are is left
out.
"""


_BUNDLES = (
    "ssl/certs/ca-certificates.crt", "ssl/certs/ca-bundle.crt", "ssl/cert.pem", "ssl/ca-bundle.pem",
    "pki/tls/cert.pem", "pki/tls/certs/ca-bundle.crt",
    "pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "ca-certificates/extracted/tls-ca-bundle.pem",
)  # fmt: skip
# Where programs look that bring their own OpenSSL, on hosts that have it or not.
_ALWAYS = ("ssl/certs/ca-certificates.crt", "ssl/cert.pem")
_JAVA = ("ssl/certs/java/cacerts", "pki/ca-trust/extracted/java/cacerts", "pki/java/cacerts")
# Part of every name, so that a directory that an earlier version made is not used.
_LAYOUT = 5
_COMMON, _ADDED = "common-", "added-"

_MOST_BYTES, _MOST_FILES = 16 << 20, 4096
_CHECK_EVERY_S = 2.0
_last: tuple[float, str] = (-1e9, "")


def signature() -> str:
    """A text that changes when a chosen file of the host does; checked again after two seconds."""
    global _last
    now = time.monotonic()
    if now - _last[0] > _CHECK_EVERY_S:
        _last = (now, _read_signature())
    return _last[1]


def _read_signature() -> str:
    digest = hashlib.sha256()
    for name in (*CHOSEN, *BROUGHT):
        with contextlib.suppress(OSError):
            found = os.stat(f"/etc/{name}", follow_symlinks=False)
            digest.update(f"{name} {found.st_ino} {found.st_mtime_ns} {found.st_size}\n".encode())
    return digest.hexdigest()[:16]


def _copy(source: str, target: str, leave: Callable[[str], bool] = lambda name: False) -> None:
    """``leave``: names in directories that are left out."""
    found = os.lstat(source)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISDIR(found.st_mode) and found.st_mode & 0o005 == 0o005:
        os.mkdir(target)
        os.chmod(target, 0o755)
        for name in os.listdir(source):
            if not leave(name):
                _copy(f"{source}/{name}", f"{target}/{name}", leave)
    elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o004:
        shutil.copyfile(source, target)
        os.chmod(target, found.st_mode & 0o755)


def _make_parent(path: Path) -> None:
    # The daemon's umask is 077, and a mode given to mkdir is masked by it.
    if not path.exists():
        path.mkdir()
        path.chmod(0o755)


def _link_stores(fresh: Path) -> None:
    """The host's trust stores become links to that of the cage, which is mounted on the last
    directory made here.
    """
    for name in _ALWAYS:
        _make_place((fresh / name).parent, fresh)
    for names, target in ((_BUNDLES, trust.BUNDLE), (_JAVA, trust.JAVA)):
        for name in names:
            path = fresh / name
            if _is_inside(path.parent, fresh) and (name in _ALWAYS or os.path.lexists(path)):
                path.unlink(missing_ok=True)
                path.symlink_to(target)
    _make_parent(fresh / trust.DIRECTORY.removeprefix("/etc/"))


def _is_inside(directory: Path, fresh: Path) -> bool:
    """Whether ``directory`` is reached from ``fresh`` without a link: a link could lead this
    process to write on the host.
    """
    way = [directory, *directory.parents]
    return all(path.is_dir() and not path.is_symlink() for path in way[: way.index(fresh)])


def _make_place(directory: Path, fresh: Path) -> None:
    for path in (*reversed(directory.relative_to(fresh).parents), directory.relative_to(fresh)):
        if not os.path.lexists(fresh / path):
            _make_parent(fresh / path)
        if (fresh / path).is_symlink():
            return


def _accounts(user: str, home: str, uid: int, gid: int) -> dict[str, str]:
    passwd = [f"{user}:x:{uid}:{gid}:{user}:{home}:/bin/bash"]
    group = [f"{user}:x:{gid}:"]
    for name, number in (("root", 0), ("daemon", 1), ("nobody", 65534)):
        if name != user and number != uid:
            passwd.append(f"{name}:x:{number}:{number}:{name}:/nonexistent:/usr/sbin/nologin")
    for name, number in (("root", 0), ("tty", 5), ("nogroup", 65534)):
        if name != user and number != gid:
            group.append(f"{name}:x:{number}:")
    return {
        "passwd": "\n".join(passwd) + "\n",
        "group": "\n".join(group) + "\n",
        "nsswitch.conf": (
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
            "protocols: files\nservices: files\n"
        ),
        # Refusals are answered at once: only a gateway that still starts takes long.
        "resolv.conf": "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n",
        "hostname": "cage\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
        "gitconfig": "",  # a place for what a client makes of its user's
        "machine-id": "00000000000000000000000000000000\n",
        "subuid": "",
        "subgid": "",
    }


class _Room:
    """How much may still be copied of what a policy names."""

    def __init__(self) -> None:
        self.bytes, self.files = _MOST_BYTES, _MOST_FILES

    def take(self, name: str, size: int) -> None:
        self.bytes, self.files = self.bytes - size, self.files - 1
        if self.bytes < 0 or self.files < 0:
            raise DeniedError(
                f"/etc/{name} is too large to be shown",
                "filesystem.read",
                "name what is needed of it",
            )


class Found(NamedTuple):
    """Something of the host's /etc, and what tells one content of it from another."""

    name: str
    state: str


def _find(name: str) -> Found:
    """What the host has at ``name``, for the key.  Nothing is shown that not everybody can reach:
    root must not look behind a link, or into a directory, where the caller could not.

    Raises DeniedError.
    """
    reason = why_not(name)
    way = [f"/etc/{part}" for part in accumulate(name.split("/"), "{}/{}".format)]
    try:
        for path in way[:-1]:
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode) or not found.st_mode & 0o001:
                reason = reason or f"{path} is not a directory that everybody can enter"
        found = os.lstat(way[-1])
        if not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o004:
            reason = reason or "not everybody can read it"
    except OSError as error:
        reason = reason or str(error.strerror)
    if reason:
        raise DeniedError(f"/etc/{name} is not shown: {reason}", "filesystem.read", "leave it out")
    return Found(name, f"{found.st_ino} {found.st_ctime_ns}")


def _add(base: Path, found: Found, fresh: Path, room: _Room) -> None:
    """Link what a policy names and the cage does not have yet."""
    target = fresh / found.name
    if os.path.lexists(target) or not _is_way(target.parent, fresh):
        return
    source = _make_shared(base, found, room)
    if not os.path.lexists(source):
        return
    _make_place(target.parent, fresh)
    if source.is_dir() and not source.is_symlink():
        _link_tree(source, target)
    else:
        os.link(source, target, follow_symlinks=False)


def _link_tree(source: Path, target: Path) -> None:
    """Make the directories and links of a tree again, and its files by hard links."""
    try:
        shutil.copytree(source, target, symlinks=True, copy_function=os.link)
    except shutil.Error as error:
        # It goes on after each failure and then tells all of them, each as text only.
        (_, place, why), *_ = error.args[0]
        number = re.search(r"\[Errno (\d+)\]", str(why))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(place)) from None


def _make_shared(base: Path, found: Found, room: _Room) -> Path:
    """One copy for all cages, so that no caller fills the disk by asking in many ways."""
    key = hashlib.sha256(f"{_LAYOUT}\0{found.name}\0{found.state}".encode()).hexdigest()[:24]
    place = base / f"{_ADDED}{key}"
    if not place.is_dir():
        for where, _, files in os.walk(f"/etc/{found.name}"):
            for file in files:
                with contextlib.suppress(OSError):
                    room.take(found.name, os.lstat(f"{where}/{file}").st_size)
        fresh = base / "added.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o755)
        _copy(f"/etc/{found.name}", str(fresh / "it"), is_secret_part)
        fresh.rename(place)
    return place / "it"


def _is_way(directory: Path, fresh: Path) -> bool:
    """Whether no link leads from ``fresh`` to ``directory``, as far as there is one."""
    way = [directory, *directory.parents]
    return not any(path.is_symlink() for path in way[: way.index(fresh)])


def make(base: Path, user: str, home: str, uid: int, gid: int, added: tuple[str, ...] = ()) -> Path:
    """The directory for this user, made if needed; owned by root, readable by everybody.

    ``added`` are names relative to ``/etc`` that the policy adds.  Raises DeniedError for one that
    is not shown.
    """
    found = [_find(name) for name in added]
    key = hashlib.sha256(
        f"{_LAYOUT}\0{signature()}\0{user}\0{home}\0{uid}\0{gid}\0{found}".encode()
    ).hexdigest()[:24]
    target = base / key
    if target.is_dir():
        return target
    fresh = base / f"{key}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    _link_tree(_make_common(base), fresh)
    for name, text in _accounts(user, home, uid, gid).items():
        (fresh / name).unlink(missing_ok=True)
        (fresh / name).write_text(text)
        (fresh / name).chmod(0o644)
    room = _Room()
    for one in found:
        _add(base, one, fresh, room)
    fresh.rename(target)
    return target


def _make_common(base: Path) -> Path:
    target = base / f"{_COMMON}{_LAYOUT}-{signature()}"
    if target.is_dir():
        return target
    base.parent.mkdir(parents=True, exist_ok=True)
    _make_parent(base)
    fresh = base / "common.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o755)
    for name in CHOSEN:
        if os.path.lexists(f"/etc/{name}"):
            _make_parent((fresh / name).parent)
            _copy(f"/etc/{name}", str(fresh / name))
    for name in BROUGHT:
        if os.path.lexists(f"/etc/{name}"):
            _copy(f"/etc/{name}", str(fresh / name), is_secret_part)
    _link_stores(fresh)
    (fresh / "mtab").symlink_to("/proc/self/mounts")
    fresh.chmod(0o755)
    fresh.rename(target)
    return target


def sweep(base: Path) -> None:
    """Remove all directories that an earlier daemon made."""
    with contextlib.suppress(FileNotFoundError):
        for path in base.iterdir():
            shutil.rmtree(path, ignore_errors=True)
