"""``akiosctl serve``: the REST API, as the user who runs it."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from akiosctl.api.address import (
    DEFAULT,
    Address,
    Names,
    bound_address,
    check_exposure,
    find_names,
    open_socket,
    parse_address,
)
from akiosctl.api.tokens import TokenFile, tokens_path
from akiosctl.commands import print_line, wants_json
from akiosctl.render import note
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.api.connections import Connections
    from akiosctl.api.service import Service

PACKAGE = "akios-api"
_LIBRARIES = ("fastapi", "hypercorn", "starlette", "anyio", "pydantic", "prometheus_client")


@click.command("serve")
@click.option(
    "--listen",
    default=DEFAULT,
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Where to listen, or unix:PATH; port 0 takes any that is free.",
)
@click.option("--tls-cert", metavar="FILE", help="A certificate chain in PEM, for HTTPS.")
@click.option("--tls-key", metavar="FILE", help="Its private key in PEM.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="Another name of this server, as in https://akios.example; may be repeated.",
)
@click.option(
    "--plain-http",
    is_flag=True,
    help="Allow an address that others can reach without TLS: who listens there reads tokens.",
)
@click.option(
    "--system",
    "is_system",
    is_flag=True,
    help="For everybody: cages get files of requests, and no directory of this host's.",
)
@click.option(
    "--tokens",
    "file",
    type=click.Path(path_type=Path),
    help="The file with the tokens, instead of the user's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: where it serves.")
@click.pass_context
def command(
    ctx: click.Context,
    listen: str,
    tls_cert: str | None,
    tls_key: str | None,
    origins: tuple[str, ...],
    plain_http: bool,
    is_system: bool,
    file: Path | None,
    as_json: bool,
) -> int:
    """Serve the REST API until Ctrl-C: pages at /, OpenAPI at /openapi.json, described at /docs.

    It does what its user may do, and no more: akiosd sees that user.  Programs need a token: see
    akiosctl token.  It listens where only this host can reach it, unless --listen says otherwise;
    then it needs a certificate.

    With --system it acts for nobody: whoever has a token shares the cages of its user, which get
    the files that a request brings.  There is no workspace of the host's, no diff and no commit.
    The unit akios-api.service runs it so, as a user that may read what all cages do.
    """
    if os.geteuid() == 0:
        raise AkiosError(
            "as root it would give root's rights to whoever holds a token",
            "akiosctl serve",
            "run it as a user of the group akios",
        )
    address = parse_address(listen)
    tls = _check_tls(tls_cert, tls_key)
    check_exposure(address, tls, plain_http, origins)
    tokens = TokenFile(file if file is not None else tokens_path())
    tokens.read()
    _import_libraries()
    context = _load_tls(tls_cert, tls_key)
    made = open_socket(address)
    address = bound_address(address, made)
    try:
        names = find_names(address, tls, origins)
        service, connections = _prepare(ctx.obj.path, tokens, names, context, is_system)
        say = partial(_say_where, address, tls, tokens, wants_json(ctx, as_json))
        _run(service, connections, made, say)
    finally:
        made.close()
        if address.path:
            _remove(address.path)
    return 0


def _check_tls(certificate: str | None, key: str | None) -> bool:
    if (certificate is None) != (key is None):
        lacking = "--tls-key" if key is None else "--tls-cert"
        raise AkiosError("TLS needs a certificate and its key", lacking, "give both")
    return certificate is not None


def _import_libraries() -> None:
    """Raises :class:`AkiosError` that names the package where a library is missing."""
    try:
        import akiosctl.api.app
        import akiosctl.api.connections  # noqa: F401
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _LIBRARIES:
            raise
        raise AkiosError(
            f"the REST API needs {missing}, which is not installed",
            "akiosctl serve",
            f"install it: sudo apt install {PACKAGE}; or in a venv: pip install 'akios[api]'",
        ) from None


def _load_tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    from akiosctl.api.connections import tls_context

    if certificate is None or key is None:
        return None
    try:
        return tls_context(certificate, key)
    except (OSError, ssl.SSLError) as error:
        what = f"they cannot be used: {error.strerror or error}"
        next = "give a chain and its key, both in PEM, that this user can read"
        raise AkiosError(what, f"{certificate}, {key}", next) from None


def _prepare(
    socket_path: str,
    tokens: TokenFile,
    names: Names,
    context: ssl.SSLContext | None,
    is_system: bool,
) -> tuple[Service, Connections]:
    from akiosctl.api.app import make_app
    from akiosctl.api.connections import Connections
    from akiosctl.api.service import Service

    service = Service(socket_path, tokens, tls=context is not None, is_system=is_system)
    return service, Connections(make_app(service, names), context)


def _say_where(address: Address, tls: bool, tokens: TokenFile, as_json: bool) -> None:
    url = str(address) if address.path else f"http{'s' if tls else ''}://{address}"
    if as_json:
        click.echo(json.dumps({"url": url}))
    else:
        print_line(f"serving {url} (documentation: /docs); Ctrl-C ends it")
    if not tokens.read():
        note("there are no tokens yet: akiosctl token create --scope read")
    sys.stdout.flush()


def _run(
    service: Service, connections: Connections, made: socket.socket, say: Callable[[], None]
) -> None:
    """Until SIGINT or SIGTERM, which count once ``say`` was called."""
    import signal

    import trio

    async def serve() -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(made))
        stop = trio.Event()
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as background:
                    background.start_soon(service.meter.run, service.events, service.socket)
                    nursery.start_soon(connections.serve, listener, stop)
                    say()
                    async for _ in signals:
                        stop.set()
                        background.cancel_scope.cancel()
                        break

    trio.run(serve)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
