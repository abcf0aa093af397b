"""Which ended cages stay known."""

from __future__ import annotations

from akiosd.cage.remembered import Remembered
from akiosd.values.ids import DirectoryId
from akiosd.wire.messages import CageInfo


def ended(number: int, *, standing: bool = False) -> CageInfo:
    return CageInfo(
        cage=f"c-{number:012}",
        uid=1000,
        user="ada",
        state="ended",
        argv=(),
        workspace=b"/w",
        started_ns=number,
        order=number,
        directory=DirectoryId(1, 1),
        standing=standing,
    )


def test_a_standing_cage_that_is_down_is_known_until_it_is_destroyed() -> None:
    kept = Remembered([ended(0), ended(1, standing=True)], 2)
    for number in range(2, 20):
        kept.add(ended(number))
    known = {info.order for info in kept.infos()}
    assert 1 in known and 0 not in known  # the control: the other is forgotten
    kept.expire(lambda name: True)
    assert 1 in {info.order for info in kept.infos()}
    kept.remove([ended(1).cage])
    assert 1 not in {info.order for info in kept.infos()}
