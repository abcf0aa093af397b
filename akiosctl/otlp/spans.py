"""What becomes a span: a cage, a step of a workflow, a program in a standing cage, a model call.

Records in, values out.  Names of attributes are those of OpenTelemetry's conventions for generative
AI (gen-ai-spans.md, in development) where there is one, and begin with ``akios.`` elsewhere.  Of
what an agent says, only names of programs and models are passed on, escaped and cut: nothing here
knows more than the record does.  Ids are digests of where a record stands, so that a span which is
sent twice is one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from akiosctl.render import escape
from akiosd.values.providers import FACTS
from akiosd.values.records import (
    Birth,
    End,
    LlmCall,
    NetDenied,
    ProgramEnded,
    ProgramStarted,
    Redaction,
    SpendWarning,
    Syscall,
    Unknown,
    decode_entry,
)
from akiosd.values.units import USD
from akiosd.wire.messages import CageInfo

Attributes = dict[str, str | int | float | bool]
MOST_CAGES = 4096
"""Cages of which it is remembered how they began; the oldest are forgotten."""
MOST_PROGRAMS = 256
_LONGEST = 128
STEP_PROGRAM = b"akiosd.workflow.steps.perform"


class Span(msgspec.Struct, frozen=True):
    """``parent`` is 0 for none.  Times are Unix time in ns.  ``error`` says what went wrong."""

    trace: int
    span: int
    parent: int
    name: str
    kind: Literal["internal", "client"]
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str = ""


class _Cage(msgspec.Struct):
    """What was seen of a cage; ``whole``: from its birth on."""

    cage: str
    start_ns: int
    argv: Sequence[bytes] = ()
    name: str = ""
    whole: bool = False
    calls: int = 0
    usd_micro: int = 0
    redactions: int = 0
    denials: int = 0
    programs: dict[int, tuple[int, str]] = {}

    @property
    def step(self) -> tuple[str, str] | None:
        """The run and the step of a workflow, which stand in the arguments of its program."""
        argv = list(self.argv)
        if STEP_PROGRAM not in argv[:-2]:
            return None
        at = argv.index(STEP_PROGRAM)
        return _text(argv[at + 1]), _text(argv[at + 2])

    @property
    def trace(self) -> int:
        """One for a cage, and one for all steps of a run."""
        step = self.step
        return digest(f"run {step[0]}" if step else f"cage {self.cage}", 16)

    @property
    def span(self) -> int:
        return digest(f"cage {self.cage}", 8)


class Tracer:
    """Entries of logs in, in order for each log; spans out, each when it is over."""

    def __init__(self) -> None:
        self._cages: dict[str, _Cage] = {}

    def known(self, infos: Iterable[CageInfo]) -> None:
        """Cages whose birth was before the first record that is read."""
        for info in infos:
            if info.cage not in self._cages:
                self._remember(_Cage(info.cage, info.started_ns, info.argv, info.name))

    def entry(self, log: str, index: int, entry: bytes) -> Span | None:
        """The span that ends with this record, if one does."""
        try:
            record = decode_entry(entry)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if isinstance(record, Birth):
            self._remember(_Cage(log, record.ts, record.argv, whole=True))
            return None
        if isinstance(record, Unknown) or log == "host":
            return None
        cage = self._cages.get(log)
        if cage is None:
            cage = _Cage(log, record.ts)
            self._remember(cage)
        if isinstance(record, LlmCall):
            cage.calls += 1
            cage.usd_micro += record.usd_micro
            return _of_call(cage, index, record)
        if isinstance(record, ProgramEnded):
            return _of_program(cage, index, record)
        if isinstance(record, End):
            self._cages.pop(log, None)
            return _of_cage(cage, record)
        _count(cage, record)
        return None

    def _remember(self, cage: _Cage) -> None:
        self._cages[cage.cage] = cage
        if len(self._cages) > MOST_CAGES:
            del self._cages[next(iter(self._cages))]


def _count(cage: _Cage, record: object) -> None:
    if isinstance(record, Redaction):
        cage.redactions += sum(finding.count for finding in record.findings)
    elif isinstance(record, NetDenied):
        cage.denials += record.count
    elif isinstance(record, SpendWarning):
        cage.denials += 1
    elif isinstance(record, Syscall):
        cage.denials += record.count if record.verdict == "denied" else 0
    elif isinstance(record, ProgramStarted) and len(cage.programs) < MOST_PROGRAMS:
        cage.programs[record.program] = record.ts, program_of(record.argv)


def operation_of(model: str) -> str:
    """``chat`` or ``embeddings``: a record does not say which, the name of a model does."""
    return "embeddings" if "embed" in model.lower() else "chat"


def provider_of(provider: str) -> str:
    """The conventions' name of a provider."""
    facts = FACTS.get(provider)
    return (facts.telemetry_name if facts is not None else "") or _text(provider)


