"""Moves dates by a number of days, in the form in which they are written."""

from __future__ import annotations

import datetime
import re

_NUMBERS = re.compile(r"(\d{1,4})([-/. ])(\d{1,2})\2(\d{1,4})")
_DAY_FIRST = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|\.)? (?:de )?([A-Za-z]{3,9})\.?,? (?:de )?(\d{4})"
)
_MONTH_FIRST = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})")
_MONTHS = (
    "January February March April May June July August September October November December",
    "Januar Februar Marz April Mai Juni Juli August September Oktober November Dezember",
    "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
)
_PIVOT = 30
"""Years written with two digits above this belong to the last century."""


def moved(text: str, days: int) -> str:
    """``text`` moved by ``days``; "" when it is no date that can be written in the same form."""
    try:
        return _moved(text, datetime.timedelta(days))
    except (ValueError, OverflowError):
        return ""


def _moved(text: str, by: datetime.timedelta) -> str:
    numbers = _NUMBERS.fullmatch(text)
    if numbers:
        return _numbers(numbers, by)
    for pattern, name, day in ((_DAY_FIRST, 2, 1), (_MONTH_FIRST, 1, 2)):
        match = pattern.fullmatch(text)
        if match:
            row, month = _month(match[name])
            new = datetime.date(int(match[3]), month, int(match[day])) + by
            named = _name(row, new.month, match[name])
            return _put(match, {name: named, day: str(new.day), 3: f"{new.year:04}"})
    return ""


def _numbers(match: re.Match[str], by: datetime.timedelta) -> str:
    first, third, month = int(match[1]), int(match[4]), int(match[3])
    if len(match[1]) == 4:
        year, day, order = first, third, (1, 3, 4)
    elif month > 12:
        year, month, day, order = third, first, month, (4, 1, 3)
    else:
        year, day, order = third, first, (4, 3, 1)
    short = len(match[order[0]]) == 2
    if short:
        year += 2000 if year <= _PIVOT else 1900
    new = datetime.date(year, month, day) + by
    padded = any(match[place].startswith("0") for place in order[1:])
    width = 2 if padded or all(len(match[place]) == 2 for place in order[1:]) else 1
    written = {order[0]: f"{new.year % 100:02}" if short else f"{new.year:04}"}
    return _put(
        match, written | {order[1]: f"{new.month:0{width}}", order[2]: f"{new.day:0{width}}"}
    )


def _put(match: re.Match[str], groups: dict[int, str]) -> str:
    pieces, done = [], 0
    for group in sorted(groups, key=match.start):
        pieces += [match.string[done : match.start(group)], groups[group]]
        done = match.end(group)
    return "".join([*pieces, match.string[done:]])


def _month(name: str) -> tuple[list[str], int]:
    wanted = name.lower()
    for row in _MONTHS:
        names = row.split()
        for place, full in enumerate(names):
            if wanted == full.lower() or (
                row is _MONTHS[0] and wanted in (full[:3].lower(), full[:4].lower())
            ):
                return names, place + 1
    raise ValueError(name)


def _name(names: list[str], month: int, like: str) -> str:
    found = names[month - 1]
    whole = any(like.lower() == name.lower() for name in names) and not (
        len(like) == 3 and like.lower() == "may"
    )
    found = found if whole else found[:3]
    return found.upper() if like.isupper() else found.lower() if like.islower() else found.title()
