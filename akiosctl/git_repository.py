"""What conditions of a user's configuration ask about a repository; imported only when that is not
remembered.
"""

from __future__ import annotations

import os

from akiosctl.changes.git_config import BadConfigError, parse_config
from akiosctl.changes.host_paths import read_small
from akiosctl.git_conditions import Repository
from akiosctl.git_place import GitPlace

_BRANCH = b"ref: refs/heads/"


def survey_repository(workspace: str, place: GitPlace) -> Repository:
    """Nothing is run, and what the repository says decides between the user's own files only."""
    own = os.fsencode(place.own)
    head = (read_small(os.path.join(own, b"HEAD")) or b"").strip()
    config = read_small(os.path.join(os.fsencode(place.common), b"config")) or b""
    try:
        settings = parse_config(config)
    except BadConfigError:
        settings = []
    return Repository(
        tuple(dict.fromkeys((own, os.path.join(os.fsencode(workspace), b".git")))),
        head.removeprefix(_BRANCH) if head.startswith(_BRANCH) else b"",
        tuple(one.value for one in settings if one.name == "remote.*.url" and one.value),
    )


def state_files(place: GitPlace) -> tuple[str, str]:
    """The files that it was told from."""
    return f"{place.own}/HEAD", f"{place.common}/config"
