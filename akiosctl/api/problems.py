"""What went wrong, as RFC 9457 says it: ``application/problem+json`` with what, where and next.

``title`` and ``status`` are those of the HTTP status; ``detail`` is *what* happened, beside it
stand ``where`` and ``next`` of the error of the house, and for a denial its ``rule`` and ``hint``.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.responses import Response

from akiosctl.client import DaemonError, GoneError
from akiosctl.help.schemas import Form
from akiosctl.render import escape
from akiosd.errors import AkiosError, PolicyError, ProtocolError

MEDIA_TYPE = "application/problem+json"


class Problem(Form):
    """RFC 9457.  ``where`` and ``next`` say where it happened and what helps; ``rule`` and ``hint``
    are there for denials.
    """

    type: str
    title: str
    status: int
    detail: str
    where: str
    next: str
    rule: str = ""
    hint: str = ""


class Refusal(AkiosError):
    """A request that is not carried out.  ``rule`` names the rule of a denial."""

    def __init__(
        self,
        status: HTTPStatus,
        what: str,
        where: str = "",
        next: str = "",
        *,
        rule: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(what, where, next)
        self.status, self.rule, self.headers = status, rule, headers or {}


def server_ends(where: str) -> Refusal:
    """The words for what would begin while the server ends."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "this server ends, and begins nothing any more",
        where,
        "ask again when it has been started again",
    )


def status_of(error: AkiosError) -> HTTPStatus:
    """The status that says of which kind an error is."""
    if isinstance(error, Refusal):
        return error.status
    if isinstance(error, GoneError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, PolicyError):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(error, ProtocolError):
        return HTTPStatus.BAD_GATEWAY
    if isinstance(error, DaemonError):
        return HTTPStatus.FORBIDDEN
    return HTTPStatus.CONFLICT


def describe_problem(error: AkiosError) -> Problem:
    """The error as the document that is sent; text of unknown origin is escaped."""
    status = status_of(error)
    rule, next = getattr(error, "rule", ""), error.next
    return Problem(
        type="about:blank",
        title=status.phrase,
        status=int(status),
        detail=escape(error.what),
        where=escape(error.where),
        next=escape(next),
        rule=rule,
        hint=escape(next) if rule else "",
    )


def problem_response(error: AkiosError) -> Response:
    """The answer to a request that failed so."""
    headers = dict(getattr(error, "headers", {}))
    if status_of(error) is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", "2")
    return Response(
        msgspec.json.encode(describe_problem(error)),
        status_code=int(status_of(error)),
        media_type=MEDIA_TYPE,
        headers=headers,
    )
