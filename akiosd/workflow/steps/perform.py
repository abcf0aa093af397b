"""The program that does one step, inside the step's cage: ``python -I -m
akiosd.workflow.steps.perform``.

It reads one request as JSON from standard input and writes one result as JSON to standard output.
It decides nothing about what is allowed: files, names, programs and money are held by the cage and
its gateway, whatever a request says.  Exit status: 0 when the step was done, 1 when the result
says why not.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping

import msgspec

from akiosd.errors import AkiosError
from akiosd.values.step_call import (
    MAX_REQUEST,
    MAX_RESULT,
    StepFailure,
    StepRequest,
    StepResult,
)
from akiosd.workflow.steps import kinds
from akiosd.workflow.steps.http_client import NotSentError
from akiosd.workflow.steps.kind import Work, read_form

_PIECE = 1 << 20


def main() -> None:
    """Read, perform, write, and leave without waiting for what the step may have started."""
    out = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not print into the result
    result = perform_bytes(_read(0))
    _write(out, encode(result))
    os._exit(0 if result.failure is None else 1)


def _read(fd: int) -> bytes:
    """All of it; one byte more than a request may have is enough to refuse it."""
    data = bytearray()
    while len(data) <= MAX_REQUEST and (piece := os.read(fd, _PIECE)):
        data += piece
    return bytes(data)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def perform_bytes(data: bytes) -> StepResult:
    """The result of a request as it came in."""
    if len(data) > MAX_REQUEST:
        return _failed(
            f"the request has more than {MAX_REQUEST} bytes", "stdin", "give the step files to read"
        )
    try:
        request = msgspec.json.decode(data, type=StepRequest)
    except (msgspec.DecodeError, RecursionError) as error:
        return _failed(f"this is no request of a step: {error}", "stdin", "send one JSON object")
    return perform(request)


def perform(request: StepRequest) -> StepResult:
    """Do the step; what it raises becomes the failure of its result."""
    work, began = Work(request.idempotency_key), time.monotonic()
    failure = None
    try:
        _dispatch(work, request)
    except AkiosError as error:
        failure = StepFailure(error.what, error.where or request.kind, error.next)
        work.may_be_done &= not isinstance(error, NotSentError)
    except MemoryError:
        failure = StepFailure(
            "the step needs more memory than it has", request.kind, "give it less at a time"
        )
    except RecursionError:
        failure = StepFailure("a value is nested too deeply", request.kind, "make it flatter")
    except Exception as error:
        # Whoever waits for a result gets one, and the rest stands in the cage's output.
        traceback.print_exc()
        failure = StepFailure(
            f"this is a fault of AKIOS: {type(error).__name__}: {str(error)[:500]}",
            request.kind,
            "please report it, with what akiosctl logs prints",
        )
    if failure is not None and work.may_be_done:
        failure = msgspec.structs.replace(failure, may_be_done=True)
    return StepResult(
        outputs=work.outputs,
        failure=failure,
        notes=work.notes,
        bytes_sent=work.sent,
        bytes_received=work.received,
        seconds=round(time.monotonic() - began, 6),
        usage=work.usage,
    )


def _dispatch(work: Work, request: StepRequest) -> None:
    action = kinds.find_action(request.kind, request.action)
    config = read_form(action.config, request.config, f"{request.kind}: config")
    parameters = read_form(action.parameters, request.parameters, f"{request.kind}: parameters")
    action.perform(work, config, parameters)


def encode(result: StepResult) -> bytes:
    """As it goes out; one that is too large becomes a failure that says so."""
    data = msgspec.json.encode(result, enc_hook=_as_text)
    if len(data) <= MAX_RESULT:
        return data
    large = max(result.outputs, key=lambda name: len(str(result.outputs[name])), default="")
    return msgspec.json.encode(
        _failed(
            f"the result has {len(data):,} bytes; at most {MAX_RESULT:,} are allowed",
            f"outputs.{large}",
            "ask for less, or write it into a file of the workspace",
        )
    )


def _as_text(value: object) -> str:
    """Values of databases that JSON has no form for."""
    return str(value)


def _failed(what: str, where: str, next: str, outputs: Mapping[str, object] = {}) -> StepResult:
    return StepResult(outputs=dict(outputs), failure=StepFailure(what, where, next))


if __name__ == "__main__":
    main()
