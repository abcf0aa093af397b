"""The compiled filter against its model: libseccomp's BPF is interpreted and must decide as the
table says.
"""

import itertools
import struct

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from akiosd.kernel.seccomp import compile_bpf, compile_pump_table, compiled, name_of, resolve
from akiosd.policy.compile.seccomp import (
    LEVELS,
    RULE_AND,
    RULE_ANSWER,
    RULE_CONTINUE,
    RULE_COUNT,
    RULE_FIRST,
    allowed_cubes,
    compile_filter,
    encode_pump_table,
)
from akiosd.values import syscalls as table
from akiosd.values.first_refusals import FIRST
from akiosd.values.policy import DEFAULT_POLICY, Policy, Syscalls
from akiosd.values.sockopts import ANSWERED, SETTABLE, cover
from akiosd.values.syscalls import Checked, Compare, Form
from tests.unit.policy.decide import find_form, matches

AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
ALLOW, NOTIFY, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x7FC00000, 0x00050000, 0x80000000

x86_64_only = pytest.mark.skipif(resolve("arch_prctl") != 158, reason="numbers of x86-64")


def interpret(bpf: bytes, nr: int, args: tuple[int, ...], arch: int = AUDIT_ARCH_X86_64) -> int:
    """Runs classic BPF as seccomp(2) does; only the instructions that seccomp permits and
    libseccomp emits.
    """
    data = struct.pack("<iIQ6Q", nr - (1 << 32) if nr >> 31 else nr, arch, 0, *args)
    program = [struct.unpack_from("<HBBI", bpf, at) for at in range(0, len(bpf), 8)]
    accumulator = position = 0
    while True:
        code, if_true, if_false, k = program[position]
        position += 1
        if code == 0x20:  # ld [k]
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif code == 0x54:  # and k
            accumulator &= k
        elif code == 0x05:  # ja
            position += k
        elif code == 0x06:  # ret k
            return int(k)
        else:
            taken = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }
            position += if_true if taken[code] else if_false


def policy(trace: str = "security", **more: tuple[str, ...]) -> Policy:
    return Policy(syscalls=msgspec.convert({"trace": trace, **more}, Syscalls))


def expected(name: str, args: tuple[int, ...], trace: str) -> int:
    """The model, straight from the table."""
    if name in table.DENIED:
        return NOTIFY
    if name in table.OPTIONAL or name in table.ABSENT:
        return ERRNO | table.ENOSYS
    facts = table.FACTS.get(name)
    if facts is not None and LEVELS.index(trace) >= LEVELS.index(facts.level):
        quiet = facts.quiet is not None and trace == facts.level and matches([facts.quiet], args)
        return ALLOW if quiet else NOTIFY
    checked = table.CHECKED.get(name)
    if checked is None:
        return ALLOW
    several = all if checked.usual_together else any
    usual = not checked.usual or several(matches([test], args) for test in checked.usual)
    return ALLOW if usual and find_form(checked, args).passes else NOTIFY


interesting = st.sampled_from(
    sorted(
        {
            value
            for checked in table.CHECKED.values()
            for form in checked.forms
            for test in form.tests
            for value in (test.value, test.value + 1, test.value | 1 << 32, test.value ^ 1 << 31)
        }
        | {0, 1, 2, 3, 0o101, 0o1001, 0o100000, table.LOW32, (1 << 64) - 1}
    )
)
registers = st.tuples(*[interesting | st.integers(0, (1 << 64) - 1) for _ in range(6)])


@x86_64_only
@pytest.mark.parametrize("trace", LEVELS)
def test_every_known_call_is_decided_as_the_table_says(trace):
    bpf = compile_bpf(compile_filter(policy(trace)))
    for name, args in itertools.product(
        sorted(table.known_names()), [(0,) * 6, ((1 << 64) - 1,) * 6]
    ):
        if resolve(name) >= 0:
            assert interpret(bpf, resolve(name), args) == expected(name, args, trace), name


