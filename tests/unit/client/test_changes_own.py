"""The fence protects itself: where the project holds the installation that guards it, an agent must
not change that.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from akiosctl.changes import Rules, compare, find_refusals, survey_workspace


@pytest.mark.parametrize("how", ["plain", "a link", "elsewhere"])
def test_what_akiosctl_is_made_of_is_not_the_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The control: an environment that is not ours is an agent's to change."""
    workspace, view = tmp_path / "workspace", tmp_path / "view"
    for side in (workspace, view):
        (side / ".venv" / "lib").mkdir(parents=True)
    (view / ".venv" / "lib" / "trio.py").write_text("evil")
    (view / "agent.py").write_text("work")
    (tmp_path / "link").symlink_to(workspace / ".venv")
    place = {
        "plain": workspace / ".venv",
        "a link": tmp_path / "link",
        "elsewhere": tmp_path / "other",
    }[how]
    monkeypatch.setattr("sys.prefix", str(place))
    fds = [os.open(side, os.O_PATH | os.O_DIRECTORY) for side in (workspace, view)]
    try:
        diff = compare(*fds)
        rules = Rules(root=os.fsencode(workspace), survey=survey_workspace(*fds, diff))
    finally:
        for fd in fds:
            os.close(fd)
    found = {refusal.path: refusal.reason for refusal in find_refusals(diff, rules)}
    assert set(found) == (set() if how == "elsewhere" else {b".venv/lib/trio.py"})
    assert all("AKIOS itself" in reason for reason in found.values())
