"""``akiosctl init DIR``: a directory to begin with: a policy, workflows, places for data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from akiosctl.commands import print_line, wants_json
from akiosctl.workflow_files import templates
from akiosd.errors import AkiosError

POLICY = """\
# The policy of agents and workflows here: see akios-policy(5), and akiosctl policy explain.
version: 1
limits:
  memory: 1G
  wall_clock: 1h
budget:
  usd: $1.00
network:
  # Models are reachable as the system policy says; sites only if they are named here.
  allowed_domains: []
"""
IGNORED = """\
# What agents and workflows make, and what may be personal.
/data/output/
/audit/
.env
"""
DOCUMENT = """\
Dear colleagues,

the heating of the second floor is repaired on Monday from 9 to 12. Please keep the windows closed,
and tell the front desk until Friday if somebody has to be let in.
"""


@click.command("init")
@click.argument("directory", metavar="[DIR]", default=".")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, directory: str, as_json: bool) -> None:
    """Make a project in DIR (here without it): policy, .gitignore, three workflows.

    A file that is there already stays as it is, and is named.
    """
    made: list[str] = []
    kept: list[str] = []
    _directory(Path(directory) / "data", 0o700)  # as cage up wants it
    for name, data in _files().items():
        (made if _make(Path(directory), name, data) else kept).append(name)
    _directory(Path(directory) / "data" / "output")
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"directory": directory, "made": made, "kept": kept}, indent=2))
        return
    for name in made:
        print_line(f"made  {name}")
    for name in kept:
        print_line(f"kept  {name} (it was there)")
    if made:
        place = "" if directory == "." else f"cd {directory} && "
        print_line(f"next: {place}akiosctl workflow explain workflows/document-analysis.yml")


def _files() -> dict[str, bytes]:
    """Path below the directory → content."""
    files = {"akios.yaml": POLICY, ".gitignore": IGNORED, "data/input/document.txt": DOCUMENT}
    workflows = {f"workflows/{name}.yml": path.read_text() for name, path in templates().items()}
    return {name: text.encode() for name, text in {**files, **workflows}.items()}


def _make(directory: Path, name: str, data: bytes) -> bool:
    """Write a new file; False where one is there, which may be a link to anywhere."""
    path = directory / name
    _directory(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o644)
    except FileExistsError:
        return False
    except OSError as error:
        raise _failed(path, error) from None
    with open(fd, "wb") as file:
        file.write(data)
    return True


def _directory(path: Path, mode: int = 0o777) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode, exist_ok=True)
    except OSError as error:
        raise _failed(path, error) from None


def _failed(path: Path, error: OSError) -> AkiosError:
    return AkiosError(
        f"it cannot be made: {error.strerror}", str(path), "name a directory that you may write"
    )
