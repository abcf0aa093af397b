"""``akiosctl mcp``: a cage as tools of a client of the Model Context Protocol."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from akiosctl.api.serving import (
    ENDS,
    end_writings,
    find_place,
    listen_options,
    serve_until_signal,
    tell_place,
)
from akiosctl.commands import wants_json
from akiosctl.extras import install_command
from akiosctl.render import note
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.mcp_server import Session


_LIBRARIES = ("mcp", "mcp_types", "anyio", "pydantic", "starlette", "hypercorn")


@click.command("mcp")
@click.option("--workspace", metavar="DIR", help="The project; by default the one here.")
@click.option(
    "--policy", metavar="FILE", help="A policy file or profile, instead of the project's."
)
@click.option("--memory", metavar="SIZE", help="Memory limit, as in 512M.")
@click.option("--budget", metavar="MONEY", help="Dollars that calls to models may cost.")
@click.option("--timeout", metavar="TIME", help="How long the cage may stand, as in 8h.")
@listen_options(None)
@click.option(
    "--json", "as_json", is_flag=True, help="With --listen, print JSON: where; else it is JSON-RPC."
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    workspace: str | None,
    as_json: bool,
    listen: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    origins: tuple[str, ...],
    plain_http: bool,
    file: Path | None,
    **limits: str | None,
) -> None:
    """Serve tools of a cage: run, read, write, diff, commit, discard.

    A client of the Model Context Protocol starts it, and speaks over standard input and output, as
    in: claude mcp add akios -- akiosctl mcp.  Its tools work in one cage, by the policy of the
    project; what they changed waits for commit, which writes it with your rights, and is destroyed
    when the client leaves.

    With --listen it serves clients over HTTP, at /mcp, until Ctrl-C: each with a cage of its own
    and a token, see akiosctl token.
    """
    options: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    options["socket"] = ctx.obj.path
    if listen is None:
        _refuse_without_listen(tls_cert, tls_key, origins, plain_http, file)
        _import_libraries("mcp_server", "mcp")
        from akiosctl.mcp_server import Session, serve_stdio

        if os.isatty(0):
            note("waits for a client of MCP on standard input; with --listen one comes over HTTP")
        session = Session(workspace, options)
        _close_at_signals(session)
        serve_stdio(session)
        return
    place = find_place("akiosctl mcp", listen, tls_cert, tls_key, origins, plain_http, file)
    _import_libraries("mcp_http", "mcp,api")
    from akiosctl.api.connections import Connections
    from akiosctl.mcp_http import PATH, Conversations, Door, make_app

    with place.open() as (address, made, context):
        door = Door(Conversations(workspace, options, place.tokens))
        app = make_app(door, place.names(address), place.tokens)

        def say() -> None:
            tell_place(place, address, PATH, "", "run", wants_json(ctx, as_json))

        serve_until_signal(Connections(app, context), made, say, door.running())


def _refuse_without_listen(*given: object) -> None:
    names = ("--tls-cert", "--tls-key", "--origin", "--plain-http", "--tokens")
    for name, value in zip(names, given, strict=True):
        if value:
            what = f"{name} needs --listen: without it, standard input and output are used"
            raise AkiosError(
                what, "akiosctl mcp", f"add --listen ADDRESS:PORT, or leave out {name}"
            )


def _import_libraries(module: str, extra: str) -> None:
    """Raises :class:`AkiosError` that names the package where a library is missing."""
    try:
        if module == "mcp_server":
            import akiosctl.mcp_server
        else:
            import akiosctl.api.connections
            import akiosctl.mcp_http  # noqa: F401
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _LIBRARIES:
            raise
        pip = install_command(extra)
        raise AkiosError(
            f"the tools need {missing}, which is not installed",
            "akiosctl mcp",
            f"install it: {pip}",
        ) from None


def _close_at_signals(session: Session) -> None:
    """A client that is in a hurry sends one, and the library would go on reading.  A commit that
    has begun, in another thread, is whole before.
    """

    def leave(number: int, frame: object) -> None:
        end_writings(ENDS)
        with contextlib.suppress(AkiosError):  # akiosd is gone, and says what it left at its start
            session.close()
        os._exit(128 + number)

    for number in ENDS:
        signal.signal(number, leave)
