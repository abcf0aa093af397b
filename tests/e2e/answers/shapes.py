"""Arguments worth trying: registers by the kind of an argument, and shapes made of them.

Addresses and descriptors are those that ``ask.c`` prepares.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.e2e.answers.signatures import SIGNATURES

Shape = tuple[int | str, ...]

ZEROS, FIXED, EDGE, UNMAPPED, KERNEL = (
    0x20000000, 0x20020000, 0x20030FF0, 0x20040000, 0xFFFF800000000000,
)  # fmt: skip
HIGH = 1 << 32
"""Above the int that the kernel reads; a filter that compares whole registers sees another
number.
"""
MINUS = (1 << 64) - 1
FILE, READ, DIRECTORY, PIPE, LOCAL, TCP, EPOLL, EVENT, TIMER = 10, 11, 12, 13, 15, 16, 17, 18, 19
MEMORY, NULL, PATH, WATCH, UDP, PROCESS, TCP6, NONE = 20, 21, 22, 23, 24, 25, 27, 999
AT_FDCWD = (1 << 64) - 100
BAD = (UNMAPPED, KERNEL, 1)
UNREADABLE = (*BAD, EDGE)
NAMES = {name: FIXED + at for name, at in (
    ("file", 0), ("dir", 0x10), ("absent", 0x20), ("link", 0x30), ("empty", 0x40), ("below", 0x50),
    ("attribute", 0x60), ("nowhere", 0x70), ("other", 0x80), ("inner", 0x90), ("true", 0xA0),
    ("trusted", 0xB0), ("queue", 0xC0), ("script", 0xD0), ("long", 0x800), ("longer", 0x1000),
)}  # fmt: skip
INET, UNIX, INET6, ARGV, BAD_ARGV = (FIXED + at for at in (0x200, 0x220, 0x2C0, 0x300, 0x320))
LIMIT, CROSSED, ONE, MANY, PROGRAM = (FIXED + at for at in (0x340, 0x350, 0x360, 0x368, 0x380))
LANDLOCK, SOON, BAD_TIME, HOW, HOW_CREATE = (
    FIXED + at for at in (0x3A0, 0x3C0, 0x3D0, 0x500, 0x520)
)
HOW_UNKNOWN, WAIT, VECTOR, BAD_VECTOR, MESSAGE = (
    FIXED + at for at in (0x540, 0x560, 0x580, 0x5A0, 0x5C0)
)

_PATHS = ("file", "dir", "absent", "link", "empty", "below", "nowhere", "inner", "long", "longer")
_FDS = (FILE, NONE, MINUS, READ, DIRECTORY, PIPE, 14, LOCAL, TCP, EPOLL, EVENT, TIMER, MEMORY, NULL,
        PATH, WATCH, PROCESS, HIGH | FILE, HIGH | NONE)  # fmt: skip
_SMALL = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 63, 64, 100, 1024, MINUS, HIGH, HIGH | 1, 1 << 31)

KINDS: dict[str, tuple[int | str, ...]] = {
    "f": _FDS,
    "s": (TCP, NONE, MINUS, UDP, LOCAL, TCP6, FILE, PATH, DIRECTORY, HIGH | TCP, HIGH | NONE),
    "e": (EPOLL, NONE, MINUS, FILE, PATH, HIGH | EPOLL),
    "d": (AT_FDCWD, DIRECTORY, NONE, MINUS, FILE, PATH, 0xFFFFFF9C, HIGH | DIRECTORY),
    "p": (*(NAMES[name] for name in _PATHS), *BAD, 0, EDGE),
    "k": (NAMES["attribute"], NAMES["trusted"], NAMES["other"], NAMES["empty"], NAMES["long"],
          NAMES["longer"], *BAD, 0, EDGE),
    "q": (NAMES["queue"], NAMES["file"], NAMES["empty"], NAMES["long"], *BAD, 0, EDGE),
    "b": (ZEROS, 0, FIXED + 0x700, EDGE, ZEROS + 1, *BAD),
    "r": (FIXED + 0x700, 0, ONE, EDGE, ZEROS + 1, *BAD),
    "h": (HOW, HOW_CREATE, HOW_UNKNOWN, ZEROS, 0, EDGE, *BAD),
    "l": (LIMIT, CROSSED, 0, ZEROS, EDGE, *BAD),
    "v": (ARGV, BAD_ARGV, VECTOR, BAD_VECTOR, 0, ZEROS, EDGE, *BAD),
    "y": (MESSAGE, ZEROS, 0, EDGE, *BAD),
    "t": (SOON, BAD_TIME, 0, ZEROS, EDGE, *BAD),
    "a": (INET, UNIX, INET6, ZEROS, 0, EDGE, *BAD),
    "w": (ZEROS, ZEROS + 1, 0, FIXED, *BAD),
    "n": (16, 0, 1, 4, 8, 24, 48, 110, 128, 4096, 1 << 31, MINUS, HIGH, HIGH | 16, (1 << 63) - 1),
    "o": (0, 1, 2, 0o100, 0o2000, 0o2000000, 0o200000, 0o10000000, 0o4000, 0o100000000, 1 << 31, HIGH,
          MINUS, 4096),
    "x": (0, 1, 2, 3, 4, 8, 16, 64, 0x80, 0x100, 0x200, 0x800, 0x1000, 0x2000, 0x4000, 0x40000,
          1 << 31, HIGH, MINUS),
    "m": (0o644, 0, 0o777, 0o100644, 0o010644, 0o140644, 0o020644, 0o060644, 0o4755, 0o170000,
          0xFFFFFFFF, HIGH | 0o644, HIGH | 0o020644),
    "u": (0xFFFFFFFF, 0, 1000, 65534, 5, MINUS, HIGH, HIGH | 1000),
    "i": (0, "pid", 999999, 0x7FFFFFFF, HIGH, 1 << 31),
    "g": (0, 10, 64, 65, MINUS, HIGH, HIGH | 10, 9, 17, 34),
    "c": _SMALL,
}  # fmt: skip

# Where the letter alone would miss what a call is about.
SPECIAL: dict[tuple[str, int], tuple[int | str, ...]] = {
    ("socket", 0): (2, 1, 10, 16, 17, 38, 40, 0, 3, 46, 99, MINUS, HIGH | 2, HIGH | 16),
    ("socket", 1): (1, 2, 3, 5, 4, 6, 0, 10, 0o2000001, 0o4002, 0x100001, HIGH | 1, MINUS),
    ("socket", 2): (0, 6, 17, 262, 1, 58, 132, 136, 255, 15, 4, MINUS, HIGH | 6, 1 << 31),
    ("socketpair", 0): (1, 2, 10, 16, 30, 0, 99, MINUS, HIGH | 1),
    ("socketpair", 1): (1, 2, 5, 3, 0, 4, 10, 0o2000001, 0x100001, HIGH | 1, MINUS),
    ("socketpair", 2): (0, 1, 6, MINUS, HIGH),
    ("setsockopt", 1): (1, 6, 0, 41, 17, 270, 263, 255, MINUS, HIGH | 1),
    ("setsockopt", 2): (7, 8, 2, 9, 1, 11, 25, 26, 32, 33, 20, 4, 37, 99, MINUS, HIGH | 7),
    ("setsockopt", 3): (ONE, MANY, SOON, 0, ZEROS, EDGE, *BAD),
    ("setsockopt", 4): (4, 0, 1, 3, 8, 16, 1 << 31, MINUS, HIGH | 4, 4096),
    ("getsockopt", 1): (1, 6, 0, 41, 17, 270, MINUS, HIGH | 1),
    ("getsockopt", 2): (7, 8, 2, 4, 3, 1, 11, 25, 17, 99, MINUS, HIGH | 7),
    ("connect", 2): (16, 28, 110, 2, 1, 0, 128, 129, MINUS, HIGH | 16, 1 << 31),
    ("bind", 2): (16, 28, 110, 2, 1, 0, 128, 129, MINUS, HIGH | 16, 1 << 31),
    ("sendto", 5): (16, 28, 110, 2, 0, 128, 129, MINUS, HIGH | 16),
    ("fcntl", 1): (1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 36, 37, 38, 1024, 1030, 1031, 1032,
                   1033, 1034, 99, MINUS, HIGH | 6),
    ("fcntl", 2): (FIXED + 0x6A0, 0, 1, ZEROS, EDGE, *BAD, 0o4000),
    ("ioctl", 1): (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x5412, 0x541C, 0x541D, 0x5423,
                   0x8901, 0x8910, 0x8912, 0x80086601, 0x40086602, 0xC0045878, 0x2400, 0, 1, MINUS,
                   HIGH | 0x5412, HIGH | 0x5413, 0x1234),
    ("prctl", 0): (1, 2, 3, 4, 8, 15, 16, 21, 22, 23, 24, 27, 28, 29, 30, 35, 36, 38, 39, 47, 53, 55,
                   62, 65, 67, 0x53564D41, 0x59616D61, 99, MINUS, HIGH | 22, HIGH | 62),
    ("prctl", 1): (0, 1, 2, 9, ZEROS, EDGE, UNMAPPED, MINUS),
    ("seccomp", 0): (1, 0, 2, 3, 4, MINUS, HIGH | 1, HIGH),
    ("seccomp", 1): (0, 1, 2, 4, 8, 9, 16, 32, 64, 1 << 20, HIGH, HIGH | 8, MINUS),
    ("seccomp", 2): (PROGRAM, 0, ZEROS, EDGE, *BAD),
    ("clone", 0): (17, 0x111, 0x511, 0x400, 0x10011, 0x10911, 0x10D11, 0x10D00, 0x10F00, 0x20011,
                   0x02000011, 0x10000011, 0x40000011, 0x20000011, 0x08000011, 0x211, 0x811, 0x91,
                   HIGH | 17, 1 << 40, 65),
    ("clone", 1): (0,),
    ("mmap", 0): (0, ZEROS, 1, UNMAPPED, KERNEL),
    ("mmap", 1): (4096, 0, 1, 1 << 21, MINUS, 1 << 47, HIGH),
    ("mmap", 2): (3, 0, 1, 2, 4, 7, 16, MINUS, HIGH | 3),
    ("mmap", 3): (0x22, 0x21, 2, 1, 3, 0x40022, 0x14040022, 0x40002, 0, 0x100022, 0x32, 0x4022,
                  1 << 27, HIGH | 0x22, HIGH | 0x40022, MINUS),
    ("memfd_create", 1): (0, 1, 2, 3, 4, 5, 8, 16, 24, 32, 64, 1 << 25, 1 << 26, 21 << 26, 4 | 21 << 26,
                          4 | 24, 4 | 1 << 10, 1 << 31, HIGH, HIGH | 4, MINUS),
    ("personality", 0): (0xFFFFFFFF, 0, 8, 0x40000, 0x400000, 0x20000, HIGH, MINUS, 1 << 31),
    ("prlimit64", 1): (7, 4, 0, 1, 2, 3, 5, 6, 8, 13, 14, 15, 16, MINUS, HIGH | 4),
    ("setrlimit", 0): (7, 4, 0, 1, 2, 3, 5, 6, 8, 13, 14, 15, 16, MINUS, HIGH | 4),
    ("setpriority", 0): (0, 1, 2, 3, MINUS, HIGH, HIGH | 2),
    ("setpriority", 2): (0, 1, 19, 20, MINUS, (1 << 64) - 20, 40, HIGH | 1),
    ("ioprio_set", 0): (1, 2, 3, 0, 4, MINUS, HIGH | 3),
    ("ioprio_set", 2): (0x4000, 0, 0x4007, 0x2000, 0x6000, 0x8000, MINUS, HIGH, 0x4008),
    ("close_range", 0): (100, 0, 10, 3, 200, MINUS, HIGH | 100),
    ("close_range", 1): (200, 0, 99, MINUS, 0xFFFFFFFF, HIGH | 200),
    ("close_range", 2): (0, 2, 4, 6, 1, 8, MINUS, HIGH, HIGH | 2),
    ("getdents", 0): (DIRECTORY, FILE, NONE, MINUS, PIPE, PATH, TCP, NULL, HIGH | DIRECTORY),
    ("getdents64", 0): (DIRECTORY, FILE, NONE, MINUS, PIPE, PATH, TCP, NULL, HIGH | DIRECTORY),
    ("getdents", 2): (4096, 0, 1, 24, MINUS, HIGH, 1 << 31),
    ("getdents64", 2): (4096, 0, 1, 24, MINUS, HIGH, 1 << 31),
    ("execve", 0): (NAMES["true"], NAMES["file"], NAMES["dir"], NAMES["absent"], NAMES["script"],
                    NAMES["empty"], NAMES["below"], NAMES["longer"], *BAD, 0, EDGE),
    ("execveat", 1): (NAMES["true"], NAMES["file"], NAMES["dir"], NAMES["absent"], NAMES["script"],
                      NAMES["empty"], NAMES["below"], NAMES["longer"], *BAD, 0, EDGE),
    ("execveat", 4): (0, 0x1000, 0x100, 0x10000, 1, MINUS, HIGH),
    **{(name, 0): (0, "pid", 1, 999999, 0x7FFFFFFF, HIGH, HIGH | 1, 1 << 31) for name in (
        "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "prlimit64")},
    ("setpriority", 1): (0, "pid", 1, 999999, HIGH, 1 << 31),
    ("ioprio_set", 1): (0, "pid", 1, 999999, HIGH, 1 << 31),
    ("sync_file_range", 3): (0, 1, 2, 4, 7, 8),
    ("waitid", 0): (0, 1, 2, 3, 4, MINUS, HIGH),
    ("waitid", 3): (4, 1, 0, 0x01000004, 0x40000004, 0x80000004, 1 << 20, MINUS),
    ("landlock_create_ruleset", 0): (LANDLOCK, 0, ZEROS, EDGE, *BAD),
    ("mount", 2): (NAMES["file"], NAMES["empty"], *BAD, 0),
    ("membarrier", 0): (0, 1, 2, 4, 8, 16, 64, 3, 512, MINUS),
}  # fmt: skip


def shapes(name: str, count: int, seed: int = 1) -> Iterator[Shape]:
    """``count`` different shapes (fewer where there are no more): the plain one, then one argument
    changed at a time, spread evenly, then any of them together.
    """
    columns = [SPECIAL.get((name, at), KINDS[letter]) for at, letter in enumerate(SIGNATURES[name])]
    plain = tuple(column[0] for column in columns)
    seen = {plain}
    yield plain
    chance = random.Random(f"{name} {seed}")
    singles = [
        (*plain[:at], value, *plain[at + 1 :])
        for at, column in enumerate(columns)
        for value in column[1:]
    ]
    chance.shuffle(singles)
    singles = singles[: max(count // 2, count - 1 - _combinations(columns))]
    for shape in (*singles, *_random(columns, chance, count)):
        if len(seen) >= count:
            return
        if shape not in seen:
            seen.add(shape)
            yield shape


def _combinations(columns: list[tuple[int | str, ...]]) -> int:
    total = 1
    for column in columns:
        total *= len(column)
    return total


def _random(
    columns: list[tuple[int | str, ...]], chance: random.Random, count: int
) -> Iterator[Shape]:
    for _ in range(count * 10):
        yield tuple(chance.choice(column) for column in columns)
