"""Where the API listens, under which names it answers, and when it refuses to.

``parse_address`` and ``read_place`` decide over texts; ``open_socket`` asks the kernel.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from urllib.parse import urlsplit

import msgspec

from akiosd.errors import AkiosError

DEFAULT = "127.0.0.1:8470"
_BACKLOG = 128
_FORM = "write ADDRESS:PORT, as in 127.0.0.1:8470 or [::1]:8470, or unix:PATH"


class Address(msgspec.Struct, frozen=True):
    """``path`` for a unix socket, else ``host``, an IP address, and ``port`` (0: any free one)."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Names(msgspec.Struct, frozen=True):
    """``hosts`` that a request may name in Host, and ``origins`` that a page may come from."""

    hosts: frozenset[str]
    origins: frozenset[str]


def parse_address(text: str) -> Address:
    """``--listen``.  Names are not taken: what a name means may change under the server."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path:
            raise AkiosError(f"{text!r} is not an address to listen on", "--listen", _FORM)
        return Address(path=os.path.abspath(path))
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise AkiosError(f"{text!r} is not an address to listen on", "--listen", _FORM) from None
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AkiosError(f"{text!r} has no port from 0 to 65535", "--listen", _FORM)
    return Address(str(address), int(port))


def check_exposure(address: Address, tls: bool, plain_http: bool, origins: tuple[str, ...]) -> None:
    """Raises where tokens would pass a network in the clear, or where no name could be checked."""
    if address.path:
        return
    ip = ipaddress.ip_address(address.host)
    if not ip.is_loopback and not tls and not plain_http:
        raise AkiosError(
            "without TLS, tokens and records would pass the network in the clear",
            str(address),
            "give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy or ssh -L;"
            " to do it all the same: --plain-http",
        )
    if ip.is_unspecified and not origins:
        raise AkiosError(
            "AKIOS does not know by which names clients reach this server, so it cannot check the"
            " Host header of their requests",
            str(address),
            "name them: --origin https://NAME:PORT",
        )


def find_names(address: Address, tls: bool, origins: tuple[str, ...]) -> Names:
    """What Host and Origin may say.  ``address`` has its port."""
    scheme, default = ("https", 443) if tls else ("http", 80)
    hosts = {"localhost"} if address.path else {str(address)}
    if not address.path and ipaddress.ip_address(address.host).is_loopback:
        hosts.add(f"localhost:{address.port}")
    if address.port == default:
        hosts |= {host.rpartition(":")[0] for host in hosts}
    found = {f"{scheme}://{host}" for host in hosts}
    for text in origins:
        origin = _parse_origin(text)
        found.add(origin)
        hosts.add(origin.partition("://")[2])
    return Names(frozenset(hosts), frozenset(found))


def _parse_origin(text: str) -> str:
    """``https://NAME[:PORT]`` as browsers write it."""
    parts = urlsplit(text)
    plain = parts.scheme in ("http", "https") and parts.netloc and "@" not in parts.netloc
    if not plain or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise AkiosError(f"{text!r} is not an origin", "--origin", "write https://NAME:PORT")
    host = parts.netloc.lower()
    default = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{host.removesuffix(default)}"


def open_socket(address: Address) -> socket.socket:
    """A socket that listens there; the caller's.  Raises :class:`AkiosError`.

    A unix socket gets mode 0600 before anybody can connect; one that a dead server left behind is
    replaced.
    """
    family = socket.AF_UNIX if address.path else _family(address.host)
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if address.path:
            _remove_stale(address.path)
            made.bind(address.path)
            os.chmod(address.path, 0o600)  # nobody can connect before listen(2)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address.host, address.port))
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise _explain(address, error) from None
    except BaseException:
        made.close()
        raise
    return made


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bound_address(address: Address, made: socket.socket) -> Address:
    """With the port that the kernel chose for port 0."""
    return address if address.path else msgspec.structs.replace(address, port=made.getsockname()[1])


def _remove_stale(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise AkiosError(
            "another file, which is not a socket, has this name", path, "name another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as other:
        try:
            other.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass
    raise AkiosError("something listens there already", path, "stop it, or name another path")


def _explain(address: Address, error: OSError) -> AkiosError:
    if error.errno == errno.EADDRINUSE:
        next = f"see what: ss -ltnp 'sport = {address.port}'; or choose another port with --listen"
        return AkiosError("something listens on this port already", str(address), next)
    if error.errno == errno.EACCES and address.port and address.port < 1024:
        next = "choose one from 1024 on"
        return AkiosError(
            "a port below 1024 needs root, and serve does not run as root", str(address), next
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return AkiosError("this host has no such address", str(address), "see: ip address")
    what = f"cannot listen there: {error.strerror}"
    return AkiosError(what, str(address), "choose another address with --listen")
