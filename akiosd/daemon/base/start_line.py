"""How this akiosd was started, left in its runtime directory for whoever has to start it again.

A private akiosd is started by hand, and nothing else remembers with which words: without its
--config another one would have other groups, keys and limits.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from akiosd.daemon.base.log import get_log
from akiosd.values.places import START_LINE

_log = get_log("start_line")


def words_of(
    config: Path | None, given: Mapping[str, object], state: str, runtime: str
) -> list[str]:
    """The options of akiosd that start it so again; ``given`` are those of the command line.

    Both directories are always named: akiosd.yaml may give others by then.
    """
    words = ["--config", str(config)] if config is not None else []
    words += ["--state-dir", state, "--runtime-dir", runtime]
    if given.get("log_level"):
        words += ["--log-level", str(given["log_level"])]
    return [*words, "--policy-mode"] if given.get("policy_mode") else words


def leave(runtime: Path, words: list[str]) -> None:
    """Write it where everybody may read it, and nobody but our user write."""
    place, new = runtime / START_LINE, runtime / f".{START_LINE}"
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump(words, file)
            os.fchmod(file.fileno(), 0o644)
        os.replace(new, place)
    except (OSError, UnicodeError) as error:
        # It only helps whoever starts the next one.
        _log.warning("how it was started cannot be left", file=str(place), error=str(error))
