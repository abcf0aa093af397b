"""Sends to a collector, with the library's exporters: OTLP in protobuf over HTTP.

The variables ``OTEL_EXPORTER_OTLP_HEADERS``, ``…_CERTIFICATE`` and ``OTEL_RESOURCE_ATTRIBUTES`` are
the library's own.  Threads of its own it has none here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from akiosctl.otlp.meters import Meters
from akiosctl.otlp.spans import Span
from akiosd import __version__
from akiosd.errors import AkiosError

Outcome = Literal["sent", "later", "refused"]
_TIMEOUT_SECONDS = 5.0
_AGAIN = (408, 429, 502, 503, 504)
_SCOPE = InstrumentationScope("akios", __version__)
_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


def check_url(url: str) -> str:
    """The collector's address without a slash at its end.  Raises :class:`AkiosError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise AkiosError(
            f"{url!r} is not the address of a collector",
            "--otlp",
            "write http://HOST:4318, without v1/traces",
        )
    return url.rstrip("/")


class Sender:
    """``status`` is that of the last answer, 0 where none came."""

    def __init__(self, url: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # we say it, once
        self.status = 0
        session = requests.Session()
        session.hooks["response"].append(self._answered)
        self._resource = Resource.create(
            {
                "service.name": "akios",
                "service.version": __version__,
                "host.name": os.uname().nodename,
            }
        )
        self.meters = Meters(self._resource)
        more: Any = {"timeout": _TIMEOUT_SECONDS, "session": session}
        self._spans = OTLPSpanExporter(f"{url}/v1/traces", **more)
        self._metrics = OTLPMetricExporter(f"{url}/v1/metrics", **more)

    def _answered(self, response: Any, *args: object, **more: object) -> None:
        self.status = response.status_code

    def spans(self, spans: Sequence[Span]) -> Outcome:
        """Waits for at most some seconds."""
        self.status = 0
        done = self._spans.export([self._readable(span) for span in spans])
        return self._outcome(done is SpanExportResult.SUCCESS)

    def metrics(self) -> Outcome:
        """All sums."""
        found = self.meters.read()
        if found is None:
            return "sent"
        self.status = 0
        return self._outcome(self._metrics.export(found) is MetricExportResult.SUCCESS)

    def _outcome(self, done: bool) -> Outcome:
        if done:
            return "sent"
        refused = 300 <= self.status < 500 and self.status not in _AGAIN
        return "refused" if refused else "later"

    def _readable(self, span: Span) -> ReadableSpan:
        flags = TraceFlags(TraceFlags.SAMPLED)
        context = SpanContext(span.trace, span.span, is_remote=False, trace_flags=flags)
        parent = None
        if span.parent:
            parent = SpanContext(span.trace, span.parent, is_remote=False, trace_flags=flags)
        return ReadableSpan(
            name=span.name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )
