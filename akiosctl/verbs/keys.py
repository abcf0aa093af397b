"""``akiosctl keys set|list|rm``: the API keys of LLM providers, which akiosd keeps and agents never
hold.
"""

from __future__ import annotations

import json
import sys

import click

from akiosctl.commands import print_line, wants_json
from akiosd.errors import AkiosError
from akiosd.values.policy import PROVIDERS
from akiosd.values.providers import FACTS, with_regions
from akiosd.wire.check import MAX_KEY, check_key
from akiosd.wire.messages import KeyList, KeyRemove, Keys, KeySet, Ok

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_PROVIDER = click.argument("provider", type=click.Choice(PROVIDERS))
_SET_HELP = " ".join(
    [
        (
            "Keep the key of PROVIDER, read from the terminal without echo, or from standard"
            " input.\n\n"
        ),
        *(facts.key.help for facts in FACTS.values() if facts.key.help),
        "Cages that run keep the key they were started with.",
    ]
)


@click.group("keys")
def group() -> None:
    """Keep the API keys of LLM providers (root and administrators).

    An agent gets a placeholder; the gateway of its cage puts the key on requests to that provider
    and to no other.
    """


@group.command("set", help=_SET_HELP)
@_PROVIDER
@click.option(
    "--region", default="", help=f"The region that requests go to ({', '.join(with_regions())})."
)
@JSON
@click.pass_context
def set_key(ctx: click.Context, provider: str, region: str, as_json: bool) -> None:
    key = ask_key(provider) if sys.stdin.isatty() else read_key()
    check_key(provider, key)
    with ctx.obj.connect() as client:
        client.call(KeySet(provider=provider, key=key, region=region), Ok)
    _done(ctx, as_json, provider, f"the key of {provider} is kept")


@group.command("list")
@JSON
@click.pass_context
def list_keys(ctx: click.Context, as_json: bool) -> None:
    """List the providers that have a key.

    Of the key a fingerprint is shown, which tells two keys apart. Its source: set, or credential of
    the service.
    """
    with ctx.obj.connect() as client:
        reply, _ = client.call(KeyList(), Keys)
    if wants_json(ctx, as_json):
        fields = ("provider", "source", "fingerprint", "region", "problem")
        click.echo(
            json.dumps([{name: getattr(info, name) for name in fields} for info in reply.keys])
        )
        return
    for info in reply.keys:
        words = info.problem or " ".join(filter(None, (info.source, info.fingerprint, info.region)))
        print_line(f"{info.provider:10} {words}")


@group.command("rm")
@_PROVIDER
@JSON
@click.pass_context
def remove_key(ctx: click.Context, provider: str, as_json: bool) -> None:
    """Forget the key of PROVIDER that was set."""
    with ctx.obj.connect() as client:
        client.call(KeyRemove(provider=provider), Ok)
    _done(ctx, as_json, provider, f"the key of {provider} is forgotten")


def _done(ctx: click.Context, as_json: bool, provider: str, text: str) -> None:
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"provider": provider}))
    else:
        print_line(text)


def ask_key(provider: str) -> bytes:
    """Without echo; raises :class:`AkiosError` for what is no ASCII."""
    form = FACTS[provider].key
    must = len(form.prompts) - form.optional
    words = [
        click.prompt(
            text or f"Key of {provider}",
            hide_input=True,
            default=None if number < must else "",
            show_default=False,
            err=True,
        )
        for number, text in enumerate(form.prompts)
    ]
    try:
        return "\n".join(word.strip() for word in words if word.strip()).encode("ascii")
    except UnicodeEncodeError:
        raise AkiosError(
            "a key consists of printable ASCII characters only", "keys set", "paste the key alone"
        ) from None


def read_key() -> bytes:
    """A key from standard input, white space around its lines removed."""
    data = sys.stdin.buffer.read(MAX_KEY + 1)
    return b"\n".join(line.strip() for line in data.strip().splitlines())
