"""``akiosctl why``: what a cage was denied, and what would allow it."""

from __future__ import annotations

import hashlib
import json
import os

import click
import msgspec

from akiosctl.cages import find_cage
from akiosctl.choose_cage import is_whole
from akiosctl.client import Client
from akiosctl.commands import print_line, wants_json
from akiosctl.denials import Told, explain, long_lines, report
from akiosctl.read_denials import Reading, files_of, layers_of
from akiosctl.records_text import read_record
from akiosctl.system_policy import ask_system
from akiosd.errors import AkiosError, PolicyError
from akiosd.policy.merge import Layer, merge
from akiosd.values.records import Birth

_OTHER_POLICY = (
    "the run had another policy than one from here has now (its files, --policy or options): "
    "the settings below are for the policy of now"
)
_PORTS = "a name is reached on ports 80 and 443; for another write host:port, as in github.com:22"


@click.command("why")
@click.argument("cage", default="last")
@click.option(
    "--policy", "explicit", metavar="FILE", help="The policy file or profile that the run had."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, cage: str, explicit: str | None, as_json: bool) -> None:
    """Tell what CAGE was denied: each name, system call and file, and how often.

    With each stands the setting that would allow it, and the file where it is set.  CAGE is the
    last cage of this directory when it is left out.
    """
    with ctx.obj.connect() as client:
        name, workspace = _find(client, cage)
        told, same = tell_why(client, name, workspace, explicit)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(to_json(name, told, same)))
        return
    if not told:
        print_line(f"{name} was denied nothing")
        return
    print_line(f"{name} in {workspace}")
    if not same:
        print_line(_OTHER_POLICY)
    for line in long_lines(told):
        print_line(line)
    if any(one.rule == "network.allowed_domains" for one in told):
        print_line(_PORTS)


def tell_why(
    client: Client,
    cage: str,
    workspace: str,
    explicit: str | None = None,
    reading: Reading | None = None,
) -> tuple[list[Told], bool]:
    """What the cage of this id was denied, and whether it had the policy of now.  ``reading`` is
    what was read of its log before.
    """
    reading = Reading() if reading is None else reading
    reading.go_on(client, cage)
    system = ask_system(client)
    layers = layers_of(workspace, explicit, {}, system)
    groups = [*reading.groups.values()]
    where = files_of(workspace, explicit, system)
    told = explain(groups, layers, where, reading.ends, system.config_file)
    return told, _is_policy(reading.head, layers)


def to_json(cage: str, told: list[Told], same: bool) -> dict[str, object]:
    """The answer as plain values."""
    return {"cage": cage, "same_policy": same, "denied": report(told)}


def _find(client: Client, name: str) -> tuple[str, str]:
    """The cage and its workspace; of one that left nothing but its log, the present directory."""
    try:
        found = find_cage(client, name)
    except AkiosError:
        if not is_whole(name):
            raise
        return name, os.getcwd()
    workspace = os.fsdecode(found.workspace)
    return found.cage, workspace if os.path.isdir(workspace) else os.getcwd()


def _is_policy(entries: list[bytes], layers: list[Layer]) -> bool:
    """Whether the cage was born with the policy that these layers give."""
    try:
        digest = hashlib.sha256(msgspec.msgpack.encode(merge(layers))).digest()
    except PolicyError:
        return False
    for entry in entries:
        record = read_record(entry)
        if isinstance(record, Birth):
            return record.policy_sha256 == digest
    return True
