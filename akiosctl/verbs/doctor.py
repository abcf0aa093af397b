"""``akiosctl doctor``: what this host enforces, layer by layer, as the daemon read it back; without
a daemon, what can be told from outside, and what starts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import click
import msgspec

from akiosctl import host_check
from akiosctl.client import NOT_RUNNING
from akiosctl.commands import print_line, wants_json
from akiosctl.render import escape, paint
from akiosd import __version__
from akiosd.errors import AkiosError
from akiosd.values.units import format_duration
from akiosd.wire.messages import Doctor, DoctorReply

_COLOURS = {
    "enforced": "green",
    "degraded": "yellow",
    "unavailable": "red",
    "present": "green",
    "missing": "red",
}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> int:
    """Say what this host can enforce; the exit status is 1 when a layer is less than enforced.

    Without akiosd it tells what can be seen from outside, and how akiosd is started; the exit
    status is then 1 too.
    """
    try:
        client = ctx.obj.connect()
    except AkiosError as error:
        return _without_daemon(ctx.obj.path, error, wants_json(ctx, as_json))
    with closing(client):
        reply, _ = client.call(Doctor(), DoctorReply)
    whole = all(layer.status == "enforced" for layer in reply.posture)
    if wants_json(ctx, as_json):
        found = {**msgspec.to_builtins(reply), "ok": whole, "running": True}
        found.pop("id", None)
        found.pop("m", None)
        print_json(found | {"socket": ctx.obj.path, "next": ""})
        return 0 if whole else 1
    print_line(
        f"{reply.software} on Linux {reply.kernel}, up {format_duration(reply.uptime_ns)},"
        f" {reply.cages} cages"
    )
    print_line(f"state: {reply.state_dir}")
    print_layers((layer.layer, layer.status, layer.detail) for layer in reply.posture)
    return 0 if whole else 1


def _without_daemon(path: str, error: AkiosError, as_json: bool) -> int:
    """``error`` says why there is no answer."""
    facts = host_check.read_facts()
    findings = host_check.judge(facts)
    lacks = [finding for finding in findings if finding.status == "missing"]
    closed = error.what != NOT_RUNNING  # it may run, and only the way to it is closed
    hint = error.next if closed else f"start it: {host_check.what_starts(facts)}"
    if as_json:
        print_json(
            {
                "ok": False,
                "running": False,
                "software": f"akiosctl {__version__}",
                "kernel": facts.kernel,
                "cages": 0,
                "uptime_ns": 0,
                "state_dir": "",
                "posture": [msgspec.to_builtins(finding) for finding in findings],
                "socket": path,
                "next": hint,
            }
        )
        return 1
    print_line(f"{error.what} ({path})")
    print_line("Seen from outside; whether a layer holds, akiosd tries when it runs:")
    print_layers((finding.layer, finding.status, finding.detail) for finding in findings)
    if lacks:
        print_line(f"missing: {', '.join(finding.layer for finding in lacks)}")
    print_line(f"next: {hint}")
    return 1


def print_layers(layers: Iterable[tuple[str, str, str]]) -> None:
    """One line each, aligned."""
    for layer, status, detail in layers:
        word = paint(f"{status:<11}", _COLOURS[status])
        click.echo(f"  {escape(layer):<13} {word} {escape(detail)}")


def print_json(found: Mapping[str, Any]) -> None:
    """The same for a program."""
    click.echo(json.dumps(found, indent=2))
