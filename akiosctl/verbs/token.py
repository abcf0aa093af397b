"""``akiosctl token``: what programs show to the REST API."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from akiosctl.api.tokens import SCOPES, Token, TokenFile, is_token_id, make_token, tokens_path
from akiosctl.commands import print_line, wants_json
from akiosctl.render import format_day, note, table
from akiosd.errors import AkiosError, PolicyError
from akiosd.values.units import parse_duration_ns

_DAYS_NS = 2 * 86_400 * 10**9
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FILE = click.option(
    "--tokens",
    "file",
    type=click.Path(path_type=Path),
    help="The file that keeps them, instead of the user's.",
)
_SCOPE_WORDS = "; ".join(f"{name}: {does}" for name, does in SCOPES.items())


@click.group("token")
def group() -> None:
    """Make, list and revoke tokens for the REST API (akiosctl serve)."""


def _open(file: Path | None) -> TokenFile:
    return TokenFile(file if file is not None else tokens_path())


def _expiry(text: str, now_ns: int) -> int:
    if text == "never":
        return 0
    try:
        length_ns = parse_duration_ns(text)
    except PolicyError:
        what = f"{text!r} is not a length of time"
        raise AkiosError(what, "--expires", "write 12h, 30d or never") from None
    if not length_ns:
        what = f"a token that expires after {text!r} would have expired before it could be used"
        raise AkiosError(what, "--expires", "write 12h, 30d or never")
    return now_ns + length_ns


@group.command("create", short_help="Make a token, and show it once.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(list(SCOPES)),
    help=f"What it may do; may be repeated.  {_SCOPE_WORDS}.",
)
@click.option(
    "--expires", default="30d", show_default=True, help="After how long it ends: 12h, 30d, never."
)
@click.option("--note", "words", default="", help="What it is for, shown by token list.")
@_FILE
@_JSON
@click.pass_context
def create(
    ctx: click.Context,
    scopes: tuple[str, ...],
    expires: str,
    words: str,
    file: Path | None,
    as_json: bool,
) -> None:
    """Make a token that opens the REST API for a program, and print it.

    It is shown this once: only its hash is kept.  Whoever has it may do what its scopes say, with
    the rights of the user who runs akiosctl serve.
    """
    now_ns = time.time_ns()
    text, token = make_token(tuple(dict.fromkeys(scopes)), now_ns, _expiry(expires, now_ns), words)
    _open(file).add(token)
    if os.geteuid() == 0:
        note("this token is root's, as whom nobody serves: make it as the user who runs serve")
    if wants_json(ctx, as_json):
        click.echo(json.dumps({**to_json(token, now_ns), "token": text}, indent=2))
        return
    click.echo(text)
    until = _until(token, now_ns)
    note(f"{token.id}, for {', '.join(token.scopes)}, {until}; it is not shown again")


@group.command("list", short_help="List tokens.")
@_FILE
@_JSON
@click.pass_context
def list_tokens(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """List tokens by their ids, without their secrets, which nobody has but who was given them."""
    now_ns = time.time_ns()
    tokens = sorted(_open(file).read().values(), key=lambda token: token.created_ns)
    if wants_json(ctx, as_json):
        click.echo(json.dumps([to_json(token, now_ns) for token in tokens], indent=2))
        return
    rows = [
        [
            token.id,
            ",".join(token.scopes),
            format_day(token.created_ns),
            "expired" if token.expired(now_ns) else _until(token, now_ns),
            token.note,
        ]
        for token in tokens
    ]
    if not rows:
        print_line("there are no tokens: make one with akiosctl token create --scope SCOPE")
        return
    for line in table(["TOKEN", "SCOPES", "CREATED", "ENDS", "NOTE"], rows):
        click.echo(line)


@group.command("revoke", short_help="Revoke tokens.")
@click.argument("tokens", nargs=-1, required=True)
@_FILE
@_JSON
@click.pass_context
def revoke(ctx: click.Context, tokens: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Revoke tokens by their ids.  A server that runs refuses them from now on, and ends their
    streams.
    """
    wrong = next((name for name in tokens if not is_token_id(name)), None)
    if wrong is not None:
        what = (
            f"{wrong!r} is not the id of a token"
            if len(wrong) < 20
            else "this is not the id of a token"
        )
        raise AkiosError(what, "token", "see their ids: akiosctl token list")
    gone = _open(file).remove(tokens)
    lacking = [name for name in tokens if name not in gone]
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"revoked": gone}))
    elif gone:
        print_line(f"revoked: {', '.join(gone)}")
    if lacking:
        what = f"there is no token {', '.join(lacking)}"
        raise AkiosError(what, "token", "see their ids: akiosctl token list")


def _until(token: Token, now_ns: int) -> str:
    """When it ends; within two days also at which time of the day."""
    if not token.expires_ns:
        return "never ends"
    if token.expires_ns - now_ns > _DAYS_NS:
        return f"until {format_day(token.expires_ns)}"
    return time.strftime("until %Y-%m-%d %H:%M:%S", time.localtime(token.expires_ns / 1e9))


def to_json(token: Token, now_ns: int) -> dict[str, object]:
    """A token as plain values, without its hash."""
    return {
        "id": token.id,
        "scopes": list(token.scopes),
        "created_ns": token.created_ns,
        "expires_ns": token.expires_ns,
        "expired": token.expired(now_ns),
        "note": token.note,
    }