def _of_call(cage: _Cage, index: int, call: LlmCall) -> Span:
    model, operation = _text(call.model), operation_of(call.model)
    attributes: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider_of(call.provider),
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": call.tokens.input,
        "gen_ai.usage.output_tokens": call.tokens.output,
        "akios.cage": cage.cage,
        "akios.cost.usd": call.usd_micro / USD,
        "akios.outcome": _text(call.outcome),
    }
    if call.tokens.cache_read:
        attributes["gen_ai.usage.cache_read.input_tokens"] = call.tokens.cache_read
    if call.tokens.cache_write:
        attributes["gen_ai.usage.cache_creation.input_tokens"] = call.tokens.cache_write
    if call.status:
        attributes["http.response.status_code"] = call.status
    if call.estimated:
        attributes["akios.cost.estimated"] = True
    error = "" if call.outcome == "completed" else _text(call.outcome)
    if error:
        attributes["error.type"] = str(call.status) if call.status >= 400 else error
    return Span(
        trace=cage.trace,
        span=digest(f"record {cage.cage}:{index}", 8),
        parent=cage.span,
        name=f"{operation} {model}",
        kind="client",
        start_ns=max(0, call.ts - max(0, call.duration_ns)),
        end_ns=call.ts,
        attributes=attributes,
        error=error,
    )


def _of_program(cage: _Cage, index: int, ended: ProgramEnded) -> Span:
    start_ns, program = cage.programs.pop(ended.program, (ended.ts, ""))
    attributes: Attributes = {
        "akios.cage": cage.cage,
        "akios.program": ended.program,
        "process.exit.code": ended.exit_code,
        "process.executable.name": program,
    }
    return Span(
        trace=cage.trace,
        span=digest(f"record {cage.cage}:{index}", 8),
        parent=cage.span,
        name="program",
        kind="internal",
        start_ns=min(start_ns, ended.ts),
        end_ns=ended.ts,
        attributes=attributes,
        error=_error(ended.exit_code, ended.reason),
    )


def _of_cage(cage: _Cage, end: End) -> Span:
    attributes: Attributes = {
        "akios.cage": cage.cage,
        "process.exit.code": end.exit_code,
        "process.executable.name": program_of(cage.argv),
        "akios.model_calls": cage.calls,
        "akios.cost.usd": cage.usd_micro / USD,
        "akios.redactions": cage.redactions,
        "akios.denials": cage.denials,
    }
    if not cage.whole:
        attributes["akios.partial"] = True  # the sums are of what was seen
    if cage.name:
        attributes["akios.cage.name"] = _text(cage.name)
    step = cage.step
    if step is not None:
        attributes["akios.workflow.run"], attributes["akios.workflow.step"] = step
    return Span(
        trace=cage.trace,
        span=cage.span,
        parent=0,
        name="step" if step else "cage",
        kind="internal",
        start_ns=min(cage.start_ns, end.ts),
        end_ns=end.ts,
        attributes=attributes,
        error=_error(end.exit_code, end.reason),
    )


def _error(code: int, reason: str) -> str:
    return "" if not code else _text(reason) or f"exit status {code}"


def program_of(argv: Sequence[bytes]) -> str:
    """The name of the program, without its directory and its arguments."""
    return _text(os.path.basename(argv[0])) if argv else ""


def _text(text: bytes | str) -> str:
    return escape(text)[:_LONGEST]


def digest(text: str, size: int) -> int:
    """A number of ``size`` bytes that is not 0, the same for the same text."""
    return int.from_bytes(hashlib.sha256(f"akios {text}".encode()).digest()[:size]) or 1
