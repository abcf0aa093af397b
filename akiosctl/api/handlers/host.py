"""The server and its host: health, version, doctor, and the page's session."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import trio
from fastapi import Request, Response

from akiosctl.api.daemon_stream import greet
from akiosctl.api.forms import Gone, Health, SessionMade, Version
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service
from akiosctl.api.sessions import LASTS_S, cookie_header
from akiosctl.api.tokens import Token
from akiosctl.client import GoneError
from akiosctl.verbs import doctor
from akiosd import __version__
from akiosd.errors import AkiosError
from akiosd.wire.messages import Doctor, DoctorReply

_PATIENCE_SECONDS = 2.0
_ASK_KNOWN = "ask with a token, which is told what helps"


async def health(service: Service, request: Request) -> Health:
    """Whether this server and akiosd answer.  Needs no token; who sends one is told what helps,
    which names paths and commands of this host.
    """
    try:
        with trio.fail_after(_PATIENCE_SECONDS):
            await greet(service.socket)
    except trio.TooSlowError:
        return Health("degraded", "away", f"akiosd says nothing for {_PATIENCE_SECONDS:.0f} s")
    except AkiosError as error:
        is_known = request.state.token is not None
        return Health("degraded", "away", error.next if is_known else _ASK_KNOWN)
    return Health("ok", "running", "")


def version(service: Service) -> Version:
    """Of this server."""
    return Version(f"akios {__version__}", "v1")


def get_doctor(service: Service) -> dict[str, Any]:
    """What this host enforces, and what takes room on its disk."""
    try:
        with service.connect() as client:
            reply, _ = client.call(Doctor(), DoctorReply)
    except GoneError as error:
        return doctor.outside_json(service.socket, error)
    return doctor.to_json(reply, [], service.socket)


def begin_session(service: Service, request: Request, response: Response) -> SessionMade:
    """A cookie for the page, which holds for hours and opens what the token opens."""
    if "authorization" not in request.headers:
        # Else a session would go on for ever by itself, and whoever found a cookie with it.
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "a session cannot be used to begin another session",
            "Authorization",
            "send the token: Authorization: Bearer akt_…",
            rule="token",
        )
    token: Token = request.state.token
    now_ns = time.time_ns()
    value = service.sessions.make(token, now_ns)
    response.headers["Set-Cookie"] = cookie_header(value, service.tls)
    return SessionMade(list(token.scopes), now_ns + LASTS_S * 10**9)


def end_session(service: Service, request: Request, response: Response) -> Gone:
    """End the session of the page's cookie, which opens nothing any more, and remove it."""
    cookie = request.headers.get("cookie", "")
    token: Token = request.state.token
    service.sessions.end(cookie, token, time.time_ns())
    response.headers["Set-Cookie"] = cookie_header("", service.tls, 0)
    return Gone(True)
