"""The steps of a plan by name: one function for each operation of the launcher, with its own
arguments.

On the wire every step has the same slots (:class:`akiosd.values.plan.Step`); here stands what each
operation reads from them.  ``what`` is the line that ``policy explain`` prints and an error names.
Paths are bytes: relative to the cage's new root without a leading slash, or absolute in the
launcher's staging root where a step says ``stage``.  Attributes of mounts are those of
mount_setattr(2).
"""

from __future__ import annotations

from akiosd.values.plan import F_EXIST_OK, F_RECURSIVE, F_SAME_KIND, F_STAGE, Step, encode_options


def cgroup_v1(what: str, tasks_fd: str) -> Step:
    """Write 0 to an open ``tasks`` file: the writer enters its group (cgroups(7))."""
    return Step(op="cgroup_v1", what=what, fd=tasks_fd)


def unshare(what: str, namespaces: int) -> Step:
    """``namespaces`` are CLONE_NEW* flags (unshare(2))."""
    return Step(op="unshare", what=what, u0=namespaces)


def setns(what: str, namespace_fd: str, kind: int) -> Step:
    """``kind`` is the CLONE_NEW* flag of the namespace (setns(2))."""
    return Step(op="setns", what=what, fd=namespace_fd, u0=kind)


def hostname(what: str, name: str) -> Step:
    return Step(op="hostname", what=what, a=name.encode())


def setsid(what: str) -> Step:
    return Step(op="setsid", what=what)


# ---- the new root ------------------------------------------------------------------------------


def root(what: str, path: bytes) -> Step:
    """``path`` in the staging root is what every path without ``stage`` is below, from here on."""
    return Step(op="root", what=what, a=path)


def canary(what: str, directory: bytes) -> Step:
    """Keep a directory of the staging root open, whose file ``canary`` Landlock must
    refuse later.
    """
    return Step(op="canary", what=what, a=directory)


def attach(
    what: str, tree_fd: str, path: bytes, attributes: int = 0, *, stage: bool = False
) -> Step:
    """Set ``attributes`` on a detached tree and move it to ``path`` (move_mount(2))."""
    return Step(
        op="attach", what=what, fd=tree_fd, a=path, u0=attributes, flags=F_STAGE if stage else 0
    )


def fsmount(
    what: str,
    kind: str,
    options: dict[str, str],
    path: bytes,
    attributes: int,
    *,
    stage: bool = False,
) -> Step:
    """A new file system of ``kind`` at ``path`` (fsopen(2)); an option without a value
    is a flag.
    """
    flags = F_STAGE if stage else 0
    return Step(
        op="fsmount",
        what=what,
        a=kind.encode(),
        b=encode_options(options),
        c=path,
        u0=attributes,
        flags=flags,
    )


def export(what: str, kind: str, options: dict[str, str], attributes: int) -> Step:
    """A new file system that goes to akiosd, detached, over the status socket."""
    return Step(op="export", what=what, a=kind.encode(), b=encode_options(options), u0=attributes)


def bind(
    what: str,
    source: bytes,
    target: bytes,
    attributes: int,
    *,
    stage: bool = False,
    optional: bool = False,
    same_kind: bool = False,
) -> Step:
    """``source`` once more, at ``target``.  ``stage``: the source is in the staging root; the
    target never is.

    ``optional``: a source or target that is not there is no failure.  ``same_kind``: nor is a
    target that is a directory where the source is none, or the other way; it is left as it is.
    """
    flags = (
        (F_STAGE if stage else 0)
        | (F_EXIST_OK if optional else 0)
        | (F_SAME_KIND if same_kind else 0)
    )
    return Step(op="bind", what=what, a=source, c=target, u0=attributes, flags=flags)


def setattr(what: str, attributes: int, cleared: int = 0, *, recursive: bool = False) -> Step:
    """Attributes of the new root itself."""
    return Step(
        op="setattr", what=what, u0=attributes, u1=cleared, flags=F_RECURSIVE if recursive else 0
    )


def mkdir(what: str, parent: bytes, name: bytes, owner: int, mode: int = 0o755) -> Step:
    """What is there already stays as it is."""
    return Step(
        op="mkdir", what=what, a=parent, b=name, u0=mode, uid=owner, gid=owner, flags=F_EXIST_OK
    )


def mkfile(what: str, parent: bytes, name: bytes, owner: int, mode: int) -> Step:
    """An empty file; ``mode`` with its type.  What is there already stays as it is."""
    return Step(
        op="mkfile", what=what, a=parent, b=name, u0=mode, uid=owner, gid=owner, flags=F_EXIST_OK
    )


