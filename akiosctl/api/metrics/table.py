"""The metrics, one row each (prometheus.io/docs/practices/naming): what they are, and their labels.

A label has the values that stand here, and ``other``; where none stand, they are the fixed words of
akiosd for layers and kinds of data.  No name of a cage, site or model is a label: the number of
series is bounded, whatever agents do.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from akiosctl.records_text import kinds
from akiosd.cage.machine import State
from akiosd.redact.model import Category
from akiosd.values.providers import FACTS
from akiosd.values.spend import Outcome

OTHER = "other"
_PROVIDERS = tuple(FACTS)


class Metric(msgspec.Struct, frozen=True):
    """``labels``: name → its values.  A counter's name gets ``_total`` where it is written, and
    ``unit`` is the last part of its name before that.
    """

    kind: Literal["counter", "gauge"]
    help: str
    labels: dict[str, tuple[str, ...]] = {}
    unit: str = ""


METRICS: dict[str, Metric] = {
    "akios_up": Metric("gauge", "Whether akiosd answers."),
    "akios_start_time_seconds": Metric("gauge", "When akiosd began, in Unix time.", unit="seconds"),
    "akios_cages": Metric(
        "gauge",
        "Cages by state; waiting are ended ones whose changes wait.",
        {"state": (*get_args(State), "paused", "waiting")},
    ),
    "akios_programs": Metric("gauge", "Programs that run in standing cages."),
    "akios_layer_enforced": Metric(
        "gauge", "Whether a layer of the cage is enforced on this host.", {"layer": ()}
    ),
    "akios_disk_free_bytes": Metric("gauge", "Free where akiosd keeps its state.", unit="bytes"),
    "akios_disk_free_inodes": Metric(
        "gauge", "Free where akiosd keeps its state; absent where they are not counted."
    ),
    "akios_disk_used_bytes": Metric(
        "gauge", "What akiosd keeps, by kind of data.", {"data": ()}, "bytes"
    ),
    "akios_disk_bound_bytes": Metric(
        "gauge", "How much it may keep, where one number bounds it.", {"data": ()}, "bytes"
    ),
    "akios_ledger_bytes": Metric(
        "gauge", "What all logs take on disk, with the write-ahead log.", unit="bytes"
    ),
    "akios_records": Metric("counter", "Records of cages and the host.", {"kind": kinds()}),
    "akios_records_missed": Metric(
        "counter", "Records that were not counted here, because this server was too slow."
    ),
    "akios_records_lost": Metric("counter", "Records that a log lacks, as it says itself."),
    "akios_cages_started": Metric("counter", "Cages that began."),
    "akios_cages_ended": Metric(
        "counter",
        "Cages that ended, by exit status: 0, 125 to 127, above 127, any other.",
        {"result": ("success", "not_started", "killed", "failed")},
    ),
    "akios_denials": Metric(
        "counter",
        "What agents were denied, by the layer that did it.",
        {"layer": ("syscalls", "network", "models")},
    ),
    "akios_requests": Metric(
        "counter",
        "Requests and connections that were let through.",
        {"mode": ("inspect", "passthrough", "raw", "llm")},
    ),
    "akios_traffic_bytes": Metric(
        "counter", "Bodies of requests and answers.", {"direction": ("in", "out")}, "bytes"
    ),
    "akios_model_calls": Metric(
        "counter",
        "Calls to models that were settled.",
        {"provider": _PROVIDERS, "outcome": get_args(Outcome)},
    ),
    "akios_model_tokens": Metric(
        "counter",
        "Tokens of those calls.",
        {"provider": _PROVIDERS, "direction": ("input", "output")},
    ),
    "akios_spend_usd": Metric(
        "counter", "What those calls cost, in US dollars.", {"provider": _PROVIDERS}, "usd"
    ),
    "akios_redactions": Metric(
        "counter",
        "Pieces of personal data that did not leave.",
        {"category": get_args(Category)},
    ),
    "akios_gateway_failures": Metric("counter", "Gateways that died or gave up a connection."),
}
