"""What the servers of the client have in common: where they listen, and their life until a signal.

``akiosctl serve`` and ``akiosctl mcp --listen`` are such.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from akiosctl.api.address import (
    Address,
    Names,
    bound_address,
    check_exposure,
    find_names,
    open_socket,
    parse_address,
)
from akiosctl.api.tokens import TokenFile, tokens_path
from akiosctl.commands import print_line
from akiosctl.render import note
from akiosctl.writings import WRITINGS
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosctl.api.connections import Connections

_MOST_PEM = 1 << 20
_TOGETHER_S = 0.1
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a server."""
Opened = tuple[Address, socket.socket, ssl.SSLContext | None]
"""Where it listens, with its port; the socket; what it needs for HTTPS, None without."""


def listen_options(default: str | None) -> Callable[[Any], Any]:
    """The options of :func:`find_place`, for a verb."""
    options = (
        click.option(
            "--listen",
            default=default,
            show_default=default is not None,
            metavar="ADDRESS:PORT",
            help="Where to listen, or unix:PATH; port 0 takes any that is free.",
        ),
        click.option("--tls-cert", metavar="FILE", help="A certificate chain in PEM, for HTTPS."),
        click.option("--tls-key", metavar="FILE", help="Its private key in PEM."),
        click.option(
            "--origin",
            "origins",
            multiple=True,
            metavar="URL",
            help="Another name of this server, as in https://akios.example; may be repeated.",
        ),
        click.option(
            "--plain-http",
            is_flag=True,
            help="Allow an address that others can reach without TLS: who listens there reads"
            " tokens.",
        ),
        click.option(
            "--tokens",
            "file",
            type=click.Path(path_type=Path),
            help="The file with the tokens, instead of the user's.",
        ),
    )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class Place(NamedTuple):
    """Where a server is to listen; nothing is open yet."""

    address: Address
    tls_cert: str | None
    tls_key: str | None
    origins: tuple[str, ...]
    tokens: TokenFile

    def names(self, address: Address) -> Names:
        """What Host and Origin may say of a server that listens at ``address``."""
        return find_names(address, self.tls_cert is not None, self.origins)

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """Listen, until the end of the block.  Raises :class:`AkiosError`."""
        context = _load_tls(self.tls_cert, self.tls_key)
        made = open_socket(self.address)
        try:
            yield bound_address(self.address, made), made, context
        finally:
            made.close()
            if self.address.path:
                _remove(self.address.path)


def find_place(
    verb: str,
    listen: str,
    tls_cert: str | None,
    tls_key: str | None,
    origins: tuple[str, ...],
    plain_http: bool,
    file: Path | None,
) -> Place:
    """What the options of a verb say.  Raises :class:`AkiosError` for what must not be served."""
    if os.geteuid() == 0:
        raise AkiosError(
            "as root it would give root's rights to whoever holds a token",
            verb,
            "run it as an ordinary user in the group akios, and make the tokens as the same user",
        )
    address = parse_address(listen)
    if (tls_cert is None) != (tls_key is None):
        lacking = "--tls-key" if tls_key is None else "--tls-cert"
        raise AkiosError("TLS needs a certificate and its key", lacking, "give both")
    check_exposure(address, tls_cert is not None, plain_http, origins)
    tokens = TokenFile(file if file is not None else tokens_path())
    tokens.read()
    return Place(address, tls_cert, tls_key, origins, tokens)


def tell_place(
    place: Place, address: Address, path: str, more: str, scope: str, as_json: bool
) -> None:
    """Say that it serves there; ``scope`` is that of a first token, where there is none yet."""
    scheme = "https" if place.tls_cert is not None else "http"
    url = str(address) if address.path else f"{scheme}://{address}{path}"
    if as_json:
        click.echo(json.dumps({"url": url}))
    else:
        print_line(f"serving {url}{more}; Ctrl-C ends it")
    if not place.tokens.read():
        note(f"there are no tokens yet: akiosctl token create --scope {scope}")
    sys.stdout.flush()


def serve_until_signal(
    connections: Connections,
    made: socket.socket,
    say: Callable[[], None],
    beside: AbstractAsyncContextManager[None],
    leave: Callable[[], object] = lambda: None,
) -> None:
    """Until SIGINT, SIGTERM or SIGHUP, which count once ``say`` was called; ``beside`` is entered
    before and left behind everything else.  Then the process is to end: ``leave`` is called, and
    has nothing begin any more.

    Threads that write to a directory of the user's come to their end before; another signal cuts
    nothing short.
    """
    import trio

    # As nohup has it, one that is ignored stays so.
    ends = [one for one in ENDS if signal.getsignal(one) is not signal.SIG_IGN]

    async def serve() -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(made))
        stop = trio.Event()
        with trio.open_signal_receiver(*ends) as signals:
            async with beside, trio.open_nursery() as nursery:
                nursery.start_soon(connections.serve, listener, stop)
                say()
                async for _ in signals:
                    break
                _ignore(ends)
                WRITINGS.close()
                leave()
                with trio.move_on_after(_TOGETHER_S):
                    async for _ in signals:
                        pass  # trio would raise those that came with the first
                stop.set()

    try:
        trio.run(serve)
    finally:
        end_writings(ends)  # trio gave back the handlers that it had found


def end_writings(numbers: Sequence[signal.Signals]) -> None:
    """Before the process ends: what is written to the user's directories is whole, and nothing
    begins any more; these signals change nothing of it, nor of what comes after.
    """
    _ignore(numbers)
    WRITINGS.close()
    WRITINGS.wait(_say_waiting)


def _ignore(numbers: Sequence[signal.Signals]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _say_waiting(count: int) -> None:
    what = "a commit that has" if count == 1 else f"{count} commits that have"
    note(f"ending; waiting for {what} begun, so that all of it is written")


def _load_tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    from akiosctl.api.connections import tls_context

    if certificate is None or key is None:
        return None
    _check_pem("--tls-cert", certificate, b"CERTIFICATE-----")
    _check_pem("--tls-key", key, b"PRIVATE KEY-----")
    try:
        return tls_context(certificate, key)
    except (OSError, ssl.SSLError) as error:
        what = "the certificate or its key is damaged"
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            what = "the key is that of another certificate"
        next = "give a certificate chain and the private key that belongs to it, both in PEM"
        raise AkiosError(what, f"--tls-cert {certificate}, --tls-key {key}", next) from None


def _check_pem(option: str, path: str, mark: bytes) -> None:
    """OpenSSL does not say which file it means."""
    try:
        with open(path, "rb") as file:
            found = mark in file.read(_MOST_PEM)
    except OSError as error:
        next = "name a file in PEM that this user can read"
        raise AkiosError(f"it cannot be read: {error.strerror}", f"{option} {path}", next) from None
    if not found:
        kind = "a certificate" if option == "--tls-cert" else "a private key"
        raise AkiosError(f"this is not {kind} in PEM", f"{option} {path}", "name another file")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
