"""Workflow files, opened and read as the user; templates that come with AKIOS."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akiosctl import policy_files
from akiosctl.open_regular import NotRegularError, open_regular
from akiosctl.system_policy import find_system
from akiosd.errors import AkiosError
from akiosd.policy.merge import Merged, merge_explained
from akiosd.workflow.check import make_plan
from akiosd.workflow.plan import Plan
from akiosd.workflow.schema import MAX_BYTES, Read, read_workflow

if TYPE_CHECKING:
    from akiosctl.commands import Globals

ENDINGS = (".yml", ".yaml")
STDIN = "-"


def read_file(name: str) -> bytes:
    """A regular file, or standard input for ``-``; at most one byte more than a workflow may have.

    Raises :class:`AkiosError`.
    """
    if name == STDIN:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with open(open_regular(name), "rb") as file:
            return file.read(MAX_BYTES + 1)
    except NotRegularError:
        raise AkiosError("it is not a regular file", name, "name a workflow file") from None
    except OSError as error:
        raise AkiosError(
            f"the workflow cannot be read: {error.strerror}",
            name,
            _nearby(name) if error.errno == errno.ENOENT else "check its mode",
        ) from None


def _nearby(name: str) -> str:
    """What may have been meant with a file that is not there."""
    import difflib

    try:
        here = [one for one in os.listdir(os.path.dirname(name) or ".") if one.endswith(ENDINGS)]
    except OSError:
        return "check the path"
    near = difflib.get_close_matches(os.path.basename(name), here, 1)
    return (
        f"did you mean {near[0]}?" if near else "check the path; akiosctl templates list has some"
    )


def policy_here(globals_: Globals) -> Merged:
    """The policy of a run here, from which a workflow takes away."""
    system = find_system(globals_)
    return merge_explained(policy_files.find_layers(Path.cwd(), system=system))


def load(name: str, base: Merged | None) -> tuple[Read, Plan | None]:
    """A file and its plan; the plan is None where ``places.errors`` has mistakes, of which what
    ``base`` will deny for certain is one.
    """
    read = read_workflow(read_file(name), shown_name(name))
    return read, make_plan(read, base, foresees=True)


def load_good(name: str, base: Merged | None) -> Plan:
    """The plan of a file without mistakes; raises the first of them, and how many there are."""
    return good_plan(read_file(name), name, base)


def good_plan(data: bytes, name: str, base: Merged | None) -> Plan:
    """The same of a text; ``name`` is what errors call it."""
    read = read_workflow(data, shown_name(name))
    plan = make_plan(read, base)
    if plan is None:
        first, *others = read.places.errors
        more = f" (and {len(others)} more: akiosctl workflow validate {name})" if others else ""
        raise AkiosError(first.what + more, first.where, first.next)
    return plan


def shown_name(name: str) -> str:
    """A file as messages name it."""
    return "standard input" if name == STDIN else name


def templates() -> dict[str, Path]:
    """Name → file of each template that comes with AKIOS."""
    here = Path(__file__).parent / "templates"
    return {path.stem: path for path in sorted(here.glob("*.yml"))}


def describe_template(path: Path) -> dict[str, Any]:
    """Its name, what it does, and its inputs."""
    plan = load_good(str(path), None)
    return {"name": path.stem, "description": plan.description, "inputs": list(plan.inputs)}


def pairs(words: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE words of a command line.  Raises :class:`AkiosError`."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise AkiosError(f"{word!r} gives no value", "--input", "write --input NAME=VALUE")
        found[name] = value
    return found
