"""``akiosctl doctor``: what this host enforces, layer by layer, as the daemon read it back."""

from __future__ import annotations

import json

import click
import msgspec

from akiosctl.commands import print_line, wants_json
from akiosctl.render import escape, paint
from akiosd.values.units import format_duration
from akiosd.wire.messages import Doctor, DoctorReply

_COLOURS = {"enforced": "green", "degraded": "yellow", "unavailable": "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> int:
    """Say what this host can enforce; the exit status is 1 when a layer is less than enforced."""
    with ctx.obj.connect() as client:
        reply, _ = client.call(Doctor(), DoctorReply)
    whole = all(layer.status == "enforced" for layer in reply.posture)
    if wants_json(ctx, as_json):
        click.echo(json.dumps({**msgspec.to_builtins(reply), "ok": whole}, indent=2))
        return 0 if whole else 1
    print_line(
        f"{reply.software} on Linux {reply.kernel}, up {format_duration(reply.uptime_ns)},"
        f" {reply.cages} cages"
    )
    print_line(f"state: {reply.state_dir}")
    for layer in reply.posture:
        status = paint(f"{layer.status:<11}", _COLOURS[layer.status])
        click.echo(f"  {escape(layer.layer):<13} {status} {escape(layer.detail)}")
    return 0 if whole else 1
