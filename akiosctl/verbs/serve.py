"""``akiosctl serve``: the REST API, as the user who runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from akiosctl.api.address import DEFAULT
from akiosctl.api.serving import find_place, listen_options, serve_until_signal, tell_place
from akiosctl.commands import wants_json
from akiosctl.extras import install_command
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.api.service import Service

PACKAGE = "akios-api"
_KEYS = "api-idempotency-keys"
"""Beside the tokens."""
_LIBRARIES = ("fastapi", "hypercorn", "starlette", "anyio", "pydantic", "prometheus_client")


@click.command("serve")
@listen_options(DEFAULT)
@click.option(
    "--system",
    "is_system",
    is_flag=True,
    help="For everybody: cages get files of requests, and no directory of this host's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: where it serves.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    listen: str,
    is_system: bool,
    as_json: bool,
    tls_cert: str | None,
    tls_key: str | None,
    origins: tuple[str, ...],
    plain_http: bool,
    file: Path | None,
) -> int:
    """Serve the REST API until Ctrl-C: pages at /, OpenAPI at /openapi.json, described at /docs.

    It does what its user may do, and no more: akiosd sees that user.  Programs need a token: see
    akiosctl token.  It listens where only this host can reach it, unless --listen says otherwise;
    then it needs a certificate.

    With --system it acts for nobody: whoever has a token shares the cages of its user, which get
    the files that a request brings; nothing in those files, nor the name of the program, shows more
    of this host.  There is no workspace of the host's, no diff and no commit, and no cage has a
    data/output beside the limit of its disk.
    The unit akios-api.service runs it so, as a user that may read what all cages do.
    """
    place = find_place("akiosctl serve", listen, tls_cert, tls_key, origins, plain_http, file)
    _import_libraries()
    from akiosctl.api.app import make_app
    from akiosctl.api.connections import Connections
    from akiosctl.api.kept_keys import KeptKeys
    from akiosctl.api.once import MOST, Once
    from akiosctl.api.service import Service

    with place.open() as (address, made, context):
        tls = context is not None
        once = Once(KeptKeys(place.tokens.path.with_name(_KEYS), MOST))
        service = Service(ctx.obj.path, place.tokens, tls=tls, is_system=is_system, once=once)
        connections = Connections(make_app(service, place.names(address)), context)

        def say() -> None:
            more = " (documentation: /docs)"
            tell_place(place, address, "", more, "read", wants_json(ctx, as_json))

        serve_until_signal(connections, made, say, _counting(service), service.close)
        service.runs.wait()
    return 0


def _import_libraries() -> None:
    """Raises :class:`AkiosError` that names the package where a library is missing."""
    try:
        import akiosctl.api.app
        import akiosctl.api.connections  # noqa: F401
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _LIBRARIES:
            raise
        pip = install_command("api")
        raise AkiosError(
            f"the REST API needs {missing}, which is not installed",
            "akiosctl serve",
            f"install it: sudo apt install {PACKAGE}, where akios came by apt; else {pip}",
        ) from None


@asynccontextmanager
async def _counting(service: Service) -> AsyncIterator[None]:
    """Metrics are counted meanwhile."""
    import trio

    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.meter.run, service.events, service.socket)
        yield
        nursery.cancel_scope.cancel()
