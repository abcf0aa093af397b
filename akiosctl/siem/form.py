"""Lines of a format for entries of a log, as ``akiosctl events`` prints them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal

from akiosctl.records_text import record_json
from akiosctl.siem.cef import to_cef
from akiosctl.siem.ecs import to_ecs
from akiosctl.siem.facts import Source
from akiosctl.siem.ocsf import to_ocsf

Format = Literal["ocsf", "ecs", "cef"]
_WRITERS: dict[Format, Callable[[dict[str, Any], Source], dict[str, Any] | str | None]] = {
    "ocsf": to_ocsf,
    "ecs": to_ecs,
    "cef": to_cef,
}
FORMATS: tuple[Format, ...] = tuple(_WRITERS)


class SiemForm:
    """``kinds``: only of these; all where empty."""

    def __init__(self, format: Format, kinds: frozenset[str], source: Source) -> None:
        self._write, self._kinds, self._source = _WRITERS[format], kinds, source

    def lines(self, log: str, start: int, entries: Iterable[bytes]) -> list[str]:
        """One line, without its end, for each entry of the wanted kinds that is not left out."""
        events = (record_json(log, index, entry) for index, entry in enumerate(entries, start))
        wanted = (e for e in events if not self._kinds or e["kind"] in self._kinds)
        return [line for event in wanted for line in self._line(event)]

    def gap(self, log: str, start: int, stop: int, ts: int) -> list[str]:
        """Records that were not sent, told as such that were lost."""
        why = "this reader was too slow: read them with akiosctl events --cage"
        event = {"log": log, "index": start, "ts": ts, "kind": "lost"}
        return self._line({**event, "count": stop - start, "why": why})

    def _line(self, event: dict[str, Any]) -> list[str]:
        told = self._write(event, self._source)
        if told is None:
            return []
        return [told if isinstance(told, str) else json.dumps(told)]
