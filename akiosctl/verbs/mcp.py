"""``akiosctl mcp``: a cage as tools of a client of the Model Context Protocol, over stdio."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import click

from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.mcp_server import Session


@click.command("mcp")
@click.option("--workspace", metavar="DIR", help="The project; by default the one here.")
@click.option(
    "--policy", metavar="FILE", help="A policy file or profile, instead of the project's."
)
@click.option("--memory", metavar="SIZE", help="Memory limit, as in 512M.")
@click.option("--budget", metavar="MONEY", help="Dollars that calls to models may cost.")
@click.option("--timeout", metavar="TIME", help="How long the cage may stand, as in 8h.")
@click.option("--json", "as_json", is_flag=True, help="It speaks JSON-RPC in any case.")
@click.pass_context
def command(
    ctx: click.Context, /, workspace: str | None, as_json: bool, **limits: str | None
) -> None:
    """Serve tools over standard input and output: run, read, write, diff, commit, discard.

    A client of the Model Context Protocol starts it, as in: claude mcp add akios -- akiosctl mcp.
    Its tools work in one cage, by the policy of the project; what they changed waits for commit,
    which writes it with your rights, and is destroyed when the client leaves.
    """
    try:
        from akiosctl.mcp_server import Session, make_server
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("mcp", "mcp_types", "anyio", "pydantic"):
            raise
        raise AkiosError(
            f"the tools need {missing}, which is not installed",
            "akiosctl mcp",
            "in a venv: pip install 'akios[mcp]'",
        ) from None
    options: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    session = Session(workspace, {**options, "socket": ctx.obj.path})
    _close_at_signals(session)
    make_server(session).run("stdio")


def _close_at_signals(session: Session) -> None:
    """A client that is in a hurry sends one, and the library would go on reading."""

    def leave(number: int, frame: object) -> None:
        with contextlib.suppress(AkiosError):  # akiosd is gone, and says what it left at its start
            session.close()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
