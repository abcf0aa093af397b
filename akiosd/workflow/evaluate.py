"""Says whether a condition holds.  An error is an error of the step, never false.

Every node takes fuel, and every value that is looked at takes bytes of a budget, so that time and
memory are bounded by numbers and not by a clock.  Types are strict: a text is never equal to a
number by chance, and only true and false are conditions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import re2

from akiosd.errors import AkiosError
from akiosd.values.units import MIB
from akiosd.workflow.condition_tokens import (
    INT_MAX,
    INT_MIN,
    Binary,
    Call,
    Choice,
    Index,
    Items,
    Literal,
    Name,
    Node,
    Unary,
)
from akiosd.workflow.references import Scope, describe, look_up, show, step_into

MAX_FUEL = 10_000
"""Nodes that are evaluated."""
MAX_BYTES = 64 * MIB
"""Of values that are compared and searched."""
MAX_PATTERN = 1_000
MAX_MATCHING = 1 << 26
"""Characters of texts times instructions of their patterns: what RE2 takes at the most where its
cache is full, at about 20 ns each.
"""
_MAX_DEPTH = 64
_REGEX_BYTES = 8 * MIB


class Function(NamedTuple):
    arguments: int
    apply: Callable[[_Budget, list[Any]], Any]


class _Budget:
    def __init__(self) -> None:
        self.fuel, self.bytes, self.matching = MAX_FUEL, MAX_BYTES, MAX_MATCHING

    def burn(self, fuel: int) -> None:
        self.fuel -= fuel
        if self.fuel < 0:
            raise AkiosError(
                f"the condition takes more than {MAX_FUEL:,} steps to decide",
                next="make it simpler",
            )

    def read(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise AkiosError(
                f"the condition looks at more than {MAX_BYTES // MIB} MiB of values",
                next="compare something smaller, such as a count",
            )

    def match(self, size: int) -> None:
        self.matching -= size
        if self.matching < 0:
            raise AkiosError(
                "matches would take too long with this pattern and a text of this size",
                next="match a smaller text, or write a shorter pattern",
            )


def holds(condition: Node, scope: Scope) -> bool:
    """Whether the condition is true.  Raises :class:`AkiosError` where it cannot be decided."""
    value = _Evaluator(scope.names()).value(condition)
    return _truth(value, "the condition")


def _truth(value: Any, what: str) -> bool:
    if isinstance(value, bool):
        return value
    raise AkiosError(
        f"{what} is {describe(value)}, and neither true nor false",
        next="write a comparison, as in x != '' or size(x) > 0",
    )


class _Evaluator:
    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names, self._budget = names, _Budget()

    def value(self, node: Node) -> Any:
        """The value of a node; the parser bounds how deep nodes lie."""
        self._budget.burn(1)
        match node:
            case Literal(value):
                return value
            case Items(items):
                return [self.value(item) for item in items]
            case Name(path):
                return _plain(look_up(path, self._names))
            case Index(inner, key):
                return _plain(step_into(self.value(inner), self.value(key)))
            case Unary("not", inner):
                return not _truth(self.value(inner), "what stands after 'not'")
            case Unary(_, inner):
                return _whole(-_number(self.value(inner)))
            case Choice(condition, yes, no):
                return self.value(
                    yes if _truth(self.value(condition), "what stands before '?'") else no
                )
            case Binary("and" | "or" as word, left, right):
                first = _truth(self.value(left), f"what stands before {word!r}")
                if first is (word == "or"):
                    return first
                return _truth(self.value(right), f"what stands after {word!r}")
            case Binary(sign, left, right):
                return self._binary(sign, self.value(left), self.value(right))
            case Call("has", (Name(path),)):
                return self._has(path)
            case Call(function, arguments):
                return FUNCTIONS[function].apply(self._budget, [self.value(a) for a in arguments])

    def _has(self, path: tuple[str | int, ...]) -> bool:
        """Whether the last key is there; what leads to it must be."""
        holder = look_up(path[:-1], self._names)
        last = path[-1]
        if isinstance(holder, Mapping):
            return last in holder
        if not isinstance(holder, list | tuple) or not isinstance(last, int):
            return False
        return -len(holder) <= last < len(holder)

    def _binary(self, sign: str, left: Any, right: Any) -> Any:
        if sign in ("==", "!="):
            return _equal(self._budget, left, right) is (sign == "==")
        if sign == "in":
            return _contains(self._budget, right, left)
        if sign in ("<", "<=", ">", ">="):
            return _ordered(self._budget, sign, left, right)
        if sign == "+" and isinstance(left, str) and isinstance(right, str):
            self._budget.read(_size(left) + _size(right))
            return left + right
        return _arithmetic(sign, _number(left), _number(right))


def _plain(value: Any) -> Any:
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise AkiosError("a number has more than 64 bits", next="compare it as text")
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AkiosError(f"{describe(value)} is not a number", next="calculate with numbers only")
    return value


def _whole(value: int | float) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise AkiosError("the result is not a finite number", next="use smaller numbers")
    _plain(value)
    return value


def _arithmetic(sign: str, left: int | float, right: int | float) -> int | float:
    if sign == "%":
        if isinstance(left, float) or isinstance(right, float) or right <= 0 or left < 0:
            raise AkiosError(
                "'%' takes whole numbers: 0 or more on its left, 1 or more on its right",
                next="write it as in size(inputs.x) % 2 == 0",
            )
        return left % right
    return _whole(left + right if sign == "+" else left - right if sign == "-" else left * right)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return describe(value)


def _equal(budget: _Budget, left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    if _kind(left) != _kind(right):
        raise AkiosError(
            f"{_kind(left)} is compared with {_kind(right)}: they are never equal",
            next="5 is a number, '5' is text: write both the same way",
        )
    budget.read(_size(left) + _size(right))
    return _same(left, right)


def _same(left: Any, right: Any) -> bool:
    """As ``==``, in which 1 is not true, at any depth."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _ordered(budget: _Budget, sign: str, left: Any, right: Any) -> bool:
    if _kind(left) != _kind(right) or _kind(left) not in ("text", "a number"):
        raise AkiosError(
            f"{_kind(left)} and {_kind(right)} cannot be ordered",
            next="compare two numbers or texts",
        )
    budget.read(_size(left) + _size(right))
    if sign in ("<", ">="):
        return bool(left < right) is (sign == "<")
    return bool(left > right) is (sign == ">")


