"""Numbers that were written down here, compared with the newest kernel headers on this machine.

``AKIOS_KERNEL_HEADERS`` names an include directory to prefer (``make headers_install`` of a newer
kernel).
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from akiosd.daemon.cages import build_confinement, prepared_cage
from akiosd.kernel import disk, launcher, loop, mounts, syscalls
from akiosd.policy.compile import landlock, limits
from akiosd.policy.compile import mounts as plan_mounts

NATIVE = Path(__file__).resolve().parents[2] / "native" / "include"
HEADERS = [
    *(
        "fcntl.h",
        "linux/capability.h",
        "linux/fs.h",
        "linux/landlock.h",
        "linux/loop.h",
        "linux/mount.h",
    ),
    *(
        "linux/openat2.h",
        "linux/prctl.h",
        "linux/quota.h",
        "linux/sched.h",
        "linux/seccomp.h",
        "linux/securebits.h",
    ),
    *("asm/ioctls.h", "asm/resource.h", "asm/unistd.h", "stdint.h", "stddef.h", "stdio.h"),
]

# What Python wrote down, by the kernel's name.
IN_PYTHON: dict[str, int] = {
    **{name: getattr(launcher, name) for name in dir(launcher) if name.startswith("CLONE_")},
    **{name: getattr(mounts, name) for name in dir(mounts) if name.startswith("MOUNT_ATTR_")},
    "MS_PRIVATE": mounts._MS_PRIVATE,
    "OPEN_TREE_CLONE": mounts.OPEN_TREE_CLONE,
    "AT_EMPTY_PATH": mounts.AT_EMPTY_PATH,
    "AT_RECURSIVE": mounts.AT_RECURSIVE,
    "MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV": plan_mounts.SYSTEM_ATTRS,
    "MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV": plan_mounts.DATA_ATTRS,
    "MOUNT_ATTR_NOEXEC": plan_mounts.NOEXEC,
    "CLONE_NEWCGROUP": plan_mounts._NEWCGROUP,
    "CLONE_NEWUSER": plan_mounts._NEWUSER,
    "CLONE_NEWNET": plan_mounts._NEWNET,
    "(SECURE_ALL_BITS|SECURE_ALL_LOCKS)&~issecure_mask(SECURE_KEEP_CAPS)": plan_mounts._SECUREBITS,
    "SECCOMP_FILTER_FLAG_NEW_LISTENER|SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": build_confinement.FILTER_FLAGS,
    **{
        name: getattr(syscalls, name)
        for name in dir(syscalls)
        if name.startswith(("PR_", "RESOLVE_", "RENAME_", "LANDLOCK_", "SECCOMP_"))
        and name not in ("RESOLVE_NO_LINKS", "RESOLVE_STRICT")  # ours
    },
    **{
        f"__NR_{name}": getattr(syscalls, f"_{name.upper()}")
        for name in (
            *("openat2", "pidfd_getfd", "quotactl_fd", "landlock_create_ruleset", "landlock_add_rule"),
            "landlock_restrict_self",
        )
    },
    "_LINUX_CAPABILITY_VERSION_3": syscalls._CAPABILITY_VERSION_3,
    "F_SETPIPE_SZ": prepared_cage._F_SETPIPE_SZ,
    "FS_IOC_FSGETXATTR": disk._FS_IOC_FSGETXATTR,
    "FS_IOC_FSSETXATTR": disk._FS_IOC_FSSETXATTR,
    "FS_XFLAG_PROJINHERIT": disk._FS_XFLAG_PROJINHERIT,
    "sizeof(struct fsxattr)": disk._FSXATTR.size,
    "PRJQUOTA": disk._PRJQUOTA,
    "Q_GETQUOTA": disk._Q_GETQUOTA,
    "Q_SETQUOTA": disk._Q_SETQUOTA,
    "sizeof(struct if_dqblk)": disk._DQBLK.size,
    "QIF_BLIMITS": disk._QIF_BLIMITS,
    "QIF_ILIMITS": disk._QIF_ILIMITS,
    "LOOP_CTL_GET_FREE": loop._LOOP_CTL_GET_FREE,
    "LOOP_CONFIGURE": loop._LOOP_CONFIGURE,
    "LOOP_GET_STATUS64": loop._LOOP_GET_STATUS64,
    "LO_FLAGS_AUTOCLEAR": loop._AUTOCLEAR,
    "LO_FLAGS_READ_ONLY": loop._READ_ONLY,
    "sizeof(struct loop_info64)": loop._INFO.size,
    "sizeof(struct loop_config)": 8 + loop._INFO.size + len(loop._CONFIG_TAIL),
    **{f"RLIMIT_{name.upper()}": number for name, number in limits.RLIMIT_NUMBERS.items()},
    **{
        f"LANDLOCK_ACCESS_FS_{name}": getattr(landlock, name)
        for name in (
            *("EXECUTE", "WRITE_FILE", "READ_FILE", "READ_DIR", "REMOVE_DIR", "REMOVE_FILE", "MAKE_CHAR", "MAKE_DIR"),
            *("MAKE_REG", "MAKE_SOCK", "MAKE_FIFO", "MAKE_BLOCK", "MAKE_SYM", "REFER", "TRUNCATE", "IOCTL_DEV"),
        )
    },
    "LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET": landlock.SCOPE_ABSTRACT_UNIX_SOCKET,
    "LANDLOCK_SCOPE_SIGNAL": landlock.SCOPE_SIGNAL,
}  # fmt: skip

# Structs under a name of our own, and the kernel's: same size, same places.
STRUCTS = {
    "akios_mount_attr": ("mount_attr", "attr_set attr_clr propagation userns_fd"),
    "akios_open_how": ("open_how", "flags mode resolve"),
    "akios_landlock_ruleset_attr": (
        "landlock_ruleset_attr",
        "handled_access_fs handled_access_net scoped",
    ),
    "akios_landlock_path_beneath": ("landlock_path_beneath_attr", "allowed_access parent_fd"),
    "akios_clone_args": (
        "clone_args",
        "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup",
    ),
}


def in_c() -> dict[str, str]:
    """Macros of uapi.h, name → value as written."""
    text = (NATIVE / "uapi.h").read_text()
    found = dict(re.findall(r"^#define (\w+) +(.+?)\s*$", text, re.MULTILINE))
    return {name: value for name, value in found.items() if name not in ("AKIOS_UAPI_H",)}


def kernel_name(name: str) -> str:
    return name.removeprefix("AKIOS_")


def include_directories() -> list[Path]:
    """Newest first."""
    named = os.environ.get("AKIOS_KERNEL_HEADERS")
    found = [Path(named)] if named else []
    others = [Path("/usr/include"), *Path("/usr/src").glob("linux-headers-*/include/uapi")]
    return found + sorted((path for path in others if version(path)), key=version, reverse=True)


def version(include: Path) -> int:
    for file in (
        include / "linux" / "version.h",
        include.parent / "generated" / "uapi" / "linux" / "version.h",
    ):
        if file.exists():
            return int(re.findall(r"LINUX_VERSION_CODE (\d+)", file.read_text())[0])
    return 0


@functools.cache
def kernel_values() -> dict[str, int]:
    """What the headers say, for each expression that they know."""
    asked = [*IN_PYTHON, *(kernel_name(name) for name in in_c())]
    asked += [f"sizeof(struct {kernel})" for kernel, _ in STRUCTS.values()]
    asked += [
        f"offsetof(struct {kernel}, {field})"
        for kernel, fields in STRUCTS.values()
        for field in fields.split()
    ]
    # Hiding <linux/mount.h>'s twin keeps the C library's enums from meeting the kernel's.
    return evaluate(
        list(dict.fromkeys(asked)),
        [f"#include <{name}>" for name in HEADERS],
        include_directories()[:1],
    )


def evaluate(asked: list[str], prelude: list[str], include: list[Path]) -> dict[str, int]:
    """Expressions → numbers; one that the compiler does not know is left out."""
    while True:
        numbered = dict(enumerate(asked))
        body = [
            f'printf("{at} %llu\\n", (unsigned long long)({text}));'
            for at, text in numbered.items()
        ]
        source = "\n".join([*prelude, "int main(void) {", *body, "return 0; }"])
        options = [
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-fmax-errors=0",
            *(f"-isystem{path}" for path in include),
        ]
        with tempfile.TemporaryDirectory() as directory:
            program = f"{directory}/values"
            command = ["cc", *options, "-xc", "-", "-o", program]
            built = subprocess.run(command, input=source, capture_output=True, text=True)
            if built.returncode == 0:
                told = subprocess.check_output([program], text=True).splitlines()
                return {
                    numbered[int(at)]: int(value) for at, value in (line.split() for line in told)
                }
        first = len(prelude) + 2
        failed = {
            int(line) - first for line in re.findall(r"<stdin>:(\d+):\d+: error", built.stderr)
        }
        assert failed & set(numbered), built.stderr
        asked = [text for at, text in numbered.items() if at not in failed]


pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def expect(expression: str) -> int:
    known = kernel_values()
    if expression not in known:
        pytest.skip(f"{expression} is not in the kernel headers of {include_directories()[0]}")
    return known[expression]


@functools.cache
def our_values() -> dict[str, int]:
    # Every name of the kernel is taken away first, so that our word is what is compiled.
    prelude = [f"#include <{name}>" for name in ("fcntl.h", "stdio.h", "stddef.h", "linux/types.h")]
    prelude += [f"#undef {name}" for name in in_c() if name != "O_CLOEXEC"] + [
        f'#include "{NATIVE / "uapi.h"}"'
    ]
    asked = [*in_c(), *(f"sizeof(struct {name})" for name in STRUCTS)]
    asked += [
        f"offsetof(struct {name}, {field})"
        for name, (_, fields) in STRUCTS.items()
        for field in fields.split()
    ]
    found = evaluate(asked, prelude, [])
    assert list(found) == asked
    return found


@pytest.mark.parametrize("name", sorted(in_c()))
def test_a_constant_of_uapi_h_is_the_kernels(name: str) -> None:
    assert our_values()[name] == expect(kernel_name(name))


@pytest.mark.parametrize("expression", IN_PYTHON)
def test_a_number_written_in_python_is_the_kernels(expression: str) -> None:
    assert IN_PYTHON[expression] == expect(expression)


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_of_ours_has_the_kernels_layout(name: str) -> None:
    kernel, fields = STRUCTS[name]
    known, ours = kernel_values(), our_values()
    present = [field for field in fields.split() if f"offsetof(struct {kernel}, {field})" in known]
    assert present, f"the kernel headers do not know struct {kernel}"
    for field in present:
        assert (
            ours[f"offsetof(struct {name}, {field})"]
            == known[f"offsetof(struct {kernel}, {field})"]
        ), field
    # A struct of older headers is shorter by exactly what it lacks.
    if len(present) == len(fields.split()):
        assert ours[f"sizeof(struct {name})"] == known[f"sizeof(struct {kernel})"]
    else:
        assert ours[f"sizeof(struct {name})"] > known[f"sizeof(struct {kernel})"]


def test_the_compiler_finds_a_wrong_number() -> None:
    prelude = ["#include <stdio.h>", "#include <linux/quota.h>"]
    values = evaluate(["PRJQUOTA", "NO_SUCH_NAME", "PRJQUOTA + 1"], prelude, [])
    assert values == {"PRJQUOTA": 2, "PRJQUOTA + 1": 3}
