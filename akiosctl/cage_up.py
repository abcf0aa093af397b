"""Makes a standing cage: like a run without a command, with the data of its project."""

from __future__ import annotations

import os
import re

from akiosctl.client import PlainClient
from akiosctl.data_directories import MOST_COUNTED, count_left, make_data
from akiosctl.prepare_run import make_bind, prepare
from akiosctl.render import count_files, note
from akiosctl.run_options import RunOptions
from akiosctl.started import missing_layers, take_started
from akiosd.cage.unprotected import UNPROTECTED
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.ids import is_cage_name
from akiosd.values.places import DATA, DIRECT

_ANY_PROGRAM = "sh"
"""What is shown inside is found behind PATH; a program of the system adds nothing to it."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def cage_up(
    given: dict[str, list[str]],
    name: str | None,
    path: str,
    quiet: bool,
    here: str = "",
    foreign: bool = False,
) -> tuple[str, str]:
    """Make a standing cage by the options ``given``, named as in ``run_options``; returns its id
    and its name.  ``here`` and ``foreign`` as for :func:`akiosctl.verbs.run.prepare`.
    """
    options = RunOptions([_ANY_PROGRAM], given | ({"quiet": []} if quiet else {}))
    client = PlainClient(path)
    fds: list[int] = []
    try:
        request, policy, _ = prepare(options, False, fds, client, here, foreign)
        workspace = os.fsdecode(request["workspace"])  # type: ignore[arg-type]
        binds = request["binds"]
        assert isinstance(binds, list)
        # Written directly, and so outside the limit of its disk: of a foreign one nothing is.
        data = None if foreign else make_data(fds[0], workspace, policy.data)
        # Before a program of the cage can add to them.
        left = count_left(data.fds["output"]) if data is not None and not quiet else 0
        for kind, fd in data.fds.items() if data is not None else ():
            binds.append(make_bind(f"{workspace}/{DATA[kind]}", fd, kind, "data", fds))
        name = name or name_for(workspace)
        request |= {
            "standing": True,
            "name": name,
            "argv": [],
            "command": b"/",
            "detach": True,
            "keep_output": False,
            "one_output": False,
        }
        number = client.request("run", request, fds)
        started, received = take_started(client, number)
        close_fds(received)
    finally:
        close_fds(fds)
        client.close()
    for line in started.get("notes", ()):
        if not quiet or str(line).startswith(UNPROTECTED):
            note(str(line))
    for line in () if quiet else (*missing_layers(started["posture"]), DIRECT):
        note(line)
    if data is not None and data.base != workspace and not quiet:
        note(f"its data is in {data.base}/data")
    if left:
        note(_words_of_left(left, name))
    return str(started["cage"]), name


def _words_of_left(count: int, name: str) -> str:
    """What was there before the cage, and is destroyed with it."""
    number = f"{count} files or more" if count == MOST_COUNTED else count_files(count)
    return (
        f"{DATA['output']} already holds {number}: akiosctl cage down {name} destroys what is there"
        " too, unless --keep-output is given"
    )


def name_for(workspace: str) -> str:
    """What a cage is called whose user gave no name: as its project."""
    name = _NOT_IN_NAMES.sub("-", os.path.basename(workspace)).strip("-._")[:64]
    return name if is_cage_name(name) else "cage"
