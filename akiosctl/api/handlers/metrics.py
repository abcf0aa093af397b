"""Metrics: what akiosd says now, and what was counted since somebody first asked."""

from __future__ import annotations

import time

import anyio.to_thread
from fastapi import Request
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.responses import Response

from akiosctl.api.metrics.collect import Collection, Gauges, gauges_of
from akiosctl.api.service import Service
from akiosctl.cages import list_cages
from akiosctl.client import GoneError
from akiosd.wire.messages import Doctor, DoctorReply

OPEN_METRICS = "application/openmetrics-text"


async def collect(service: Service, request: Request) -> Response:
    """All metrics in OpenMetrics, or in Prometheus' text format where only that is accepted.
    Counters begin with the first time that they are asked for.
    """
    service.meter.want()
    gauges = await anyio.to_thread.run_sync(_ask, service)
    registry = Collection(gauges, service.meter.counts.read()).registry()
    accepted = request.headers.get("accept", "")
    if "text/plain" in accepted and OPEN_METRICS not in accepted:
        text, kind = exposition.generate_latest(registry), exposition.CONTENT_TYPE_LATEST
    else:
        text, kind = openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST
    return Response(text, media_type=kind)


def _ask(service: Service) -> Gauges:
    try:
        with service.connect() as client:
            reply, _ = client.call(Doctor(), DoctorReply)
            cages = list_cages(client, everyone=True)
    except GoneError:
        return {("akios_up", ()): 0}
    return gauges_of(reply, cages, time.time_ns())
