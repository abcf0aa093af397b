"""The sessions of both sides: hello, ids, descriptors, and bytes nobody should have sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from akiosd.errors import ProtocolError
from akiosd.wire.frame import encode_frame
from akiosd.wire.messages import (
    Bind,
    Doctor,
    Ended,
    Error,
    Gap,
    Hello,
    List,
    Ok,
    Run,
    Started,
    Subscribe,
)
from akiosd.wire.session import MAX_OPEN_REQUESTS, ClientSession, EventsRequest, ServerSession
from hypothesis import given
from hypothesis import strategies as st


def greeted() -> tuple[ClientSession, ServerSession]:
    client, server = ClientSession(), ServerSession()
    assert isinstance(server.receive(client.send(Hello(software="test")))[0].message, Hello)
    client.receive(server.send(Hello(software="daemon")))
    return client, server


def test_a_run_from_hello_to_end() -> None:
    client, server = greeted()
    assert (client.peer_software, server.peer_software) == ("daemon", "test")
    run = Run(
        id=client.next_id(),
        argv=(b"ls", b"\xff\n"),
        env={b"A": b"\xfe"},
        binds=(Bind(b"/venv", 1),),
    )
    received = server.receive(client.send(run, [5, 6]), [15, 16])
    assert received[0].message == run
    assert received[0].fds == [15, 16]
    assert server.open_requests == {1}
    started = client.receive(server.send(Started(id=1, cage="c-1"), [7, 8, 9]), [17, 18, 19])
    assert started[0].fds == [17, 18, 19]
    assert server.open_requests == client.open_requests == {1}
    assert client.receive(server.send(Ended(id=1, exit_code=3)))[0].message == Ended(
        id=1, exit_code=3
    )
    assert server.open_requests == client.open_requests == set()


def test_requests_may_follow_the_hello_in_one_read() -> None:
    client, server = ClientSession(), ServerSession()
    received = server.receive(client.send(Hello()) + client.send(List(id=1)))
    assert [type(item.message) for item in received] == [Hello, List]


def test_the_first_message_is_a_hello() -> None:
    with pytest.raises(ProtocolError, match="not a hello"):
        ServerSession().receive(ClientSession().send(List(id=1)))


def test_versions_are_both_named() -> None:
    with pytest.raises(ProtocolError, match=r"speaks protocol 99, this side speaks 1"):
        ServerSession().receive(ClientSession().send(Hello(protocol=99)))


def test_a_daemon_may_refuse_before_its_hello() -> None:
    message = Error(what="too many connections")
    assert ClientSession().receive(ServerSession().send(message))[0].message == message


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([Hello()], "second hello"),
        ([List(id=4), List(id=4)], "already open"),
        ([List(id=n) for n in range(MAX_OPEN_REQUESTS + 1)], "open requests"),
    ],
)
def test_what_ends_an_open_connection(messages: list[Any], text: str) -> None:
    client, server = greeted()
    with pytest.raises(ProtocolError, match=text):
        server.receive(b"".join(client.send(message) for message in messages))


def test_descriptors_only_where_the_table_says_so() -> None:
    client, server = greeted()
    with pytest.raises(ProtocolError, match="carries at most 0"):
        server.receive(client.send(Doctor(id=1)), [30])
    assert server.close() == [30]
    with pytest.raises(ValueError, match="does not carry"):
        server.send(Ok(id=1), [3])


def test_replies_nobody_asked_for_are_refused() -> None:
    client, server = greeted()
    with pytest.raises(ProtocolError, match="not open"):
        client.receive(server.send(Ok(id=9)))


def test_the_events_socket_takes_only_subscribe() -> None:
    client, server = ClientSession(), ServerSession(EventsRequest)
    server.receive(client.send(Hello()) + client.send(Subscribe(id=1)))
    with pytest.raises(ProtocolError, match="not a message"):
        server.receive(client.send(List(id=2)))
    client.receive(server.send(Hello()) + server.send(Gap(id=1, log="host", start=1, stop=2)))
    assert client.open_requests == {1, 2}


few = st.text("am\0é\n", max_size=4)
nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=5) | few,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(few, inner, max_size=3),
)
names = st.sampled_from(
    ["m", "id", "argv", "env", "policy", "binds", "cage", "cursors", "protocol"]
)
tags = st.sampled_from(
    ["hello", "run", "signal", "list", "subscribe", "started", "error", "records"]
)
near_messages = st.dictionaries(names, tags | nested, max_size=5).map(msgspec.msgpack.encode)
frames = st.one_of(
    st.binary(max_size=60),
    st.binary(min_size=1, max_size=60).map(encode_frame),
    near_messages.map(encode_frame),
)
joined = st.lists(frames, min_size=1, max_size=3).map(b"".join)
reads = st.lists(st.tuples(joined, st.integers(0, 3)), max_size=6)


@given(st.sampled_from(["server", "events", "client"]), st.booleans(), reads)
def test_hostile_bytes_raise_only_protocol_errors_and_leak_nothing(
    side: str, hello: bool, hostile: list[tuple[bytes, int]]
) -> None:
    session = {
        "server": ServerSession(),
        "events": ServerSession(EventsRequest),
        "client": ClientSession(),
    }[side]
    if hello:
        session.receive(encode_frame(msgspec.msgpack.encode(Hello())))
    given_fds: list[int] = []
    got: list[int] = []
    try:
        for data, count in hostile:
            fds = list(range(1000 + len(given_fds), 1000 + len(given_fds) + count))
            given_fds += fds
            for item in session.receive(data, fds):
                got += item.fds
        session.receive_eof()
    except ProtocolError:
        pass
    assert sorted(got + session.close()) == given_fds


@pytest.mark.parametrize(
    "opening", [b"\x91", b"\x81\xa1x", b"\x81\xa6policy", b"\x82\xa1m\xa3run\xa3env\x81"]
)
def test_deep_nesting_is_a_protocol_error(opening: bytes) -> None:
    _client, server = greeted()
    with pytest.raises(ProtocolError):
        server.receive(encode_frame(opening + b"\x91" * 500_000 + b"\x90"))