@x86_64_only
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted((*table.CHECKED, "openat", "open"))), registers, st.sampled_from(LEVELS)
)
@example("ioctl", (0, table.TIOCSTI | 1 << 32, 0, 0, 0, 0), "security")
@example("socket", (40, 1, 0, 0, 0, 0), "none")
@example("setsockopt", (3, 1, 8, 0, 0, 0), "security")
@example("setsockopt", (3, 6, 14, 0, 0, 0), "security")
@example("fcntl", (3, table.F_SETLK + 1, 0, 0, 0, 0), "security")
@example("prlimit64", (0, table.RLIMIT_CORE, 1, 0, 0, 0), "security")
def test_calls_with_arguments_are_decided_by_the_right_bits(name, args, trace):
    bpf = compiled(Syscalls(trace=trace)).bpf
    assert interpret(bpf, resolve(name), args) == expected(name, args, trace)


@x86_64_only
def test_unknown_numbers_go_to_the_pump_which_answers_enosys():
    built = compiled(DEFAULT_POLICY.syscalls)
    known = {resolve(name) for name in table.known_names()}
    for nr in [*range(1100), 0x3FFFFFFF]:
        if nr not in known:
            assert interpret(built.bpf, nr, (0,) * 6) == NOTIFY
            assert nr >= 1024 or pump_verdict(built.pump_table, nr, (0,) * 6) == table.ENOSYS


@x86_64_only
def test_foreign_architectures_and_x32_numbers_kill():
    bpf = compiled(DEFAULT_POLICY.syscalls).bpf
    assert interpret(bpf, 20, (0,) * 6, AUDIT_ARCH_I386) == KILL_PROCESS
    assert interpret(bpf, 0x40000000 | 39, (0,) * 6) == KILL_PROCESS


@x86_64_only
def test_without_a_listener_everything_else_is_enosys():
    bpf = compile_bpf(compile_filter(policy("all"), listener=False))
    assert interpret(bpf, resolve("mount"), (0,) * 6) == ERRNO | table.ENOSYS
    assert interpret(bpf, resolve("unlink"), (0,) * 6) == ALLOW
    assert interpret(bpf, 1000, (0,) * 6) == ERRNO | table.ENOSYS


def pump_row(blob: bytes, nr: int, args: tuple[int, ...]) -> tuple[int, int]:
    """The C pump's decision, from the bytes it is given: (errno, flags of the row that decides)."""
    _kind, first, count, known, *_, default = struct.unpack_from("<HHHBBBBBBBBxxi", blob, nr * 20)
    assert known or (default == table.ENOSYS and count == 0)
    holds = True
    for row in range(first, first + count):
        rule_nr, arg, mask, value, err, flags = struct.unpack_from(
            "<IIQQiI", blob, 1024 * 20 + row * 32
        )
        assert rule_nr == nr and (flags & (RULE_CONTINUE | RULE_AND | RULE_ANSWER) != 0) == (
            err == 0
        )
        holds = holds and args[arg] & mask == value
        if not flags & RULE_AND:
            if holds:
                return err, flags
            holds = True
    return default, 0


def pump_verdict(blob: bytes, nr: int, args: tuple[int, ...]) -> int:
    """The errno of a call of which the cage has not too many already."""
    err, flags = pump_row(blob, nr, args)
    return 0 if flags & RULE_COUNT else err


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(table.CHECKED)), registers, st.sampled_from(LEVELS))
@example("socket", (40, 1, 0, 0, 0, 0), "security")
@example("clone", (table.CLONE_NEW_MASK, 0, 0, 0, 0, 0), "all")
def test_a_call_the_filter_stops_to_be_denied_is_denied_by_the_pump(name, args, trace):
    built = compiled(Syscalls(trace=trace))
    form = find_form(table.CHECKED[name], args)
    if interpret(built.bpf, resolve(name), args) == NOTIFY:
        err, flags = pump_row(built.pump_table, resolve(name), args)
        kind = table.COUNTED.index(form.counted) if form.counted else 0
        assert (err, bool(flags & RULE_COUNT), flags >> 8) == (
            form.errno,
            form.counted is not None,
            kind,
        )
        assert bool(flags & RULE_ANSWER) == form.answered
    else:
        assert form.passes


