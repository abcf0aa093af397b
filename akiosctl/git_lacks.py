"""What a user's git configuration would change without a word, as values: imported only when that
is not remembered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from akiosctl.changes.git_config import Setting
from akiosctl.changes.git_survey import read_configuration
from akiosctl.changes.host_paths import expand_home

# A setting that makes git write otherwise, and says nothing where it is missing → the values that
# are git's own.
# git-config(1).  What fails loudly without it (a name to commit under, a credential), or looks
# otherwise, is not here.
SILENT: dict[str, tuple[str, ...]] = {
    "core.autocrlf": ("false",),
    "core.eol": ("native",),
    "core.safecrlf": ("false", "warn"),
    "core.whitespace": (),
    "core.hookspath": (),
    "core.precomposeunicode": ("false",),
    "core.sharedrepository": ("false", "umask"),
    "commit.gpgsign": ("false",),
    "commit.cleanup": ("default",),
    "tag.gpgsign": ("false",),
    "tag.forcesignannotated": ("false",),
    "format.signoff": ("false",),
    "apply.whitespace": ("warn",),
    "i18n.commitencoding": ("utf-8",),
    "init.defaultbranch": ("master",),
    "init.templatedir": (),
    "merge.ff": ("true",),
    "pull.rebase": ("false",),
    "rebase.autosquash": ("false",),
    "submodule.recurse": ("false",),
    "transfer.fsckobjects": ("false",),
}
# Programs that git runs on what it reads and writes, where attributes name them.
DRIVERS = {"filter": ("clean", "smudge", "process"), "merge": ("driver",)}


def summarise(files: Iterable[str], home: str) -> dict[str, Any]:
    """Plain values: ``ignore`` and ``attributes`` if they are set, ``lacks``, and the files that
    were ``read``.
    """
    base = os.fsencode(home)
    found = read_configuration([os.fsencode(path) for path in files], base)
    settings = [setting for _, setting in found.settings]
    return {
        "ignore": _path(settings, "core.excludesfile", base),
        "attributes": _path(settings, "core.attributesfile", base),
        "lacks": find_lacks(settings),
        "read": list(
            dict.fromkeys([*files, *(os.fsdecode(target) for _, target in found.included)])
        ),
    }


def _path(settings: Iterable[Setting], name: str, home: bytes) -> str:
    """The last value, as git makes a path of it; "" when there is none that leads somewhere."""
    values = [setting.value for setting in settings if setting.name == name]
    path = os.fsdecode(expand_home(values[-1], home)) if values and values[-1] else ""
    return path if path.startswith("/") and "\0" not in path else ""


def find_lacks(settings: Iterable[Setting]) -> list[str]:
    """Names of settings that are not git's own, ``filter.NAME`` and ``merge.NAME`` for drivers;
    sorted.
    """
    last: dict[str, str] = {}
    drivers = set()
    for setting in settings:
        value = "true" if setting.value is None else setting.value.decode("utf-8", "replace")
        if setting.subsection is None:
            last[setting.name] = value
        elif setting.key in DRIVERS.get(setting.section, ()) and value:
            drivers.add(
                f"{setting.section}.{setting.subsection.decode('utf-8', 'surrogateescape')}"
            )
    changed = [
        name for name, own in SILENT.items() if name in last and _plain(last[name]) not in own
    ]
    return sorted((*changed, *drivers))


def _plain(value: str) -> str:
    """A boolean as git understands it; anything else in lower case."""
    word = value.strip().lower()
    return {
        "": "false",
        "no": "false",
        "off": "false",
        "0": "false",
        "yes": "true",
        "on": "true",
        "1": "true",
    }.get(word, word)
