"""``akiosctl policy explain|check|presets|shipped``: what holds here, where it came from, whether a
file is right, which names a preset has, and what an administrator begins with.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from akiosctl import policy_files
from akiosctl.commands import print_line, wants_json
from akiosctl.plan_text import plan_text
from akiosctl.render import escape, print_error
from akiosctl.shown_paths import check_shown, places_of
from akiosctl.system_policy import find_system
from akiosd.errors import PolicyError
from akiosd.policy.explain import explain, explain_text
from akiosd.policy.merge import Layer, Merged, excesses_of, merge_explained
from akiosd.policy.presets import PRESETS
from akiosd.policy.refusals import sentence
from akiosd.policy.schema import PartialPolicy

_POLICY_OPTION = click.option(
    "--policy",
    "explicit",
    metavar="FILE",
    help="A policy file, or default, strict or permissive-dev, instead of the project's.",
)
_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def group() -> None:
    """Show and check policies."""


@group.command("explain")
@_POLICY_OPTION
@click.option("--plan", is_flag=True, help="Print the steps that make the cage instead.")
@_JSON_OPTION
@click.pass_context
def explain_command(ctx: click.Context, explicit: str | None, plan: bool, as_json: bool) -> None:
    """Print the policy that a run here would get, each value with the layer, file and line that
    gave it.
    """
    as_json = wants_json(ctx, as_json)
    try:
        merged = _merge_here(ctx, explicit)
    except PolicyError as error:
        _fail(error, as_json)
    if plan:
        lines = plan_text(merged.policy, Path.cwd(), Path.home())
        click.echo(json.dumps(lines, indent=2) if as_json else "\n".join(map(escape, lines)))
    elif as_json:
        click.echo(json.dumps(explain(merged), indent=2))
    else:
        for line in explain_text(merged):
            print_line(line)


@group.command("check")
@click.argument("files", nargs=-1, metavar="[FILE]…")
@_JSON_OPTION
@click.pass_context
def check_command(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check policy files: keys, values, and what the system policy would not let a project ask
    for; without FILE, the layers of a run here.  What they show of this host is opened as a run
    from here would.

    Exit status 1 when a file is not acceptable.
    """
    as_json = wants_json(ctx, as_json)
    try:
        if files:
            system = merge_explained([find_system(ctx.obj).layer])
            report = [_check_file(name, system) for name in files]
        else:
            layers = _layers_here(ctx, None)
            shown = merge_explained(layers).policy.filesystem
            _check_paths(layers, shown.read, shown.write)
            report = [{"file": "the policy of a run here", "ok": True, "widens": []}]
    except PolicyError as error:
        _fail(error, as_json)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    for entry in report:
        print_line(f"{entry['file']}: OK")
        for widening in entry["widens"]:
            print_line(f"  needs the system policy's leave: {widening}")


@group.command("presets")
@click.argument("names", nargs=-1, metavar="[NAME]…", type=click.Choice(list(PRESETS)))
@_JSON_OPTION
@click.pass_context
def presets_command(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Print the lists of names that network.presets knows, and when each was last looked at."""
    chosen = {name: PRESETS[name] for name in names or PRESETS}
    if wants_json(ctx, as_json):
        click.echo(json.dumps({name: p._asdict() for name, p in chosen.items()}, indent=2))
        return
    for name, preset in chosen.items():
        print_line(f"{name:<8}{preset.what} (looked at on {preset.looked_at})")
        for site in preset.names:
            print_line(f"        {site}")


@group.command("shipped")
@_JSON_OPTION
@click.pass_context
def shipped_command(ctx: click.Context, as_json: bool) -> None:
    """Print the system policy that AKIOS comes with, for an administrator to begin with."""
    text = policy_files.profile_path("system").read_text()
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"text": text}, indent=2))
        return
    click.echo(text, nl=False)


def _check_file(name: str, system: Merged) -> dict[str, Any]:
    """Alone, as if it were the system's; what the system policy would refuse in a project is told,
    not refused.
    """
    policy = policy_files.read_named(name)
    widens = what_it_widens(policy, system)
    read, write = (policy.values.get(f"filesystem.{kind}", ()) for kind in ("read", "write"))
    _check_paths([Layer("project", policy, name)], read, write)
    return {"file": name, "ok": True, "widens": widens}


def what_it_widens(policy: PartialPolicy, system: Merged) -> list[str]:
    """What the system policy would not let a project ask for, in sentences.  Raises
    :class:`PolicyError` for a policy that is none.
    """
    merged = merge_explained([Layer("system", policy)])
    return [sentence(excess) for excess in excesses_of(system, merged)]


def _merge_here(ctx: click.Context, explicit: str | None) -> Merged:
    return merge_explained(_layers_here(ctx, explicit))


def _layers_here(ctx: click.Context, explicit: str | None) -> list[Layer]:
    return policy_files.find_layers(Path.cwd(), explicit, system=find_system(ctx.obj))


def _check_paths(layers: list[Layer], read: Sequence[str], write: Sequence[str]) -> None:
    """What is shown of the host, as a run here would open it.  Raises :class:`PolicyError`."""
    check_shown(read, write, places_of(layers), str(Path.cwd()), os.path.expanduser("~"))


def _fail(error: PolicyError, as_json: bool) -> NoReturn:
    if as_json:
        click.echo(
            json.dumps(
                {"ok": False, "what": error.what, "where": error.where, "next": error.next},
                indent=2,
            )
        )
    else:
        print_error(error)
    sys.exit(1)
