"""``akiosctl discard``: destroy a cage's changes."""

from __future__ import annotations

import json
import time

import click

from akiosctl import confirm
from akiosctl.cages import find_cage, list_cages
from akiosctl.choose_cage import LAST, place
from akiosctl.client import Client, DaemonError
from akiosctl.commands import print_line, wants_json
from akiosctl.commit_cage import count_changes, discard_cage, open_view
from akiosctl.render import note, print_error, quote_command
from akiosd.errors import AkiosError
from akiosd.values.units import parse_duration_ns
from akiosd.wire.messages import CageInfo


@click.command("discard")
@click.argument("cages", nargs=-1, metavar="[CAGE…]")
@click.option(
    "--all",
    "-a",
    "everything",
    is_flag=True,
    help="All of your cages with changes, of any directory.",
)
@click.option(
    "--older-than", metavar="TIME", help="All of your cages that ended longer ago, as in 7d."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask, however much it is.")
@click.option(
    "--wipe", is_flag=True, help="First overwrite what is destroyed; this can take minutes."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    cages: tuple[str, ...],
    everything: bool,
    older_than: str | None,
    yes: bool,
    wipe: bool,
    as_json: bool,
) -> int:
    """Destroy what each CAGE changed; its log stays.  CAGE is the last cage of this directory when
    it is left out.
    """
    if cages and (everything or older_than is not None):
        raise AkiosError(
            "cages are named, and --all or --older-than is given too",
            "discard",
            "give either the names of cages, or --all or --older-than",
        )
    report = _Report(wipe, wants_json(ctx, as_json))
    code = 0
    with ctx.obj.connect() as client:
        if everything or older_than is not None:
            age_ns = parse_duration_ns(older_than) if older_than is not None else 0
            code = _discard_many(client, age_ns, report, yes=yes)
            cages = ()
        else:
            cages = cages or (LAST,)
        for name in cages:
            cage = find_cage(client, name, writes=True, need="changes")
            if not yes:
                _ask(client, cage)
            report.discard(client, cage)
    report.finish()
    return code


def _discard_many(client: Client, age_ns: int, report: _Report, *, yes: bool) -> int:
    """One that cannot go now, because somebody looks at it, does not keep the others."""
    before_ns = time.time_ns() - age_ns
    found = [one for one in list_cages(client) if one.changes and 0 < one.ended_ns <= before_ns]
    if not found:
        note("no changes of yours wait" if not age_ns else "no changes of yours wait for so long")
        return 0
    if not yes and confirm.can_ask():
        for cage in found:
            note(f"{cage.cage} in {place(cage)}: {quote_command(cage.argv)}")
        words = "1 cage" if len(found) == 1 else f"{len(found)} cages"
        confirm.ask(f"destroy all changes of {words}?", None, "discard")
    failed = False
    for cage in found:
        try:
            report.discard(client, cage)
        except DaemonError as error:
            print_error(error)
            failed = True
    return 125 if failed else 0


class _Report:
    """Says what was discarded, as it goes or as one JSON object."""

    def __init__(self, wipe: bool, as_json: bool) -> None:
        self._wipe, self._json = wipe, as_json
        self._done: list[str] = []
        self._notes: list[str] = []

    def discard(self, client: Client, cage: CageInfo) -> None:
        if not self._json:
            note(f"destroying the changes of {cage.cage} in {place(cage)}")
        said = discard_cage(client, cage.cage, wipe=self._wipe)
        self._done.append(cage.cage)
        self._notes += [said] if said else []
        if not self._json:
            if said:
                note(said if self._wipe else f"{said}; --wipe overwrites")
            print_line(cage.cage)

    def finish(self) -> None:
        if self._json:
            click.echo(json.dumps({"cages": self._done, "notes": self._notes}))


def _ask(client: Client, cage: CageInfo) -> None:
    if not confirm.can_ask():
        return
    try:
        with open_view(client, cage.cage) as view:
            count = len(view.compare().changes)
    except AkiosError:
        count = None  # its directory is gone, or somewhere else
    how_many = "all changes" if count is None else count_changes(count)
    confirm.ask(f"destroy {how_many} of {cage.cage} in {place(cage)}?", count, "discard")
