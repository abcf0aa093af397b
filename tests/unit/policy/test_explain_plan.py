"""``policy explain --plan``: the same steps that the launcher executes, as text."""

from __future__ import annotations

from pathlib import Path

from akiosctl.plan_text import plan_text
from akiosd.values.policy import DEFAULT_POLICY


def test_the_plan_reads_from_limits_to_the_filter(tmp_path: Path) -> None:
    lines = plan_text(DEFAULT_POLICY, tmp_path, Path("/home/agent"))
    text = "\n".join(lines)
    assert "cgroup: memory.max = 2147483648" in lines
    assert (
        text.index("new root")
        < text.index("user namespace")
        < text.index("bounding set")
        < text.index("the filter")
    )
    assert str(tmp_path) in text and len(lines) > 100
