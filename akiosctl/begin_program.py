"""Begins a program in a standing cage, also while akiosd is restarted: asked for again once it is
back, and never begun twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from akiosctl.client import PATIENCE_S, BegunError, GoneError, PlainClient
from akiosctl.come_back import Absence
from akiosctl.started import take_started
from akiosd.values.program_token import token_of

_Answer = TypeVar("_Answer")
Request = Callable[[PlainClient], dict[str, object]]
_MOST_TRIES = 5
"""Of what may be done twice; an akiosd that is restarted more often in a row is ill."""


class Begun(NamedTuple):
    """A program that runs: its connection and its descriptors are the caller's.  ``number`` is of
    the request, ``started`` its answer.
    """

    client: PlainClient
    number: int
    started: dict[str, Any]
    fds: list[int]


def begin_program(path: str, request: Request, *, is_repeatable: bool = False) -> Begun:
    """``request`` makes the fields of ``Program``, by questions to akiosd where it has some.

    Raises AkiosError: ``BegunError`` where akiosd was restarted between the beginning of the
    program and its answer.  One that ``is_repeatable`` is begun anew then, as a new program.
    """
    for _ in range(_MOST_TRIES if is_repeatable else 1):
        try:
            return _begin(path, request, make_token())
        except BegunError as error:
            begun = error
    raise begun


def make_token() -> bytes:
    """A new word for a request, which says when it was made."""
    return token_of(time.monotonic_ns(), secrets.token_bytes(16))


def ask(path: str, question: Callable[[PlainClient], _Answer]) -> _Answer:
    """What akiosd answers to a ``question`` that changes nothing, also while it is restarted."""
    return _until_answered(path, {}, question)[1]


def _begin(path: str, request: Request, token: bytes) -> Begun:
    fields: dict[str, object] = {}

    def begin(client: PlainClient) -> tuple[int, dict[str, Any], list[int]]:
        if not fields:
            fields.update(request(client), token=token)
        number = client.request("program", fields)
        return number, *take_started(client, number)

    client, (number, started, fds) = _until_answered(path, fields, begin, keeps=True)
    return Begun(client, number, started, fds)


def _until_answered(
    path: str,
    whom: dict[str, object],
    question: Callable[[PlainClient], _Answer],
    *,
    keeps: bool = False,
) -> tuple[PlainClient, _Answer]:
    """A connection and its answer; the connection is the caller's where it ``keeps`` it, and else
    closed.  ``whom`` may name the cage.
    """
    client, absence = PlainClient(path), None
    while True:
        come_back_s: int | None = None
        is_open = False
        try:
            come_back_s = client.come_back_s()
            answer = question(client)
            is_open = keeps
            return client, answer
        except GoneError as gone:
            if come_back_s == 0:
                raise  # every cage has ended with it
            if absence is None:
                cage = whom.get("cage", "the cage")
                patience_s = int(PATIENCE_S) if come_back_s is None else come_back_s
                absence = Absence(path, {"cage": cage}, gone, patience_s)
        finally:
            if not is_open:
                client.close()
        client = absence.wait_connected()
