"""What the tables say of one call, decided one call at a time: the filter and the pump are compared
with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from akiosd.values.syscalls import Checked, Compare, Form


def find_form(checked: Checked, args: tuple[int, ...]) -> Form:
    return next(
        (form for form in checked.forms if matches(form.tests, args)), Form((), checked.otherwise)
    )


def matches(tests: Iterable[Compare], args: tuple[int, ...]) -> bool:
    return all(args[test.arg] & test.mask == test.value for test in tests)
