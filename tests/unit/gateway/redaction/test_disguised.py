"""Personal data in places that look like something that need not be read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from akiosd.gateway.llm.redact_request import Outward
from akiosd.gateway.llm.signed_texts import Memory
from akiosd.gateway.redaction.bodies import Found, channel_for
from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor

ENGINE = Engine()
MAIL = "ada@example.org"
PICTURE = base64.b64encode(b"\x89PNG" + bytes(range(256)) * 16).decode()


def sent(body: Any) -> tuple[str, Outward]:
    out = Outward(
        Memory(Redactor(ENGINE, "pseudonym", Pseudonyms(bytes(range(32))), Known())), "pass"
    )
    return json.dumps(out.body(body)), out


@pytest.mark.parametrize(
    "disguised",
    [f"{PICTURE}\n{MAIL}", f"data:image/png;base64,{PICTURE} {MAIL}", f"data:image/png;to={MAIL};base64,{PICTURE}",
     f"data:{MAIL};base64,{PICTURE}"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["data", "url", "images"])
def test_what_begins_like_a_picture_is_read_when_it_is_none(disguised: str, name: str) -> None:
    safe, out = sent({"messages": [{"content": [{name: disguised}]}]})
    assert MAIL not in safe and out.binaries == []
    for plain in (
        PICTURE,
        f"data:image/png;base64,{PICTURE}",
        f"data:text/x;charset=utf-8;base64,{PICTURE}",
    ):
        safe, out = sent({"messages": [{"content": [{name: plain}]}]})
        assert plain in safe and len(out.binaries) == 1, "the control: a picture passes as it is"


def test_a_name_that_was_found_before_is_no_word() -> None:
    secret = "correct-horse-battery-staple"
    safe, _ = sent([{"content": f'password = "{secret}"'}, {"role": "user", "name": secret}])
    assert secret not in safe
    assert secret in sent([{"role": "user", "name": secret}])[0], (
        "the control: nobody said that it is one"
    )


@pytest.mark.parametrize(
    "head", ['name="password"', "name=password", "name*=utf-8''password", 'NAME = "password"']
)
@pytest.mark.parametrize(
    "line", ["Content-Disposition: form-data; {}", "content-disposition:form-data; x=y; {}"]
)
def test_the_name_of_a_part_however_it_is_written(head: str, line: str) -> None:
    def passed(line: str) -> bytes:
        found = Found(Redactor(ENGINE, "mask", known=Known()), "pass")
        channel = channel_for("multipart/form-data; boundary=b", found)
        return (
            channel.push(f"--b\r\n{line}\r\n\r\nhunter22Xq!z\r\n--b--\r\n".encode())
            + channel.finish()
        )

    assert b"hunter22" not in passed(line.format(head))
    assert b"hunter22" in passed(line.format(head.replace("password", "picture"))), (
        "the control: another name"
    )
