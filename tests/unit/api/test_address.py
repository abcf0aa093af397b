"""Where the API listens and when it refuses to."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from akiosctl.api.address import (
    Address,
    bound_address,
    check_exposure,
    find_names,
    open_socket,
    parse_address,
)
from akiosd.errors import AkiosError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8470", Address("127.0.0.1", 8470)),
        ("localhost:1", Address("127.0.0.1", 1)),
        ("[::1]:0", Address("::1", 0)),
        ("unix:/run/x.sock", Address(path="/run/x.sock")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "8470", "host.example:1", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "unix:"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AkiosError) as found:
        parse_address(text)
    assert found.value.where == "--listen" and found.value.what


ELSEWHERE = [Address("192.0.2.1", 1), Address("::", 1), Address("0.0.0.0", 1)]


@pytest.mark.parametrize("address", ELSEWHERE, ids=str)
def test_elsewhere_it_needs_tls_or_the_word_for_it(address: Address) -> None:
    names = ("https://akios.example",)
    with pytest.raises(AkiosError, match="without TLS"):
        check_exposure(address, False, False, names)
    check_exposure(address, True, False, names)
    check_exposure(address, False, True, names)


def test_on_every_address_it_needs_names_to_check() -> None:
    with pytest.raises(AkiosError, match="names"):
        check_exposure(Address("0.0.0.0", 1), True, False, ())
    check_exposure(Address("127.0.0.2", 1), False, False, ())


def test_it_answers_to_its_own_names_only() -> None:
    names = find_names(Address("127.0.0.1", 80), False, ("https://Akios.example:443/",))
    assert names.hosts == {
        *("127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost", "akios.example"),
    }
    assert "https://akios.example" in names.origins and "http://localhost" in names.origins
    for text in ("akios.example", "https://a@b", "https://a/b", "ftp://a"):
        with pytest.raises(AkiosError, match="not an origin"):
            find_names(Address("127.0.0.1", 1), False, (text,))


def test_a_port_that_is_taken_is_said() -> None:
    with open_socket(Address("127.0.0.1", 0)) as first:
        address = bound_address(Address("127.0.0.1", 0), first)
        assert address.port
        with pytest.raises(AkiosError, match="already"):
            open_socket(address)


def test_a_unix_socket_is_its_users_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "api.sock"))
    with open_socket(address):
        assert stat.S_IMODE((tmp_path / "api.sock").stat().st_mode) == 0o600
        with pytest.raises(AkiosError, match="already"):
            open_socket(address)
    open_socket(address).close()  # the file of the first is still there, and nobody listens
    (tmp_path / "file").write_text("kept")
    with pytest.raises(AkiosError, match="not a socket"):
        open_socket(Address(path=str(tmp_path / "file")))
    assert (tmp_path / "file").read_text() == "kept"


def test_a_socket_that_cannot_be_made_is_said_in_words() -> None:
    with pytest.raises(AkiosError, match="no such address"):
        open_socket(Address("192.0.2.1", 0))
