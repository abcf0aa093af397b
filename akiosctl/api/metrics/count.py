"""What a record adds to the counters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from akiosctl.api.metrics.table import METRICS, OTHER
from akiosd.values.records import (
    Birth,
    End,
    GatewayFailed,
    LlmCall,
    Lost,
    NetDenied,
    NetRequest,
    Redaction,
    SpendWarning,
    Syscall,
    Unknown,
    decode_entry,
)

Add = tuple[str, tuple[str, ...], float]
"""A counter, the values of its labels in their order, and how much."""
_MICRO = 1_000_000
_KIND = b"\xa4kind"
_DENIED = b"\xa7verdict\xa6denied"
_SYSCALL = b"\xa7syscall"


class Counts:
    """What was counted since it was made.  Threads may read while one counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(self, name: str, values: tuple[str, ...], amount: float) -> None:
        """Values that the table does not hold count as ``other``."""
        allowed = METRICS[name].labels.values()
        known = tuple(
            value if value in of else OTHER for value, of in zip(values, allowed, strict=True)
        )
        with self._lock:
            self._sums[name, known] = self._sums.get((name, known), 0) + amount

    def entries(self, entries: Iterable[bytes]) -> None:
        """Count entries of a log."""
        for entry in entries:
            for name, values, amount in adds_of(entry):
                self.add(name, values, amount)

    def read(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """All sums."""
        with self._lock:
            return dict(self._sums)


def adds_of(entry: bytes) -> Iterator[Add]:
    """What one entry adds; nothing of it is trusted to have a form."""
    # Most records are such, and only their number is wanted.
    if entry.find(_KIND + _SYSCALL, 1, 16) > 0 and _DENIED not in entry:
        yield "akios_records", ("syscall",), 1
        return
    try:
        record = decode_entry(entry)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        yield "akios_records", (OTHER,), 1
        return
    if isinstance(record, Unknown):
        yield "akios_records", (OTHER,), 1
        return
    yield "akios_records", (str(record.__struct_config__.tag),), 1
    find = _ADDS.get(type(record))
    if find is not None:
        yield from find(record)


def _of_end(record: End) -> Iterator[Add]:
    code = record.exit_code
    result = "success" if not code else "not_started" if 125 <= code <= 127 else ""
    yield "akios_cages_ended", (result or ("killed" if code > 127 else "failed"),), 1


def _of_syscall(record: Syscall) -> Iterator[Add]:
    if record.verdict == "denied":
        yield "akios_denials", ("syscalls",), record.count


def _of_request(record: NetRequest) -> Iterator[Add]:
    yield "akios_requests", (record.mode,), 1
    yield "akios_traffic_bytes", ("in",), record.bytes_in
    yield "akios_traffic_bytes", ("out",), record.bytes_out


def _of_call(record: LlmCall) -> Iterator[Add]:
    provider = record.provider
    yield "akios_model_calls", (provider, record.outcome), 1
    yield "akios_model_tokens", (provider, "input"), record.tokens.input
    yield "akios_model_tokens", (provider, "output"), record.tokens.output
    yield "akios_spend_usd", (provider,), record.usd_micro / _MICRO


def _of_redaction(record: Redaction) -> Iterator[Add]:
    for finding in record.findings:
        yield "akios_redactions", (finding.category,), finding.count


_ADDS: dict[type, Callable[[Any], Iterator[Add] | tuple[Add, ...]]] = {
    Birth: lambda record: (("akios_cages_started", (), 1),),
    End: _of_end,
    Syscall: _of_syscall,
    NetDenied: lambda record: (("akios_denials", ("network",), record.count),),
    SpendWarning: lambda record: (("akios_denials", ("models",), 1),),
    NetRequest: _of_request,
    LlmCall: _of_call,
    Redaction: _of_redaction,
    Lost: lambda record: (("akios_records_lost", (), record.count),),
    GatewayFailed: lambda record: (("akios_gateway_failures", (), 1),),
}
