"""The values of all metrics, as the library writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from akiosctl.api.metrics.table import METRICS, OTHER
from akiosd.wire.messages import CageInfo, DoctorReply

Gauges = dict[tuple[str, tuple[str, ...]], float]
_SECOND = 1_000_000_000
_LEDGER = ("logs of cages", "log of the host", "write-ahead log")


def gauges_of(reply: DoctorReply, cages: Sequence[CageInfo], now_ns: int) -> Gauges:
    """What akiosd says of itself, its host and the cages that may be seen."""
    found: Gauges = {
        ("akios_up", ()): 1,
        ("akios_start_time_seconds", ()): (now_ns - reply.uptime_ns) / _SECOND,
        ("akios_programs", ()): sum(cage.programs for cage in cages),
        ("akios_disk_free_bytes", ()): reply.free_bytes,
        ("akios_ledger_bytes", ()): sum(u.bytes for u in reply.disk if u.what in _LEDGER),
    }
    if reply.free_inodes >= 0:
        found["akios_disk_free_inodes", ()] = reply.free_inodes
    states = METRICS["akios_cages"].labels["state"]
    found |= {("akios_cages", (state,)): 0 for state in states}
    for cage in cages:
        state = "waiting" if cage.ended_ns and cage.changes else cage.state
        key = "akios_cages", (state if state in states else OTHER,)
        found[key] = found.get(key, 0) + 1
    for layer in reply.posture:
        found["akios_layer_enforced", (layer.layer,)] = layer.status == "enforced"
    for use in reply.disk:
        found["akios_disk_used_bytes", (use.what,)] = use.bytes
        if use.bound:
            found["akios_disk_bound_bytes", (use.what,)] = use.bound
    return found


class Collection(Collector):
    """``counters``: sums; those that were never added to are 0 where they have no labels."""

    def __init__(self, gauges: Gauges, counters: Gauges) -> None:
        self._values = gauges | counters

    def registry(self) -> CollectorRegistry:
        """One of its own: nothing of this process is told."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry

    def collect(self) -> Iterable[Metric]:
        """Each metric of the table with its values."""
        for name, row in METRICS.items():
            family: CounterMetricFamily | GaugeMetricFamily
            labels = list(row.labels)
            if row.kind == "counter":
                family = CounterMetricFamily(name, row.help, labels=labels, unit=row.unit)
            else:
                family = GaugeMetricFamily(name, row.help, labels=labels, unit=row.unit)
            for values, amount in self._of(name):
                family.add_metric(list(values), amount)
            if family.samples or row.kind == "counter":
                yield family

    def _of(self, name: str) -> Iterator[tuple[tuple[str, ...], float]]:
        found = [(key[1], amount) for key, amount in self._values.items() if key[0] == name]
        row = METRICS[name]
        if not found and row.kind == "counter" and not row.labels:
            found = [((), 0)]
        yield from sorted(found)
