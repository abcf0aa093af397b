"""``akiosctl status``: how AKIOS is here, on one page."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import click
import msgspec

from akiosctl import host_check
from akiosctl.cages import list_cages
from akiosctl.client import Client
from akiosctl.commands import print_line, wants_json
from akiosctl.render import describe_spend, escape, format_day, paint, table
from akiosctl.standing_cages import state_of
from akiosctl.today import Today, read_today
from akiosd import __version__
from akiosd.cage.unprotected import describe
from akiosd.errors import AkiosError
from akiosd.values.units import format_duration, format_usd
from akiosd.wire.messages import CageInfo, CageStatus, CageStatusReply, Doctor, DoctorReply

_MOST_ROWS = 10


class Status(msgspec.Struct, frozen=True):
    """What there is to tell where akiosd answers.  ``left_out``: by the name of a standing cage."""

    doctor: DoctorReply
    cages: list[CageInfo]
    today: Today
    left_out: dict[str, tuple[str, ...]]

    @property
    def lacks(self) -> list[dict[str, str]]:
        """Layers that are less than enforced on this host."""
        return [
            {"layer": one.layer, "status": one.status, "detail": one.detail}
            for one in self.doctor.posture
            if one.status != "enforced"
        ]


@click.command("status")
@click.option("--budget", "budget", is_flag=True, help="Only what models cost today.")
@click.option("--security", "security", is_flag=True, help="Only what is not protected.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: always everything.")
@click.pass_context
def command(ctx: click.Context, budget: bool, security: bool, as_json: bool) -> int:
    """Say whether akiosd is there, which of your cages run and stand, what models cost today, what
    was denied, and what is not protected on this machine.

    Today is since midnight here.  The exit status is 1 where akiosd does not answer.
    """
    try:
        client = ctx.obj.connect()
    except AkiosError as error:
        return _without_daemon(ctx.obj.path, error, wants_json(ctx, as_json))
    with closing(client):
        found = read_status(client)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(to_json(found), indent=2))
        return 0
    whole = not budget and not security
    if whole:
        doctor = found.doctor
        up = format_duration(doctor.uptime_ns)
        print_line(f"{doctor.software} runs on Linux {doctor.kernel}, up {up}")
        for line in _cage_lines(found):
            click.echo(line)
    if whole or budget:
        for line in _money_lines(found.today, budget):
            click.echo(line)
    if whole:
        click.echo(_denied_line(found.today))
    if whole or security:
        for line in _security_lines(found):
            click.echo(line)
    return 0


def read_status(client: Client) -> Status:
    """Ask for all of it."""
    doctor, _ = client.call(Doctor(), DoctorReply)
    cages = list_cages(client)
    left_out: dict[str, tuple[str, ...]] = {}
    for cage in cages:
        if cage.standing and not cage.ended_ns:
            reply, _ = client.call(CageStatus(cage=cage.cage), CageStatusReply)
            if reply.left_out:
                left_out[cage.name] = reply.left_out
    return Status(doctor, cages, read_today(client, cages, midnight_ns(time.time())), left_out)


def midnight_ns(now: float) -> int:
    """When the local day of ``now`` (Unix time) began."""
    day = time.localtime(now)
    return int(time.mktime((day.tm_year, day.tm_mon, day.tm_mday, 0, 0, 0, 0, 0, -1))) * 10**9


# ---- lines ---------------------------------------------------------------------------------------


def _cage_lines(found: Status) -> Iterator[str]:
    standing = [one for one in found.cages if one.standing]
    running = [one for one in found.cages if not one.standing and not one.ended_ns]
    waiting = sum(bool(one.changes) for one in found.cages)
    words = f"{len(standing)} standing, {len(running)} more that run"
    waits = f", {waiting} with changes that wait for diff, commit or discard" if waiting else ""
    yield f"cages     {words}{waits}"
    shown = [*standing, *running]
    rows = [
        [
            one.name or one.cage,
            state_of(one) if one.standing else "runs",
            f"{one.programs} running" if one.standing and not one.ended_ns else "",
            format_usd(one.usd_micro),
            escape(one.workspace),
        ]
        for one in shown[-_MOST_ROWS:]
    ]
    if rows:
        for line in table(["NAME", "STATE", "PROGRAMS", "SPENT", "WORKSPACE"], rows):
            yield f"          {line}"
    if len(shown) > _MOST_ROWS:
        yield f"          and {len(shown) - _MOST_ROWS} older ones: akiosctl ps"


def _money_lines(today: Today, every: bool) -> Iterator[str]:
    least = "" if today.whole else "at least "
    yield f"money     {least}{describe_spend(today.usd_micro, today.calls)}, today"
    ranked = sorted((one for one in today.cages if one.calls), key=lambda one: -one.usd_micro)
    if not every or not ranked:
        return
    rows = [
        [one.cage.name, one.cage.cage, f"{one.calls:,}", format_usd(one.usd_micro)]
        for one in ranked
    ]
    for line in table(["NAME", "CAGE", "CALLS", "SPENT TODAY"], rows):
        yield f"          {line}"


def _denied_line(today: Today) -> str:
    cages = [one for one in today.cages if one.denied]
    if not cages:
        return "denied    nothing today"
    least = "" if today.whole else "at least "
    most = max(cages, key=lambda one: one.denied).cage
    where = "1 cage" if len(cages) == 1 else f"{len(cages)} cages"
    return (
        f"denied    {least}{today.denied:,} today, in {where}; see: akiosctl why"
        f" {escape(most.name or most.cage)}"
    )


def _security_lines(found: Status) -> Iterator[str]:
    lacks = found.lacks
    count = len(found.doctor.posture)
    good = paint(f"all {count} layers can be enforced here", "green")
    bad = f"{len(lacks)} of {count} layers are less than enforced here"
    yield f"security  {bad if lacks else good}"
    for one in lacks:
        colour = "yellow" if one["status"] == "degraded" else "red"
        detail = escape(f"{one['layer']}: {one['status']} ({one['detail']})")
        yield f"          {paint(detail, colour)}"
    if lacks:
        yield "          what mends it: akiosctl doctor --fix-hints"
    for name, left_out in found.left_out.items():
        yield f"          {paint(escape(f'{name}: {describe(left_out)}'), 'red')}"


# ---- plain values --------------------------------------------------------------------------------


def to_json(found: Status) -> dict[str, Any]:
    """Everything as plain values."""
    doctor, today = found.doctor, found.today
    return {
        "running": True,
        "software": doctor.software,
        "kernel": doctor.kernel,
        "uptime_ns": doctor.uptime_ns,
        "next": "",
        "cages": [
            {
                "cage": one.cage,
                "name": one.name,
                "state": state_of(one) if one.standing else "runs",
                "standing": one.standing,
                "programs": one.programs,
                "workspace": escape(one.workspace),
                "usd_micro": one.usd_micro,
                "changes": one.changes,
            }
            for one in found.cages
            if one.standing or not one.ended_ns
        ],
        "today": {
            "since_ns": today.since_ns,
            "day": format_day(today.since_ns),
            "whole": today.whole,
            "usd_micro": today.usd_micro,
            "calls": today.calls,
            "denied": today.denied,
            "cages": [
                {
                    "cage": one.cage.cage,
                    "name": one.cage.name,
                    "usd_micro": one.usd_micro,
                    "calls": one.calls,
                    "denied": one.denied,
                }
                for one in today.cages
            ],
        },
        "unprotected": found.lacks,
        "left_out": {name: list(words) for name, words in found.left_out.items()},
    }


def _without_daemon(path: str, error: AkiosError, as_json: bool) -> int:
    """``error`` says why there is no answer."""
    next = error.next
    if as_json:
        facts = host_check.read_facts()
        found = {
            "running": False,
            "software": f"akiosctl {__version__}",
            "kernel": facts.kernel,
            "uptime_ns": 0,
            "next": next,
            "cages": [],
            "today": None,
            "unprotected": [],
            "left_out": {},
        }
        click.echo(json.dumps(found, indent=2))
        return 1
    print_line(f"{error.what} ({path})")
    print_line("nothing on this machine is protected by it, and what it knows cannot be told")
    print_line(f"next: {next}")
    return 1
