"""The answer to memfd_create(2) against the kernel's own, for the same flags, outside."""

from __future__ import annotations

import ctypes
import errno
import os
from itertools import chain

import pytest

from akiosd.values.syscalls import CHECKED, MFD_HUGETLB
from tests.unit.policy.decide import find_form

_libc = ctypes.CDLL(None, use_errno=True)
_SINGLE = [1 << bit for bit in range(32)]
_SHAPES = [
    0,
    *_SINGLE,
    *(bit | MFD_HUGETLB for bit in _SINGLE),
    0x18,
    0x1C,
    0xFFFFFFFF,
    0xFFFFFFFB,
    21 << 26 | 4,
]


def kernel_answer(flags: int) -> int:
    """0 or an errno; what is made is closed."""
    fd = _libc.memfd_create(b"probe", ctypes.c_uint(flags))
    if fd < 0:
        return ctypes.get_errno()
    os.close(fd)
    return 0


def ours(flags: int) -> int:
    return find_form(CHECKED["memfd_create"], (0, flags, 0, 0, 0, 0)).errno


@pytest.mark.parametrize("flags", _SHAPES, ids=hex)
def test_a_flag_that_the_kernel_does_not_know_is_answered_as_by_the_kernel(flags: int) -> None:
    if not flags & MFD_HUGETLB:
        assert ours(flags) == 0, "the kernel itself answers"
    elif kernel_answer(flags) == errno.EINVAL:
        assert ours(flags) == errno.EINVAL
    else:
        # Known to it: pages of the administrator's pool, which seems empty.
        assert ours(flags) == errno.ENOMEM


def test_the_shapes_are_of_all_kinds() -> None:
    """The control: without flags that are refused by the kernel, the test above could not fail."""
    answers = {kernel_answer(flags) for flags in chain(_SHAPES, (MFD_HUGETLB,))}
    assert {0, errno.EINVAL} <= answers and len({ours(flags) for flags in _SHAPES}) == 3
