"""Telephone numbers that no subscriber can be given: those that regulators reserve for films, books
and documentation.

For a country that reserves none, a label stands for its numbers.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple


class Block(NamedTuple):
    """National numbers: ``prefix``, then each number from ``first`` to ``last``, written with
    ``digits`` digits.
    """

    prefix: str
    digits: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def number(self, index: int) -> str:
        """The number with this index."""
        return f"{self.prefix}{self.first + index:0{self.digits}}"


def _blocks(digits: int, first: int, last: int, *prefixes: str) -> tuple[Block, ...]:
    return tuple(Block(prefix, digits, first, last) for prefix in prefixes)


# Any code of an area stands before 555-01xx, but for x9x, which is kept for longer numbers, x11,
# and free calls.
_AREAS = tuple(
    f"{a}{b}{c}"
    for a in range(2, 10)
    for b in range(9)
    for c in range(10)
    if (b, c) != (1, 1)
    and f"{a}{b}{c}" not in ("555", "800", "888", "877", "866", "855", "844", "833", "822", "900")
)

BLOCKS: dict[int, tuple[Block, ...]] = {
    # ATIS-0300115, 555 NXX Assignment Guidelines: line numbers 0100 to 0199 are for fiction, in
    # every area.
    1: _blocks(2, 1, 98, *(f"{area}55501" for area in _AREAS)),
    # ARCEP, Plan national de numérotation (décision 2018-0881), numéros pour œuvres audiovisuelles.
    33: _blocks(4, 0, 9999, "19900", "26191", "35301", "46571", "53649", "63998"),
    # Ofcom, Telephone numbers for use in TV and radio drama programmes.
    44: (
        *_blocks(
            3, 0, 999, *(f"{area}4960" for area in (*range(113, 119), 121, 131, 141, 151, 161))
        ),
        *_blocks(
            3, 0, 999, "2079460", "1914980", "2896496", "2920180", "1632960", "7700900", "3069990"
        ),
    ),
    # PTS, Telefonnummer till böcker och filmer m.m.
    46: (
        *_blocks(2, 5, 99, "7017406"),
        *_blocks(2, 0, 99, "3139006", "4062804", "8465004"),
        *_blocks(2, 0, 99, "9803192"),
    ),
    # Bundesnetzagentur, Mitteilung 148/2021: Rufnummern für Medienproduktionen.
    49: (
        *_blocks(3, 0, 999, "3023125", "6990009", "4066969", "2214710", "8999998"),
        *_blocks(2, 0, 99, "17139200", "176040690"),
    ),
    # ACMA, Phone numbers for use in TV shows, films and creative works.
    61: _blocks(4, 0, 9999, "25550", "27010", "35550", "37010", "75550", "77010", "85550", "87010"),
    # ComReg, National Numbering Conventions: 020 91 is for drama.
    353: _blocks(5, 0, 99999, "2091"),
}
"""Calling code → what is kept there."""

TRUNK = {33: "0", 44: "0", 46: "0", 49: "0", 61: "0", 353: "0"}
"""What stands before a national number at home."""

_FAMOUS = ("0100", "0123", "0199")


def national(code: int, like: str, noise: Iterator[int]) -> str:
    """One of the numbers reserved under a calling code; "" where none is.

    As long as ``like`` where there is one, and mostly of its sort: mobile for mobile, of a region
    for one of a region.
    """
    blocks, ends = _fitting(code, len(like), like[0] if next(noise) % 8 else "")
    if not blocks:
        return ""
    place = int.from_bytes(bytes(next(noise) for _ in range(8)), "big") % ends[-1]
    index = bisect_right(ends, place)
    found = blocks[index].number(ends[index] - place - 1)
    return found if not found.endswith(_FAMOUS) else national(code, like, noise)


@cache
def _fitting(code: int, size: int, first: str) -> tuple[tuple[Block, ...], tuple[int, ...]]:
    """Blocks to choose from, and how many numbers there are up to the end of each."""
    blocks = BLOCKS.get(code, ())
    fitting = tuple(block for block in blocks if len(block.prefix) + block.digits == size) or blocks
    fitting = tuple(block for block in fitting if block.prefix.startswith(first)) or fitting
    return fitting, tuple(itertools.accumulate(map(len, fitting)))
