"""The dashboard and the alert rules speak of metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from akiosctl.api.metrics.table import METRICS

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
DASHBOARD = json.loads((PACKAGING / "grafana/akios.json").read_text())
RULES = yaml.safe_load((PACKAGING / "prometheus/akios.rules.yml").read_text())
# Of Prometheus itself, and of the scrape.
GIVEN = {"instance", "job"}


def queries() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return panels + [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


def written(name: str) -> str:
    """The name of a metric's samples."""
    return f"{name}_total" if METRICS[name].kind == "counter" else name


def faults(query: str) -> list[str]:
    samples = {written(name): METRICS[name] for name in METRICS}
    found = re.findall(r"\b(akios_\w+)(?:\{([^}]*)\})?", query)
    wrong = [name for name, _ in found if name not in samples]
    labels = {label for name, _ in found if name in samples for label in samples[name].labels}
    used = set(re.findall(r"(\w+)=~?\"", "".join(chosen for _, chosen in found)))
    for words in re.findall(r"by \(([^)]*)\)", query):
        used |= {word.strip() for word in words.split(",")}
    for label, value in re.findall(r"(\w+)=\"(\w+)\"", query):
        known = [samples[name].labels.get(label, ()) for name, _ in found if name in samples]
        wrong += [value] if known and not any(value in of or not of for of in known) else []
    return wrong + sorted(used - labels - GIVEN)


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_what_there_is(query: str) -> None:
    assert faults(query) == []


def test_what_is_not_there_is_found() -> None:
    assert faults("akios_cagez") == ["akios_cagez"]
    assert faults('akios_cages{stat="running"}') == ["stat"]
    assert faults('akios_cages{state="flying"}') == ["flying"]
    assert faults("sum by (cage) (akios_records_total)") == ["cage"]
    assert faults("akios_records") == ["akios_records"]  # a counter's samples end in _total


def test_every_metric_is_shown_or_alerts() -> None:
    """But those that others are read beside."""
    seen = set(re.findall(r"akios_\w+", " ".join(queries())))
    beside = {"akios_start_time_seconds", "akios_programs", "akios_disk_free_inodes"}
    beside |= {"akios_cages_started_total", "akios_ledger_bytes"}
    assert {written(name) for name in METRICS} - seen == beside