def _contains(budget: _Budget, holder: Any, item: Any) -> bool:
    if isinstance(holder, str) and isinstance(item, str):
        # What str.find looks at in the worst case: it is not quadratic since Python 3.10.
        budget.read(_size(holder) + _size(item))
        return item in holder
    if isinstance(holder, Mapping) and isinstance(item, str):
        return item in holder
    if isinstance(holder, list | tuple):
        budget.read(_size(holder) + len(holder) * _size(item))
        return any(_same(one, item) for one in holder)
    raise AkiosError(
        f"{_kind(item)} cannot be looked for in {_kind(holder)}",
        next="'in' looks for text in text, for an item in a list, for a key in a map",
    )


def _size(value: Any) -> int:
    """About the bytes of a value; a value that is nested without end is refused."""
    total, waiting = 0, [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if depth > _MAX_DEPTH or total > MAX_BYTES:
            raise AkiosError("a value is too deep or too large to compare", next="compare a part")
        total += len(one) if isinstance(one, str) else 8
        if isinstance(one, Mapping):
            waiting += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple):
            waiting += [(part, depth + 1) for part in one]
    return total


def _texts(arguments: list[Any], function: str) -> tuple[str, str]:
    text, part = arguments
    if not isinstance(text, str) or not isinstance(part, str):
        what = f"{function}() takes two texts, not {_kind(text)} and {_kind(part)}"
        raise AkiosError(what, next="give it two texts")
    return text, part


def _size_of(budget: _Budget, arguments: list[Any]) -> int:
    if not isinstance(arguments[0], str | list | tuple | Mapping):
        raise AkiosError(
            f"{describe(arguments[0])} has no size", next="texts, lists and maps have one"
        )
    return len(arguments[0])


def _starts(budget: _Budget, arguments: list[Any]) -> bool:
    text, part = _texts(arguments, "startsWith")
    budget.read(len(part))
    return text.startswith(part)


def _ends(budget: _Budget, arguments: list[Any]) -> bool:
    text, part = _texts(arguments, "endsWith")
    budget.read(len(part))
    return text.endswith(part)


def _contains_call(budget: _Budget, arguments: list[Any]) -> bool:
    return _contains(budget, arguments[0], arguments[1])


def _matches(budget: _Budget, arguments: list[Any]) -> bool:
    text, pattern = _texts(arguments, "matches")
    if len(pattern) > MAX_PATTERN:
        raise AkiosError(f"a pattern has at most {MAX_PATTERN} characters", next="shorten it")
    options = re2.Options()
    options.max_mem, options.log_errors = _REGEX_BYTES, False
    try:
        compiled = re2.compile(pattern, options)
        budget.match((len(text) + 1_000) * compiled.programsize)
        return compiled.search(text) is not None
    except UnicodeEncodeError:
        raise AkiosError(
            "the text is not valid Unicode, so no pattern can match it",
            next="compare it with == or contains, which take any text",
        ) from None
    except re2.error as error:
        words = error.args[0] if error.args else ""
        shown = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        raise AkiosError(
            f"{pattern[:80]!r} is not a pattern: {shown}",
            next="write one of RE2 (no look-around, no back references)",
        ) from None


def _never(budget: _Budget, arguments: list[Any]) -> bool:
    raise AkiosError("has() takes a reference", next=f"write has({show(('inputs', 'x'))})")


FUNCTIONS: dict[str, Function] = {
    "has": Function(1, _never),
    "size": Function(1, _size_of),
    "startsWith": Function(2, _starts),
    "endsWith": Function(2, _ends),
    "contains": Function(2, _contains_call),
    "matches": Function(2, _matches),
}
"""All there are; each is a function of its arguments and nothing else."""