def test_every_denied_name_is_eperm_in_the_pump_at_every_level():
    for trace in LEVELS:
        blob = compiled(Syscalls(trace=trace)).pump_table
        for name in table.DENIED:
            if resolve(name) >= 0:
                assert pump_verdict(blob, resolve(name), (0,) * 6) == table.EPERM, name


def test_recorded_calls_continue():
    blob = compiled(Syscalls(trace="all")).pump_table
    for name in table.FACTS:
        if (name not in table.CHECKED or name == "connect") and resolve(name) >= 0:
            assert pump_verdict(blob, resolve(name), (0,) * 6) == 0, name


def test_the_policy_can_deny_more_and_allow_the_optional():
    built = compiled(Syscalls(deny=("memfd_create", "socket"), allow=("statmount",)))
    assert interpret(built.bpf, resolve("memfd_create"), (0,) * 6) == NOTIFY
    assert pump_verdict(built.pump_table, resolve("memfd_create"), (0,) * 6) == table.EPERM
    assert pump_verdict(built.pump_table, resolve("socket"), (1, 1, 0, 0, 0, 0)) == table.EPERM
    assert interpret(built.bpf, resolve("statmount"), (0,) * 6) == ALLOW


def test_the_blob_has_the_layout_of_the_header():
    spec = compile_filter(policy("all"))
    blob = encode_pump_table(spec, resolve)
    rows = sum(
        len(form.tests)
        for entry in spec.pump_table
        if resolve(entry.name) >= 0
        for form in entry.checked.forms
    )
    earlier = sum(len(entry.first) for entry in spec.pump_table if resolve(entry.name) >= 0)
    assert len(blob) == 1024 * 20 + (rows + earlier) * 32 and earlier > 0
    kind, _, _, known, *positions, verdict = struct.unpack_from(
        "<HHHBBBBBBBBxxi", blob, resolve("renameat2") * 20
    )
    assert table.KINDS[kind] == "rename" and known == 1 and verdict == 0
    assert positions == [1, 3, 0, 2, 255, 255, 255]
    assert compile_pump_table(spec) == blob


def test_rows_of_what_the_kernel_refuses_first_stand_behind_those_that_decide():
    """They are out of the decision: no call is made, or refused, by them."""
    spec = compile_filter(policy("all"))
    blob = encode_pump_table(spec, resolve)
    for entry in spec.pump_table:
        nr = resolve(entry.name)
        if nr >= 0:
            _kind, first, count, *_, earlier, _ = struct.unpack_from(
                "<HHHBBBBBBBBBBi", blob, nr * 20
            )
            rows = struct.iter_unpack(
                "<IIQQiI", blob[1024 * 20 :][first * 32 :][: (count + earlier) * 32]
            )
            flags = [row[-1] for row in rows]
            assert not any(flag & RULE_FIRST for flag in flags[:count]), entry.name
            assert all(flag & 0xFF == RULE_FIRST for flag in flags[count:]), entry.name
            assert earlier == len(entry.first), entry.name
    assert set(FIRST) <= table.known_names()


def test_a_call_that_is_denied_whatever_it_asks_for_has_one_answer():
    spec = compile_filter(Policy(syscalls=Syscalls(deny=("setsockopt", "bind"))))
    assert not any(entry.first for entry in spec.pump_table if entry.name in ("setsockopt", "bind"))


def test_no_rule_looks_at_a_pointer():
    pointers = {
        name: {facts.path, facts.path2, facts.sockaddr, facts.argv} - {-1}
        for name, facts in (*table.FACTS.items(), *table.DENIED_FACTS.items())
    }
    for name, checked in table.CHECKED.items():
        decided = {test.arg for form in checked.forms for test in form.tests}
        assert not decided & pointers.get(name, set()), name


