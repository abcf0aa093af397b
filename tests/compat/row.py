"""One program, agent or SDK of the table: what is run, and what shows that it works."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NOTHING: Mapping[str, str] = MappingProxyType({})


class Row(NamedTuple):
    """``script`` is for ``bash -euc``, in a directory of its own that holds ``files``.

    It is run in a cage and outside, by the same ordinary user, and must print the same.
    source: how the program is had, ``debian:PACKAGE``, ``pypi:VENV/PACKAGE`` or
        ``npm:PROJECT/PACKAGE`` of :mod:`tests.compat.installs`, ``host:COMMAND`` else.
    needs: packages of Debian without which the program would do something else.
    refused: a regular expression of the words with which the cage refuses; then it must end with
        an error inside, and outside without one.
    control: why there is no run outside to compare with; then ``shows`` is what is looked for.
    shows: a regular expression that the output inside must match, beside being the same.
    blur: regular expressions whose matches are not compared (times, addresses).
    models: the run asks a model, and the stand-in must have been asked; plan: the tool that it calls.
    outside: variables of the run outside, with ``{url}`` for the stand-in's address.
    how: what a reader should know, for the table.
    flags: options of ``akiosctl run``; policy: the project's ``akios.yaml`` without its first line.
    core: in every run of the tests, as well as in the set of all.
    """

    name: str
    kind: str
    source: str
    script: str
    files: Mapping[str, str] = NOTHING
    refused: str = ""
    control: str = ""
    shows: str = ""
    blur: tuple[str, ...] = ()
    models: bool = False
    plan: tuple[str, Mapping[str, object]] = ("none", MappingProxyType({}))
    outside: Mapping[str, str] = NOTHING
    how: str = ""
    flags: tuple[str, ...] = ()
    policy: str = ""
    as_root: bool = False
    core: bool = False
    needs: tuple[str, ...] = ()
    seconds: int = 60
