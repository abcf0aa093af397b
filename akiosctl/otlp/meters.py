"""The metrics: the counters of ``/metrics`` under the names they have here, and those of the
conventions for generative AI (gen-ai-metrics.md).

No label has unbounded values: those of the counters stand in a table, and models past a number are
``_OTHER``, as the conventions call what is left out.
"""

from __future__ import annotations

from typing import Any

import msgspec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from akiosctl.api.metrics.count import adds_of
from akiosctl.api.metrics.table import METRICS, OTHER
from akiosctl.otlp.spans import operation_of, provider_of
from akiosctl.render import escape
from akiosd.values.providers import FACTS
from akiosd.values.records import LlmCall, decode_entry

MOST_MODELS = 64
_OTHER_MODEL = "_OTHER"
_UNITS = {"bytes": "By", "usd": "{USD}", "": "1"}
# The boundaries that the conventions ask for.
_TOKENS = [4**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]
_CALL = b"llm_call"
_NANO = 1e9


class Meters:
    """``entry`` counts, ``read`` gives all sums since the start."""

    def __init__(self, resource: Resource) -> None:
        self._reader = InMemoryMetricReader()
        provider = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        meter = provider.get_meter("akios")
        self._counters = {
            name: meter.create_counter(otlp_name(name), _UNITS.get(row.unit, "1"), row.help)
            for name, row in METRICS.items()
            if row.kind == "counter"
        }
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of a call.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long a call took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._models: set[str] = set()

    def entry(self, entry: bytes) -> None:
        """Count one record."""
        for name, values, amount in adds_of(entry):
            labels = METRICS[name].labels
            known = zip(labels.items(), values, strict=True)
            self._counters[name].add(
                amount, {label: value if value in of else OTHER for (label, of), value in known}
            )
        if _CALL in entry[:32]:
            try:
                record = decode_entry(entry)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                return
            if isinstance(record, LlmCall):
                self._call(record)

    def _call(self, call: LlmCall) -> None:
        labels = {
            "gen_ai.operation.name": operation_of(call.model),
            "gen_ai.provider.name": provider_of(call.provider) if call.provider in FACTS else OTHER,
            "gen_ai.request.model": self._model(call.model),
        }
        tokens = {"input": call.tokens.input, "output": call.tokens.output}
        for kind, count in tokens.items():
            self._tokens.record(count, {**labels, "gen_ai.token.type": kind})
        failed = {} if call.outcome == "completed" else {"error.type": call.outcome}
        self._duration.record(call.duration_ns / _NANO, labels | failed)

    def _model(self, model: str) -> str:
        name = escape(model)[:128]
        if name not in self._models and len(self._models) >= MOST_MODELS:
            return _OTHER_MODEL
        self._models.add(name)
        return name

    def read(self) -> Any:
        """The library's value; None where nothing was counted."""
        return self._reader.get_metrics_data()


def otlp_name(name: str) -> str:
    """``akios_model_calls`` → ``akios.model_calls``."""
    return name.replace("_", ".", 1)
