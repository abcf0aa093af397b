"""``akiosctl budget``: what a cage spent on calls to models, and what is left."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from akiosctl.cages import find_cage
from akiosctl.commands import print_line, wants_json
from akiosctl.render import describe_spend, escape, table
from akiosd.values.units import format_duration, format_usd
from akiosd.wire.messages import BudgetInfo, BudgetReply, CageInfo


@click.command("budget")
@click.argument("cage", default="last", metavar="[CAGE]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; money in micro-USD.")
@click.pass_context
def command(ctx: click.Context, cage: str, as_json: bool) -> None:
    """Show what the calls of CAGE to models cost so far and, while it runs, what open ones hold,
    and what is left.
    """
    with ctx.obj.connect() as client:
        found = find_cage(client, cage)
        if found.ended_ns:
            if wants_json(ctx, as_json):
                click.echo(json.dumps(ended_json(found), indent=2))
            else:
                show_ended(found)
            return
        reply, _ = client.call(BudgetInfo(cage=found.cage), BudgetReply)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(to_json(reply), indent=2))
        return
    for line in describe(reply):
        print_line(line)
    for rows in (model_rows(reply), open_rows(reply)):
        if len(rows) > 1:
            click.echo()
            for line in table(rows[0], rows[1:]):
                click.echo(line)


def ended_json(cage: CageInfo) -> dict[str, object]:
    """What an ended cage spent, as plain values."""
    spent = {"usd_micro": cage.usd_micro, "calls": cage.calls}
    return {"cage": cage.cage, "ended": True, **spent}


def show_ended(cage: CageInfo) -> None:
    """What an ended cage spent; nothing of its budget is left to speak of."""
    spent_words = describe_spend(cage.usd_micro, cage.calls)
    print_line(f"{cage.cage} has ended, {spent_words}")
    print_line(f"see them: akiosctl ledger show {cage.cage} --kind llm_call")


def describe(reply: BudgetReply) -> list[str]:
    """One line for what counts, of what is limited or used."""
    limits, tokens = reply.limits, reply.input_tokens + reply.output_tokens
    lines = [
        _line(
            "money",
            limits.usd_micro,
            reply.usd_micro,
            reply.reserved_usd_micro,
            format_usd,
            reply.shared_usd_micro,
        ),
        _line("tokens", limits.tokens, tokens, reply.reserved_tokens, _number, reply.shared_tokens),
        _line("calls", limits.calls, reply.calls, reply.open_calls, _number, reply.shared_calls),
    ]
    if limits.usd_micro_per_minute:
        lines.append(
            _line(
                "money in this minute",
                limits.usd_micro_per_minute,
                reply.minute_usd_micro,
                0,
                format_usd,
            )
        )
    if limits.requests_per_minute:
        lines.append(
            _line(
                "requests in this minute",
                limits.requests_per_minute,
                reply.minute_requests,
                0,
                _number,
            )
        )
    if reply.refused:
        lines.append(f"refused: {reply.refused:,}")
    if reply.ending:
        lines.append(f"the cage ends: {reply.ending}")
    return lines


def _number(amount: int) -> str:
    return f"{amount:,}"


def _line(
    name: str, limit: int, used: int, held: int, show: Callable[[int], str], shared: int = 0
) -> str:
    parts = [f"{show(used)} used"]
    if shared:
        parts.append(f"{show(shared)} used by workflows for this cage")
    if held:
        parts.append(f"{show(held)} held by open calls")
    parts.append(
        f"{show(max(0, limit - used - shared - held))} of {show(limit)} left"
        if limit
        else "no limit"
    )
    return f"{name}: " + ", ".join(parts)


def model_rows(reply: BudgetReply) -> list[list[str]]:
    """The table of models with its header, the dearest first."""
    rows = [["MODEL", "CALLS", "SPENT", "TOKENS IN", "TOKENS OUT"]]
    for model in sorted(reply.models, key=lambda model: -model.usd_micro):
        numbers = [f"{model.calls:,}", format_usd(model.usd_micro)]
        rows.append([model.model, *numbers, f"{model.input_tokens:,}", f"{model.output_tokens:,}"])
    return rows


def open_rows(reply: BudgetReply) -> list[list[str]]:
    """The table of calls that still hold a reservation, with its header."""
    rows = [["OPEN CALL", "HOLDS", "SINCE"]]
    return rows + [
        [call.model, format_usd(call.usd_micro), format_duration(call.age_ns)]
        for call in reply.open
    ]


def to_json(reply: BudgetReply) -> dict[str, object]:
    """The reply as plain values; amounts are millionths of a dollar, None where there
    is no limit.
    """
    limits = reply.limits
    left = (
        max(
            0,
            limits.usd_micro - reply.usd_micro - reply.shared_usd_micro - reply.reserved_usd_micro,
        )
        if limits.usd_micro
        else None
    )
    return {
        "cage": reply.cage,
        "limits": {name: getattr(limits, name) for name in limits.__struct_fields__},
        "usd_micro": reply.usd_micro,
        "reserved_usd_micro": reply.reserved_usd_micro,
        "left_usd_micro": left,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "reserved_tokens": reply.reserved_tokens,
        "calls": reply.calls,
        "open_calls": reply.open_calls,
        "shared_usd_micro": reply.shared_usd_micro,
        "shared_tokens": reply.shared_tokens,
        "shared_calls": reply.shared_calls,
        "refused": reply.refused,
        "minute_usd_micro": reply.minute_usd_micro,
        "minute_requests": reply.minute_requests,
        "models": [
            {
                "model": escape(model.model),
                "calls": model.calls,
                "usd_micro": model.usd_micro,
                "input_tokens": model.input_tokens,
                "output_tokens": model.output_tokens,
            }
            for model in reply.models
        ],
        "open": [
            {"model": escape(call.model), "usd_micro": call.usd_micro, "age_ns": call.age_ns}
            for call in reply.open
        ],
        "ending": reply.ending,
    }
