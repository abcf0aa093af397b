"""akios-events(5): its kinds are those there are, and the socket speaks what it says."""

from __future__ import annotations

import re

import msgspec
import pytest

from akiosd.daemon.sockets.serve_clients import DEFAULT_LIMITS
from akiosd.daemon.sockets.serve_events import QUEUE_BYTES
from akiosd.wire.frame import MAX_FRAME, encode_frame
from akiosd.wire.messages import Error, Gap, Hello, Message, Records, Subscribe
from akiosd.wire.session import EventsRequest, ServerSession
from tests.unit.describe_records import EVENTS, renewed_events
from tests.unit.test_man import sections

PAGE = EVENTS.read_text()
SECTIONS = sections("akios-events.5")


def test_the_kinds_are_those_there_are() -> None:
    assert renewed_events(PAGE) == PAGE, "write it again: python -m tests.unit.describe_records"


@pytest.mark.parametrize("message", [Hello, Subscribe, Records, Gap, Error])
def test_a_message_has_the_fields_that_the_page_says(message: type[Message]) -> None:
    tag = message.__struct_config__.tag
    [said] = re.findall(rf"^\.TP\n\\fB{tag}\\fR\n(.+)", SECTIONS["SOCKET"], re.MULTILINE)
    fields = {field.name for field in msgspec.structs.fields(message)}
    assert set(re.findall(r"\\fI(\w+)\\fR (?:int|str|bool|bin|array|map)", said)) == fields - (
        {"id"} if message is Hello else set()
    )


def test_the_bytes_of_the_page_are_a_hello_and_a_subscription() -> None:
    [shown] = re.findall(r"\.EX\n(00 [0-9a-f \n]+)\.EE", PAGE)
    session = ServerSession(EventsRequest)
    hello, subscribe = [one.message for one in session.receive(bytes.fromhex(shown))]
    assert isinstance(hello, Hello) and hello.software == "mine 1"
    assert subscribe == Subscribe(id=1, kinds=("end",))
    # The control: a key that is not in the page ends the connection.
    with pytest.raises(Exception, match="not a message"):
        session.receive(encode_frame(msgspec.msgpack.encode({"m": "subscribe", "all": True})))


def test_the_bounds_are_those_of_the_page() -> None:
    said = SECTIONS["BOUNDS"]
    assert f"{QUEUE_BYTES >> 20} MiB" in said and f"{MAX_FRAME >> 20} MiB" in SECTIONS["SOCKET"]
    for bound in (DEFAULT_LIMITS.send_timeout, DEFAULT_LIMITS.hello_timeout):
        assert f"{bound:.0f} s" in said
    assert str(DEFAULT_LIMITS.connections) in said