def symlink(what: str, parent: bytes, name: bytes, target: bytes, owner: int) -> Step:
    return Step(op="symlink", what=what, a=parent, b=name, c=target, uid=owner, gid=owner)


def mknod(what: str, parent: bytes, name: bytes, mode: int, device: int, owner: int) -> Step:
    """``mode`` with the type of the device, ``device`` its number (mknod(2))."""
    return Step(op="mknod", what=what, a=parent, b=name, u0=mode, u1=device, uid=owner, gid=owner)


def watch(
    what: str, group_fd: str, parent: bytes, name: bytes, mask: int, *, optional: bool = False
) -> Step:
    """Events of ``mask`` on the mount at ``parent``/``name`` go to an open fanotify(7) group;
    ``optional``: that nothing is there is no failure.
    """
    flags = F_EXIST_OK if optional else 0
    return Step(op="watch", what=what, fd=group_fd, a=parent, b=name, u0=mask, flags=flags)


def pivot(what: str) -> Step:
    return Step(op="pivot", what=what)


def park(what: str) -> Step:
    """Wait for the plan that goes on where this one ends."""
    return Step(op="park", what=what)


# ---- the process -------------------------------------------------------------------------------


def pty(what: str, multiplexer: bytes, rows: int, columns: int) -> Step:
    """A terminal of that size becomes descriptors 0 to 2; its master goes over the
    status socket.
    """
    return Step(op="pty", what=what, a=multiplexer, u0=rows, u1=columns)


def stdio(what: str, source_fd: str, number: int) -> Step:
    """``source_fd`` becomes descriptor ``number``."""
    return Step(op="stdio", what=what, fd=source_fd, u0=number)


def umask(what: str, mask: int) -> Step:
    return Step(op="umask", what=what, u0=mask)


def close_range(what: str, first: int) -> Step:
    """Every descriptor from ``first`` on is closed."""
    return Step(op="close_range", what=what, u0=first)


def rlimit(what: str, resource: int, soft: int, hard: int) -> Step:
    """Lowered, never raised (setrlimit(2))."""
    return Step(op="rlimit", what=what, u0=resource, u1=soft, u2=hard)


def keyring(what: str) -> Step:
    """A session keyring with nothing in it (keyctl(2))."""
    return Step(op="keyring", what=what)


def bounding(what: str) -> Step:
    """The capability bounding set and the ambient set are emptied (capabilities(7))."""
    return Step(op="bounding", what=what)


def securebits(what: str, bits: int) -> Step:
    return Step(op="securebits", what=what, u0=bits)


def ids(what: str, uid: int, gid: int) -> Step:
    """No supplementary group, then real, effective and saved ids."""
    return Step(op="ids", what=what, uid=uid, gid=gid)


def capset(what: str) -> Step:
    """No capability in any set (capset(2))."""
    return Step(op="capset", what=what)


def lockdown(what: str) -> Step:
    """no_new_privs, not dumpable, killed with its parent (prctl(2))."""
    return Step(op="lockdown", what=what)


def landlock(what: str, handled_fs: int, scoped: int, attr_size: int, handled_net: int = 0) -> Step:
    """A ruleset; ``attr_size`` is the size of the structure that this ABI knows (landlock(7))."""
    return Step(op="landlock", what=what, u0=handled_fs, u1=scoped, u2=attr_size, uid=handled_net)


def landlock_rule(
    what: str, path: bytes, access: int, *, optional: bool = False, fd: str | None = None
) -> Step:
    """Allow ``access`` beneath ``path``, or beneath what ``fd`` has open; ``optional``: a path that
    is not there is no failure.
    """
    return Step(
        op="landlock_rule",
        what=what,
        a=path,
        u0=access,
        fd=fd,
        flags=F_EXIST_OK if optional else 0,
    )


def landlock_enforce(what: str) -> Step:
    """Restrict the process, and prove that the canary is refused which could be read
    just before.
    """
    return Step(op="landlock_enforce", what=what)


def domain(what: str) -> Step:
    """The cage has no namespaces: its init gets its orphans, ends all of them itself, and hands the
    listener to akiosd.
    """
    return Step(op="domain", what=what)


def seccomp(what: str, program: bytes, flags: int) -> Step:
    """``program`` is an array of ``struct sock_filter``, ``flags`` those of seccomp(2)."""
    return Step(op="seccomp", what=what, a=program, u0=flags)
