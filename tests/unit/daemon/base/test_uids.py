"""No two living cages share a host id, however few there are."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.daemon.base.uids import CageUids
from akiosd.errors import AkiosError, CageFailedError

FIRST = 1_900_000_000


@given(
    st.integers(1, 9),
    st.lists(
        st.tuples(st.sampled_from(("take", "end", "keep", "settle", "restart")), st.integers(0, 20))
    ),
)
def test_an_id_is_never_handed_out_while_it_is_in_use(
    count: int, history: list[tuple[str, int]]
) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "next-uid")
        uids = CageUids(path, FIRST, count)
        living: list[int] = []
        kept: list[int] = []
        uids.kept = lambda: kept
        for step, which in history:
            if step == "take":
                try:
                    uid = uids.take()
                except CageFailedError:
                    assert len(living) + len(kept) == count
                    continue
                assert uid not in living and uid not in kept and FIRST <= uid < FIRST + count
                living.append(uid)
            elif step in ("end", "keep") and living:
                uid = living.pop(which % len(living))
                if step == "keep":
                    kept.append(uid)
                uids.give_back(uid)
            elif step == "settle" and kept:
                kept.pop(which % len(kept))
            elif step == "restart":
                # Cages end with their daemon; what they changed is kept.
                living.clear()
                uids = CageUids(path, FIRST, count)
                uids.kept = lambda: kept
            assert uids.left == count - len(living) - len(kept)


def test_ids_of_callers_do_not_count(tmp_path: Path) -> None:
    """A cage that ran under its caller's own id keeps changes of that id, which is none of the
    range.
    """
    uids = CageUids(tmp_path / "next-uid", FIRST, 3)
    uids.kept = lambda: {1000, FIRST + 1}
    assert uids.left == 2
    assert {uids.take(), uids.take()} == {FIRST, FIRST + 2}


def test_a_used_id_comes_back_as_late_as_possible(tmp_path: Path) -> None:
    uids = CageUids(tmp_path / "next-uid", FIRST, 5)
    first = uids.take()
    uids.give_back(first)
    assert first not in [uids.take() for _ in range(4)]


def test_a_counter_that_is_no_number_is_told(tmp_path: Path) -> None:
    (tmp_path / "next-uid").write_text("many")
    with pytest.raises(AkiosError, match="holds no number"):
        CageUids(tmp_path / "next-uid", FIRST, 5)
