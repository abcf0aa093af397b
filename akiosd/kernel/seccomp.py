"""FilterSpec → BPF, by libseccomp; system call names ↔ numbers of this machine.

libseccomp is reached through cffi's ABI mode: its interface is stable (soname 2), and compiling a
filter happens once per policy, so there is nothing to win by a call from C.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import msgspec
from cffi import FFI

from akiosd.errors import KernelError
from akiosd.policy.compile.seccomp import FilterSpec, SeccompRule, compile_filter, encode_pump_table
from akiosd.values.policy import Policy, Syscalls
from akiosd.values.policy_mode import INSTEAD
from akiosd.values.syscalls import NEW_NUMBERS, X86_64_NUMBERS

_ACT_KILL_PROCESS = 0x80000000
_ACT_ERRNO = 0x00050000
_ACT_NOTIFY = 0x7FC00000
_ACT_ALLOW = 0x7FFF0000
_ATTR_ACT_BADARCH = 2
_ATTR_OPTIMIZE = 8
_OPTIMIZE_BINARY_TREE = 2
_CMP_MASKED_EQ = 7
_ARCH_X86_64 = 0xC000003E
_API_NOTIFY = 6
_ERROR_NAME = -1

_ffi = FFI()
_ffi.cdef("""
    struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a; uint64_t datum_b; };
    void *seccomp_init(uint32_t def_action);
    void seccomp_release(void *ctx);
    int seccomp_api_set(unsigned int level);
    uint32_t seccomp_arch_native(void);
    int seccomp_attr_set(void *ctx, int attr, uint32_t value);
    int seccomp_syscall_resolve_name(const char *name);
    char *seccomp_syscall_resolve_num_arch(uint32_t arch, int num);
    int seccomp_rule_add_exact_array(void *ctx, uint32_t action, int syscall, unsigned int arg_cnt,
                                     const struct scmp_arg_cmp *arg_array);
    int seccomp_export_bpf(void *ctx, int fd);
    void free(void *pointer);
    """)


@functools.cache
def _library() -> Any:
    try:
        library: Any = _ffi.dlopen("libseccomp.so.2")
    except OSError as error:
        raise KernelError(
            f"libseccomp cannot be loaded: {error}",
            "libseccomp.so.2",
            "install the package libseccomp2",
        ) from None
    # Forced, so that a filter compiled on one kernel is the filter compiled on another.
    _check(library.seccomp_api_set(_API_NOTIFY), "seccomp_api_set")
    return library


@functools.cache
def resolve(name: str) -> int:
    """The number of a system call on this machine's architecture; −1 when it has none."""
    library = _library()
    number = int(library.seccomp_syscall_resolve_name(name.encode()))
    if number >= 0:
        return number
    if name in NEW_NUMBERS and number == _ERROR_NAME:
        return NEW_NUMBERS[name]
    if name in X86_64_NUMBERS and library.seccomp_arch_native() == _ARCH_X86_64:
        return X86_64_NUMBERS[name]
    return -1


@functools.cache
def name_of(number: int) -> str:
    """The name of a system call number of this machine, ``"#1000"`` when it has none."""
    if number >= 1 << 31:  # an agent may call any 32-bit number, a C int holds half of them
        return f"#{number}"
    library = _library()
    text = library.seccomp_syscall_resolve_num_arch(library.seccomp_arch_native(), number)
    if text != _ffi.NULL:
        raw = _ffi.string(text)
        name = raw.decode() if isinstance(raw, bytes) else raw
        library.free(text)
        return name
    newer = {**{v: k for k, v in NEW_NUMBERS.items()}, **{v: k for k, v in X86_64_NUMBERS.items()}}
    return newer.get(number, f"#{number}")


class Compiled(msgspec.Struct, frozen=True):
    """What one cage needs: the filter for seccomp(2), and the table for the pump."""

    bpf: bytes
    pump_table: bytes


@functools.lru_cache(maxsize=64)
def compiled(syscalls: Syscalls, listener: bool = True) -> Compiled:
    """The filter of a policy's ``syscalls`` section; made once, then from the cache."""
    spec = compile_filter(Policy(syscalls=syscalls), listener=listener)
    return Compiled(compile_bpf(spec), compile_pump_table(spec))


@functools.lru_cache(maxsize=64)
def compiled_for_domain(syscalls: Syscalls) -> Compiled:
    """The same for a cage without namespaces."""
    spec = compile_filter(Policy(syscalls=syscalls), instead=INSTEAD)
    return Compiled(compile_bpf(spec), compile_pump_table(spec))


def compile_bpf(spec: FilterSpec) -> bytes:
    """The program as an array of ``struct sock_filter`` (8 bytes each), for seccomp(2)
    SECCOMP_SET_MODE_FILTER.

    A foreign architecture (int 0x80) and x32 numbers kill the process.  Raises
    :class:`KernelError`.
    """
    library = _library()
    default = _ACT_NOTIFY if spec.listener else _ACT_ERRNO | spec.default_errno
    context = library.seccomp_init(default)
    if context == _ffi.NULL:
        raise KernelError("libseccomp made no filter", "seccomp_init")
    try:
        _check(
            library.seccomp_attr_set(context, _ATTR_ACT_BADARCH, _ACT_KILL_PROCESS),
            "SCMP_FLTATR_ACT_BADARCH",
        )
        _check(
            library.seccomp_attr_set(context, _ATTR_OPTIMIZE, _OPTIMIZE_BINARY_TREE),
            "SCMP_FLTATR_CTL_OPTIMIZE",
        )
        for rule in spec.rules:
            _add(library, context, rule, default)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def compile_pump_table(spec: FilterSpec) -> bytes:
    """The pump's table for this machine; its layout is in :mod:`akiosd.policy.compile.seccomp`."""
    return encode_pump_table(spec, resolve)


def _add(library: Any, context: Any, rule: SeccompRule, default: int) -> None:
    number = resolve(rule.name)
    action = _ACT_ALLOW if rule.action == "allow" else _ACT_ERRNO | rule.errno
    if number < 0 or action == default:
        return
    comparisons = _ffi.new("struct scmp_arg_cmp[]", max(1, len(rule.tests)))
    for comparison, test in zip(comparisons, rule.tests, strict=False):
        comparison.arg, comparison.op = test.arg, _CMP_MASKED_EQ
        comparison.datum_a, comparison.datum_b = test.mask, test.value
    code = library.seccomp_rule_add_exact_array(
        context, action, number, len(rule.tests), comparisons
    )
    _check(code, f"seccomp_rule_add {rule.name}")


def _export(library: Any, context: Any) -> bytes:
    fd = os.memfd_create("akios-filter", os.MFD_CLOEXEC)
    try:
        _check(library.seccomp_export_bpf(context, fd), "seccomp_export_bpf")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _check(code: int, where: str) -> None:
    if code < 0:
        raise KernelError(f"libseccomp refused this step: {os.strerror(-code)}", where, errno=-code)
