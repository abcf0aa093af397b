"""What commands printed, run again and again with nothing changed between (``recorded.json``)."""

from __future__ import annotations

import json
from pathlib import Path

RECORDED: dict[str, list[str]] = json.loads(Path(__file__).with_name("recorded.json").read_text())
