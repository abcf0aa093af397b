"""Words of unknown origin on a page that others read: masked, cut and escaped.

A log has no value that was redacted on its way out; but an agent may have put the same value into a
command line, a file's name or a host's, and those are in the log.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from akiosctl.render import escape, quote_command
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.redactor import Redactor

_CUT = "…"
_AT_THE_CUT = 80
"""Characters before a cut that are left out: a value that was cut in two is not recognised."""
_LONGEST = 2000


class Words:
    """What was found once is masked wherever it stands in what is said afterwards: who says
    everything twice has it masked everywhere.
    """

    def __init__(self) -> None:
        self._redactor = Redactor(Engine(), "mask", known=Known())
        self._said: dict[str, str] = {}
        self._known = -1

    def say(self, text: str | bytes) -> str:
        """As HTML, of one line."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        known = len(self._redactor.known or ())
        if known != self._known:
            self._said.clear()
            self._known = known
        if text not in self._said:
            self._said[text] = self._masked(text)
        return self._said[text]

    def _masked(self, text: str) -> str:
        is_cut = text.endswith(_CUT) or len(text) > _LONGEST
        masked = self._redactor.read(text[:_LONGEST]).text
        if is_cut:
            masked = masked[: -_AT_THE_CUT - 1] + _CUT
        return html.escape(escape(masked))

    def command(self, argv: Iterable[bytes]) -> str:
        """A command line."""
        return self.say(quote_command(argv))