forms = st.lists(
    st.builds(
        Form,
        st.lists(
            st.builds(
                lambda arg, mask, value: Compare(arg, mask, value & mask),
                st.sampled_from([0, 1]),
                *[st.integers(0, 7)] * 2,
            ),
            max_size=2,
            unique_by=lambda test: test.arg,
        ).map(tuple),
        st.sampled_from([0, 1]),
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(forms, st.sampled_from([0, 1]))
def test_cubes_are_disjoint_and_exactly_the_allowed_registers(listed, otherwise):
    checked = Checked(tuple(listed), otherwise)
    cubes = list(allowed_cubes(checked))
    for args in itertools.product(range(8), range(8)):
        assert sum(matches(cube, args) for cube in cubes) == find_form(checked, args).passes


@pytest.mark.parametrize("level", sorted(SETTABLE))
def test_exactly_the_listed_options_of_a_level_are_set_or_answered(level):
    """Both numbers are compared, by their low halves, as the kernel reads them."""
    checked = table.CHECKED["setsockopt"]
    given, answered = set(SETTABLE[level].values()), set(ANSWERED.get(level, {}).values())
    assert not given & answered
    for name in [
        *range(256),
        *(1 << bit for bit in range(8, 32)),
        *(option | 1 << 16 for option in given),
    ]:
        form = find_form(checked, (7 << 40 | 3, level | 5 << 32, name | 1 << 63, 0, 0, 0))
        assert form.passes == (name in given), name
        assert form.answered == (name in answered), name
        assert form.errno == (0 if name in given | answered else table.ENOPROTOOPT), name


def test_options_of_no_other_level_are_set():
    for level in {*range(300), 1 << 31, table.LOW32} - set(SETTABLE):
        for name in range(128):
            assert (
                find_form(table.CHECKED["setsockopt"], (3, level, name, 0, 0, 0)).errno
                == table.ENOPROTOOPT
            )


@given(
    st.frozensets(st.integers(0, table.LOW32) | st.integers(0, 40), max_size=12),
    st.integers(0, table.LOW32),
)
def test_masks_cover_exactly_their_numbers(numbers, other):
    pairs = cover(numbers)
    for number in (*numbers, other, *(number ^ 1 for number in numbers)):
        assert sum(number & mask == value for mask, value in pairs) == (number in numbers)


def test_without_a_listener_what_would_be_counted_is_let_through():
    spec = compile_filter(policy("all"), listener=False)
    assert not [
        form
        for entry in spec.pump_table
        for form in entry.checked.forms
        if form.counted or form.answered
    ]
    bpf = compile_bpf(spec)
    assert interpret(bpf, resolve("socket"), (2, 1, 0, 0, 0, 0)) == ALLOW
    assert interpret(bpf, resolve("fcntl"), (3, table.F_SETLK, 0, 0, 0, 0)) != NOTIFY


def test_the_classes_do_not_overlap_and_facts_belong_to_a_class():
    classes = [*table.ALLOWED, *table.OPTIONAL, *table.ABSENT, *table.DENIED, *table.CHECKED]
    assert len(classes) == len(set(classes))
    assert set(table.FACTS) <= set(table.ALLOWED) | set(table.CHECKED)
    assert set(table.DENIED_FACTS) <= set(table.DENIED) | set(table.CHECKED)
    assert set(table.ALLOWED) | set(table.CHECKED) >= table.ESSENTIAL
    assert {facts.kind for facts in (*table.FACTS.values(), *table.DENIED_FACTS.values())} <= set(
        table.KINDS
    )


def test_names_and_numbers_of_new_calls_agree_with_libseccomp_where_it_knows_them():
    for name, number in table.NEW_NUMBERS.items():
        assert resolve(name) == number
        assert name_of(number) == name
    assert name_of(1000) == "#1000"


@x86_64_only
def test_the_hot_calls_are_decided_early():
    bpf = compiled(DEFAULT_POLICY.syscalls).bpf
    assert len(bpf) // 8 <= 1024
    assert interpret(bpf, resolve("openat"), (0, 0, 0, 0, 0, 0)) == ALLOW
