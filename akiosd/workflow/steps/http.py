"""Steps that send an HTTP request: get, post, put, patch, delete, head.

Redirects are followed one by one, each through the gateway, which answers allowed names only: a
redirect to an address of metadata or to another name ends there, and the error says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin

import msgspec

from akiosd.errors import AkiosError
from akiosd.workflow.steps import http_client
from akiosd.workflow.steps.http_client import Reply, Url, read_url
from akiosd.workflow.steps.kind import Action, Actions, Form, Time, Work, seconds

_METHODS = ("get", "post", "put", "patch", "delete", "head")
_MOVED = (301, 302, 303, 307, 308)
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "x-api-key")
_MOST_SHOWN = 500


class Config(Form):
    """``timeout`` in seconds, or as in ``5m``.  ``any_status``: answers from 400 on are no failure
    of the step.

    ``truncate``: an answer over ``max_bytes`` is cut, and the step says so; else it fails.
    """

    timeout: Time = 60
    max_bytes: int = 10 << 20
    max_redirects: int = 5
    any_status: bool = False
    truncate: bool = False


class Request(Form):
    """At most one of ``json``, ``form``, ``body`` and ``data`` (which is what it is: keys are a
    form, text is a body).

    ``params`` and ``query`` are both added to the URL's own query.
    """

    url: str
    headers: dict[str, str] = {}
    query: dict[str, Any] = {}
    params: dict[str, Any] = {}
    json: Any = msgspec.UNSET
    form: dict[str, Any] | None = None
    body: str | None = None
    data: Any = None


def _perform(method: str, work: Work, config: Config, wanted: Request) -> None:
    url = _with_query(read_url(wanted.url), {**wanted.params, **wanted.query})
    headers = dict(wanted.headers)
    body = _make_body(wanted, headers)
    passed: list[str] = []
    while True:
        work.sent += len(body or b"")
        work.may_be_done = True
        reply = _ask(method, url, headers, body, seconds(config.timeout), passed)
        try:
            target = reply.headers.get("location")
            if reply.status not in _MOVED or not target or config.max_redirects == 0:
                _keep(work, config, reply, url, passed)
                return
        finally:
            reply.close()
            work.received += reply.received
        passed.append(str(url))
        if len(passed) > config.max_redirects:
            raise AkiosError(
                f"the answers redirect more than {config.max_redirects} times",
                str(url),
                "set max_redirects in the step's config, or 0 to see the first one",
            )
        url, method, body = _follow(url, target, method, reply.status, headers, body)


def _ask(
    method: str,
    url: Url,
    headers: Mapping[str, str],
    body: bytes | None,
    seconds: float,
    passed: list[str],
) -> Reply:
    try:
        return http_client.ask(method.upper(), url, headers, body, seconds)
    except AkiosError as error:
        if not passed:
            raise
        asked_url = passed[-1]
        what = f"{asked_url} redirects to {url}, and that failed: {error.what}"
        raise AkiosError(what, error.where, error.next) from None


def _follow(
    url: Url, target: str, method: str, status: int, headers: dict[str, str], body: bytes | None
) -> tuple[Url, str, bytes | None]:
    """The next request, as browsers make it (Fetch standard, HTTP-redirect fetch)."""
    found = read_url(urljoin(str(url), target))
    if url.scheme == "https" and found.scheme == "http":
        raise AkiosError(
            f"{url} redirects to {found}, without encryption", str(url), "ask that URL itself"
        )
    if found.origin != url.origin:
        for name in [name for name in headers if name.lower() in _SECRET_HEADERS]:
            del headers[name]
    if (status == 303 and method != "head") or (status in (301, 302) and method == "post"):
        for name in [name for name in headers if name.lower().startswith("content-")]:
            del headers[name]
        return found, "get", None
    return found, method, body


def _keep(work: Work, config: Config, reply: Reply, url: Url, passed: list[str]) -> None:
    data, is_cut = reply.read(config.max_bytes)
    work.outputs |= {"status": reply.status, "headers": reply.headers, "url": str(url)}
    if passed:
        work.outputs["redirects"] = passed
    if is_cut and not config.truncate:
        raise AkiosError(
            f"the answer has more than {config.max_bytes} bytes",
            str(url),
            "set max_bytes in the step's config, or truncate: true",
        )
    if is_cut:
        work.notes.append(f"the answer of {url} was cut after {config.max_bytes} bytes")
        work.outputs["truncated"] = True
    work.outputs |= _body(data, reply.headers.get("content-type", ""), is_cut)
    if reply.status >= 400 and not config.any_status:
        work.may_be_done = bool(passed) or not http_client.is_undone(reply.status)
        raise AkiosError(
            f"the answer is {reply.status} {reply.reason}: {_shown(data)}".rstrip(": "),
            str(url),
            "see outputs.body; any_status: true in the step's config lets it pass",
        )


def _shown(data: bytes) -> str:
    return data[:_MOST_SHOWN].decode("utf-8", "replace").strip()


def _body(data: bytes, content_type: str, is_cut: bool) -> dict[str, Any]:
    """``body`` as text, or ``body_base64``; with ``json`` where that is its type."""
    kind, _, rest = content_type.partition(";")
    charset = rest.partition("charset=")[2].strip(' "') or "utf-8"
    try:
        found: dict[str, Any] = {"body": data.decode(charset, "replace" if is_cut else "strict")}
    except (LookupError, UnicodeDecodeError):
        return {"body_base64": base64.b64encode(data).decode()}
    kind = kind.strip().lower()
    if (kind == "application/json" or kind.endswith("+json")) and not is_cut:
        try:
            found["json"] = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            pass  # it says so of itself; the text is there
    return found


def _with_query(url: Url, query: Mapping[str, Any]) -> Url:
    """Keys added to a URL's query, encoded; a list stands for several of one name."""
    if not query:
        return url
    between = "&" if "?" in url.target else "?"
    pairs = {name: _texts(value) for name, value in query.items()}
    return url._replace(target=f"{url.target}{between}{urlencode(pairs, doseq=True)}")


def _texts(value: Any) -> list[str]:
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _make_body(wanted: Request, headers: dict[str, str]) -> bytes | None:
    """The bytes to send; Content-Type is set where the step has not set it."""
    given = {
        "json": wanted.json is not msgspec.UNSET,
        "form": wanted.form is not None,
        "body": wanted.body is not None,
        "data": wanted.data is not None,
    }
    if sum(given.values()) > 1:
        names = " and ".join(name for name, there in given.items() if there)
        raise AkiosError(f"{names} contradict each other", "http: parameters", "give one of them")
    form = wanted.form if wanted.form is not None else wanted.data
    if given["json"]:
        data, kind = msgspec.json.encode(wanted.json), "application/json"
    elif isinstance(form, dict):
        pairs = {name: _texts(value) for name, value in form.items()}
        data, kind = urlencode(pairs, doseq=True).encode(), "application/x-www-form-urlencoded"
    elif given["body"] or given["data"]:
        text = wanted.body if wanted.body is not None else _text(wanted.data)
        data, kind = text.encode(), "text/plain; charset=utf-8"
    else:
        return None
    if "content-type" not in (name.lower() for name in headers):
        headers["Content-Type"] = kind
    return data


def _action(method: str) -> Action:
    def perform(work: Work, config: Config, wanted: Request) -> None:
        _perform(method, work, config, wanted)

    return Action(Config, Request, perform)


ACTIONS: Actions = {method: _action(method) for method in _METHODS}
