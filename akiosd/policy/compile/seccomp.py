"""Policy → seccomp filter and pump table.  Pure: names and numbers in, names and numbers out.

The filter does three things: it lets the harmless through without a stop, answers ``clone3`` and
unwanted optional calls with ENOSYS, and sends everything else to the listener.  There the pump
looks the number up and decides *by numbers again*; a number without an entry is ENOSYS.  Without a
listener the kernel itself answers ENOSYS (seccomp(2), SECCOMP_RET_USER_NOTIF), so a filter whose
supervisor is gone denies.

ERRNO outranks USER_NOTIF in the kernel: a call that is to be denied *and seen* must reach the pump.

The pump table is the blob that ``akios_pump_start`` takes (``native/include/akios.h``)::

    struct akios_pump_entry[1024];   // 20 bytes each, by number
    struct akios_pump_rule[];        // 32 bytes each, those of one number side by side, in order

    entry: u16 kind (index into KINDS), rule_first, rule_count; u8 known (0: ENOSYS, recorded),
    path_arg,
           path2_arg, dirfd_arg, dirfd2_arg, sockaddr_arg, sockaddr_len_arg, argv_arg (255: none),
           words, first_count; i32 default_errno (0: continue).  A dirfd without a path is the file
           the call works on.  words: bit 0 and 1, path and path2 are no paths.
    rule:  u32 nr, arg; u64 mask, value; i32 err; u32 flags.  The first row decides in which
           args[arg] & mask == value.
           flags: 1 continue; 2 this and the next comparison together; 4 answered with 0, not made;
           8 made while there are fewer than the bound of kind flags >> 8, else err; 64 answered by
           somebody else; 16 with these two: not recorded.  Behind them first_count rows of flags
           32 | sort << 8 (``values/first_refusals.py``), which change the errno of a call that is
           not made.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from akiosd.values import syscalls as table
from akiosd.values.first_refusals import FIRST, SORTS, First
from akiosd.values.policy import Policy, TraceLevel
from akiosd.values.syscalls import Checked, Compare, Facts, Form

RuleAction = Literal["allow", "errno"]

LEVELS: tuple[TraceLevel, ...] = ("none", "security", "files", "all")

PUMP_NUMBERS = table.MAX_NUMBER + 1
RULE_CONTINUE, RULE_AND, RULE_ANSWER, RULE_COUNT, RULE_SILENT, RULE_FIRST = 1, 2, 4, 8, 16, 32
RULE_DEFER = 64
NO_ARG = 255
_ENTRY = struct.Struct("<HHHBBBBBBBBBBi")
_RULE = struct.Struct("<IIQQiI")
_NO_FACTS = Facts("other", "all")
NOTHING: Mapping[str, Checked] = {}


class SeccompRule(msgspec.Struct, frozen=True):
    """A call answered in the kernel: all ``tests`` hold (none: always) → allowed, or ``errno``."""

    name: str
    action: RuleAction
    errno: int = 0
    tests: tuple[Compare, ...] = ()


class PumpEntry(msgspec.Struct, frozen=True):
    """What the pump does with a call: what to read, and the verdict by the numbers in
    ``checked``.
    """

    name: str
    kind: str
    facts: Facts
    checked: Checked
    silent: bool = False
    """Counted calls that are made leave no record: the trace level does not ask for any."""
    first: tuple[First, ...] = ()
    """What the kernel would have refused before: the errno of a call that is not made."""


class FilterSpec(msgspec.Struct, frozen=True):
    """One compiled policy.  What no rule answers goes to the listener; ``default_errno`` is the
    pump's default.
    """

    rules: tuple[SeccompRule, ...]
    pump_table: tuple[PumpEntry, ...]
    default_errno: int = table.ENOSYS
    listener: bool = True


def compile_filter(
    policy: Policy, *, listener: bool = True, instead: Mapping[str, Checked] = NOTHING
) -> FilterSpec:
    """The filter and the pump table of ``policy``.  ``instead``: calls that are decided otherwise
    than in a cage with namespaces (:mod:`akiosd.values.policy_mode`).

    ``listener=False`` gives the same fence without records: a call that would be denied and
    recorded then fails with ENOSYS.
    """
    trace = policy.syscalls.trace if listener else "none"
    denied = frozenset((*table.DENIED, *policy.syscalls.deny))
    optional = frozenset(table.OPTIONAL) - frozenset(policy.syscalls.allow)
    rules: list[SeccompRule] = []
    entries: list[PumpEntry] = []
    for name in sorted(table.known_names()):
        if name in denied:
            # Whatever its arguments are: one answer.
            entries.append(_entry(name, Checked((), table.EPERM)))
        elif name in optional or name in table.ABSENT:
            rules.append(SeccompRule(name, "errno", table.ENOSYS))
        else:
            checked = instead.get(name) or table.CHECKED.get(name, Checked((), 0))
            checked = checked if listener else _without_listener(checked)
            allowed = _let_through(name, checked, trace)
            rules.extend(SeccompRule(name, "allow", 0, tests) for tests in allowed)
            if () not in allowed:
                stopped = _records(name, trace)
                left = checked if stopped or checked.usual else _still_open(checked)
                entries.append(_entry(name, left, not stopped, FIRST.get(name, ())))
    return FilterSpec(tuple(rules), tuple(entries), listener=listener)


def _entry(
    name: str, checked: Checked, silent: bool = False, first: tuple[First, ...] = ()
) -> PumpEntry:
    facts = table.FACTS.get(name) or table.DENIED_FACTS.get(name) or _NO_FACTS
    denial = not checked.forms and checked.otherwise != 0
    kind = "privilege" if denial and facts is _NO_FACTS else facts.kind
    return PumpEntry(name, kind, facts, checked, silent, first)


def _without_listener(checked: Checked) -> Checked:
    """``checked`` for a filter that nobody listens to: what would be counted is allowed, what would
    be answered is not listed.
    """
    forms = (
        Form(form.tests, form.errno if form.counted is None else 0)
        for form in checked.forms
        if not form.answered
    )
    return msgspec.structs.replace(checked, forms=tuple(forms))


def _still_open(checked: Checked) -> Checked:
    """What is left to decide when the filter itself allows every allowed form: which errno the
    others get.
    """
    return Checked(tuple(form for form in checked.forms if not form.passes), checked.otherwise)


def _records(name: str, trace: TraceLevel) -> bool:
    facts = table.FACTS.get(name)
    return facts is not None and LEVELS.index(trace) >= LEVELS.index(facts.level)


def _let_through(name: str, checked: Checked, trace: TraceLevel) -> list[tuple[Compare, ...]]:
    """The forms of an allowed call that pass without a stop at this level; ``()`` is every form."""
    if _records(name, trace):
        facts = table.FACTS[name]
        return [(facts.quiet,)] if facts.quiet is not None and trace == facts.level else []
    return list(allowed_cubes(checked))


# ---- decision lists as sets of masked comparisons ------------------------------------------------
#
# libseccomp takes rules without an order and at most one comparison of each argument.  So "the
# first matching form" becomes disjoint sets of registers, each fixed by one (mask, value) an
# argument: a cube.

Cube = dict[int, tuple[int, int]]


def allowed_cubes(checked: Checked) -> Iterator[tuple[Compare, ...]]:
    """Disjoint conjunctions (at most one test for each argument) that together hold exactly when
    the call is allowed.

    Where the table says which calls are usual, only those are covered.
    """
    earlier: list[Cube] = []
    among = (checked.usual,) if checked.usual_together else ((test,) for test in checked.usual)
    usual = [_cube(tests) for tests in among] or [Cube()]
    for form in (*checked.forms, Form((), checked.otherwise)):
        cube = _cube(form.tests)
        if form.passes:
            pieces = [met for part in usual if (met := _meet(cube, part)) is not None]
            for other in earlier:
                pieces = [part for piece in pieces for part in _subtract(piece, other)]
            for piece in pieces:
                yield tuple(
                    Compare(arg, mask, value) for arg, (mask, value) in sorted(piece.items())
                )
        earlier.append(cube)


def _cube(tests: Iterable[Compare]) -> Cube:
    cube: Cube = {}
    for test in tests:
        met = _meet(cube, {test.arg: (test.mask, test.value)})
        if met is None:
            raise ValueError("a form contradicts itself")
        cube = met
    return cube


def _meet(cube: Cube, other: Cube) -> Cube | None:
    """What lies in both; None when nothing does."""
    both = dict(cube)
    for arg, (mask, value) in other.items():
        own_mask, own_value = both.get(arg, (0, 0))
        if (own_value ^ value) & own_mask & mask:
            return None
        both[arg] = (own_mask | mask, own_value | value)
    return both


def _subtract(cube: Cube, other: Cube) -> Iterator[Cube]:
    """``cube`` without ``other``: disjoint cubes, each differing from ``other`` first at another
    bit.
    """
    for arg, (mask, value) in other.items():
        own_mask, own_value = cube.get(arg, (0, 0))
        if (own_value ^ value) & own_mask & mask:
            yield cube
            return
    rest = dict(cube)
    for arg, (mask, value) in sorted(other.items()):
        for bit in reversed(range(64)):
            own_mask, own_value = rest.get(arg, (0, 0))
            flag = 1 << bit
            if mask & flag and not own_mask & flag:
                yield {**rest, arg: (own_mask | flag, own_value | (~value & flag))}
                rest[arg] = (own_mask | flag, own_value | (value & flag))


# ---- the blob ------------------------------------------------------------------------------------


def encode_pump_table(spec: FilterSpec, resolve: Callable[[str], int]) -> bytes:
    """``resolve``: name → number on this machine, negative when it has no such call (the entry is
    left out).
    """
    entries = [_ENTRY.pack(0, 0, 0, 0, *(NO_ARG,) * 7, 0, 0, spec.default_errno)] * PUMP_NUMBERS
    rules: list[bytes] = []
    for entry in spec.pump_table:
        nr = resolve(entry.name)
        if 0 <= nr < PUMP_NUMBERS:
            rows = [row for form in entry.checked.forms for row in _rows(nr, form, entry.silent)]
            entries[nr] = _encode_entry(entry, len(rules), len(rows))
            rules.extend(rows)
            rules.extend(_first_row(nr, first) for first in entry.first)
    return b"".join((*entries, *rules))


def _encode_entry(entry: PumpEntry, first: int, count: int) -> bytes:
    facts = entry.facts
    positions = (
        *(facts.path, facts.path2, facts.dirfd, facts.dirfd2),
        *(facts.sockaddr, facts.sockaddr_len, facts.argv),
    )
    arguments = (NO_ARG if position < 0 else position for position in positions)
    words = table.WORDS.get(entry.name, 0)
    last = len(entry.first), entry.checked.otherwise
    return _ENTRY.pack(table.KINDS.index(entry.kind), first, count, 1, *arguments, words, *last)


def _first_row(nr: int, row: First) -> bytes:
    flags = SORTS.index(row.sort) << 8 | RULE_FIRST
    return _RULE.pack(nr, row.arg, row.mask, row.value, row.errno, flags)


def _rows(nr: int, form: Form, silent: bool) -> list[bytes]:
    """The rows of a form, one for each test; the last says what is done."""
    *others, last = form.tests
    rows = [_RULE.pack(nr, test.arg, test.mask, test.value, 0, RULE_AND) for test in others]
    return [
        *rows,
        _RULE.pack(nr, last.arg, last.mask, last.value, form.errno, _flags(form, silent)),
    ]


def _flags(form: Form, silent: bool) -> int:
    if form.counted is not None:
        return table.COUNTED.index(form.counted) << 8 | RULE_COUNT | (RULE_SILENT if silent else 0)
    if form.answered:
        return RULE_ANSWER
    if form.deferred:
        return RULE_DEFER | (RULE_SILENT if silent else 0)
    return 0 if form.errno else RULE_CONTINUE
