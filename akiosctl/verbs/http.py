"""``akiosctl http``: one request under the rules of a policy, or of a running cage, without an
agent.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from akiosctl import http_requests, policy_files
from akiosctl.cages import find_cage
from akiosctl.client import Client
from akiosctl.commands import wants_json
from akiosctl.render import escape, note
from akiosctl.system_policy import ask_system
from akiosd.errors import AkiosError
from akiosd.policy.merge import merge
from akiosd.values.policy import DEFAULT_POLICY, Policy
from akiosd.wire.messages import Http, HttpReply

FAILED = 22
"""The exit status for answers from 400 on, refusals among them; as of ``curl --fail``."""


@click.command("http")
@click.argument("method")
@click.argument("url")
@click.option(
    "-d", "--data", metavar="DATA", help="The body; @FILE: from a file, -: from standard input."
)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header; may be repeated.",
)
@click.option("--cage", default="", help="Ask as this running cage: its rules, budget and log.")
@click.option(
    "--policy", "explicit", metavar="FILE", help="A policy file or profile, in the project's place."
)
@click.option("-o", "--output", metavar="FILE", help="Write the body into FILE.")
@click.option("-i", "--include", is_flag=True, help="Print the answer's head too.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: status, headers, body, what was redacted."
)
@click.pass_context
def command(
    ctx: click.Context,
    method: str,
    url: str,
    data: str | None,
    headers: tuple[str, ...],
    cage: str,
    explicit: str | None,
    output: str | None,
    include: bool,
    as_json: bool,
) -> int:
    """Send one request to URL as an agent here could: same names, same redaction, same records.

    The exit status is 0 for answers below 400 and 22 for others; a refusal is explained on standard
    error.
    """
    if cage and explicit:
        raise AkiosError(
            "--cage and --policy contradict each other: the cage has a policy already",
            "--policy",
            "give one of them",
        )
    fields = [_header(text) for text in headers]
    http_requests.split_url(url)
    body = http_requests.Body(data, sys.stdin.buffer) if data is not None else None
    with ctx.obj.connect() as client:
        name = find_cage(client, cage).cage if cage else ""
        policy = DEFAULT_POLICY if cage else _merge(client, explicit)
        reply, fds = client.call(Http(cage=name, policy=policy), HttpReply)
        # The connection to akiosd is held: a gateway made for this request ends with it.
        with socket.socket(fileno=fds.pop()) as sock:
            answer = http_requests.ask(sock, method.upper(), url, fields, body)
            if wants_json(ctx, as_json):
                denial = _print_json(answer, reply.cage, output)
            else:
                denial = _print(answer, output, include)
    if denial:
        _explain(denial)
    return FAILED if answer.status >= 400 else 0


def _merge(client: Client, explicit: str | None) -> Policy:
    system = ask_system(client)
    return merge(policy_files.find_layers(Path.cwd(), explicit, system=system))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise AkiosError(f"{text!r} is not a header", "-H", "write -H 'Name: value'")
    if name.strip().lower() in ("host", "content-length", "transfer-encoding"):
        raise AkiosError(
            f"{name.strip()} is a header that AKIOS makes from the URL and the body",
            "-H",
            "leave it out",
        )
    return name.strip(), value.strip()


def _print(answer: http_requests.Reply, output: str | None, include: bool) -> dict[str, Any]:
    """Head and body as asked; returns what AKIOS says of a refusal, or nothing."""
    if include:
        lines = [
            f"HTTP/1.1 {answer.status}",
            *(f"{name}: {value}" for name, value in answer.headers),
            "",
        ]
        sys.stdout.write("".join(escape(line) + "\n" for line in lines))
    if answer.header("akios-verdict"):
        return _denial(b"".join(answer.pieces()))
    sys.stdout.flush()
    if output is not None:
        with _create(output) as file:
            for piece in answer.pieces():
                file.write(piece)
    elif sys.stdout.isatty():
        # A site must not write to the terminal what a terminal obeys.
        for line in b"".join(answer.pieces()).splitlines():
            sys.stdout.write(escape(line) + "\n")
    else:
        for piece in answer.pieces():
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    return {}


def _print_json(answer: http_requests.Reply, cage: str, output: str | None) -> dict[str, Any]:
    report: dict[str, Any] = {"cage": cage, "status": answer.status, "headers": answer.headers}
    report["redactions"] = _redactions(answer.header("akios-redacted"))
    body = b"".join(answer.pieces())
    denial = _denial(body) if answer.header("akios-verdict") else {}
    if denial:
        report["refusal"] = denial
    if output is not None and not denial:
        with _create(output) as file:
            file.write(body)
    else:
        try:
            report["body"] = body.decode()
        except UnicodeDecodeError:
            report["body_base64"] = base64.b64encode(body).decode()
    click.echo(json.dumps(report))
    return denial


def _create(path: str) -> BinaryIO:
    try:
        return open(path, "wb")
    except OSError as error:
        raise AkiosError(
            f"{path} cannot be written: {error.strerror}", "-o", "check the path"
        ) from None


def _redactions(text: str) -> list[dict[str, Any]]:
    """``TYPE place count, …`` of the gateway."""
    words = [part.split() for part in text.split(", ") if part]
    return [
        {"type": w[0], "place": w[1], "count": int(w[2])}
        for w in words
        if len(w) == 3 and w[2].isdecimal()
    ]


def _denial(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(found, dict) or "rule" not in found:
        return {}
    # The same words once more, for programs that print this one.
    found.pop("error", None)
    return found


def _explain(denial: dict[str, Any]) -> None:
    """Rule, host, and the line that would help."""
    note(f"{denial.get('message', '')} ({denial.get('rule', '')}: {denial.get('host', '')})")
    if denial.get("hint"):
        note(f"next: {denial['hint']}")
