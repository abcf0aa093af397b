"""What undone commits put back is remembered for the user's next one, and believed from nobody
else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from akiosctl.put_back import forget_put_back, keep_put_back, read_put_back

CAGE = "c-234567abcdef"
OF_ANOTHER = "c-234567abcdeg"
ONE, OTHER = (1, 2, 3, 4, 5, 6), (6, 5, 4, 3, 2, 1)
NOBODY = 65534


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "akios/put-back" / CAGE


def test_it_is_kept_until_the_cage_is_settled(place: Path) -> None:
    assert read_put_back(CAGE) == frozenset()
    keep_put_back(CAGE, [ONE])
    keep_put_back(CAGE, [OTHER])
    assert read_put_back(CAGE) == {ONE, OTHER}
    keep_put_back(CAGE, [(*ONE[:5], 7)])
    assert read_put_back(CAGE) == {(*ONE[:5], 7), OTHER}, "the last of each inode"
    assert place.stat().st_mode & 0o777 == 0o600 and place.parent.stat().st_mode & 0o077 == 0
    assert read_put_back(OF_ANOTHER) == frozenset(), "another cage has none of it"
    forget_put_back(CAGE)
    assert read_put_back(CAGE) == frozenset() and list(place.parent.iterdir()) == []


def link(place: Path) -> None:
    place.rename(place.with_name("else"))
    place.symlink_to("else")


def fifo(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


FORGED: dict[str, Callable[[Path], object]] = {
    "another may write it": lambda place: place.chmod(0o620),
    "a link": link,
    "a FIFO": fifo,
    "no such text": lambda place: place.write_text("[[1,2,3]]"),
    "of another user": lambda place: os.chown(place, NOBODY, NOBODY),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_another_may_have_written_is_not_believed(how: str, place: Path) -> None:
    if how == "of another user" and os.geteuid() != 0:
        pytest.skip("needs root: gives a file away")
    keep_put_back(CAGE, [ONE])
    assert read_put_back(CAGE) == {ONE}, "control"
    FORGED[how](place)
    assert read_put_back(CAGE) == frozenset()


def test_where_it_cannot_be_kept_it_is_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.parent.parent.mkdir(parents=True)
    place.parent.write_text("a file")
    keep_put_back(CAGE, [ONE])
    assert "--force" in capsys.readouterr().err
    keep_put_back("../other", [ONE])
    assert "is no cage" in capsys.readouterr().err


def test_what_is_old_goes(place: Path) -> None:
    keep_put_back(CAGE, [ONE])
    os.utime(place, (1, 1))
    keep_put_back(OF_ANOTHER, [ONE])
    assert not place.exists()
