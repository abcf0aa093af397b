"""Metrics over a real daemon, and held against Prometheus' own tool."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.api_server import ApiServer, Follower
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import wait_until

RULES = Path(__file__).resolve().parents[2] / "packaging/prometheus"
CASES = Path(__file__).parent / "prometheus/rules-test.yml"
# It leaves behind: a denied name, a denied call.
AGENT = "curl -s http://example.com; unshare -m true; true"


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


def scrape(server: ApiServer) -> tuple[str, dict[tuple[str, ...], float]]:
    answer = server.ask("/metrics", Accept="text/plain;version=0.0.4")
    assert answer.status == 200, answer.body
    families = text_string_to_metric_families(answer.body.decode())
    samples = [sample for family in families for sample in family.samples]
    return answer.body.decode(), {(s.name, *s.labels.values()): s.value for s in samples}


def test_what_a_cage_does_is_counted(server: ApiServer) -> None:
    _, before = scrape(server)  # from now on
    assert before["akios_up",] == 1
    with Follower(server) as follower:
        cage = str(server.daemon.report("sh", "-c", AGENT, uid=NOBODY)["cage"])
        records = [event["data"] for event in follower.until_end(cage)]
    denied = [one for one in records if one["kind"] == "net_denied"]
    calls = [one for one in records if one.get("verdict") == "denied"]
    assert denied and calls
    # The server counts them by a stream of its own.
    ended = ("akios_cages_ended_total", "success")
    assert wait_until(lambda: scrape(server)[1].get(ended, 0) == 1)
    _, after = scrape(server)
    assert after["akios_denials_total", "network"] == sum(one.get("count", 1) for one in denied)
    assert after["akios_denials_total", "syscalls"] == sum(one.get("count", 1) for one in calls)
    assert after["akios_records_total", "birth"] == after["akios_cages_started_total",] == 1
    assert after["akios_records_total", "syscall"] == sum(r["kind"] == "syscall" for r in records)
    assert after["akios_disk_free_bytes",] > 0 and after["akios_ledger_bytes",] > 0
    assert after["akios_records_missed_total",] == 0


def test_a_cage_that_came_and_went_while_akiosd_was_restarted_is_counted_once() -> None:
    """The server stands still from before the restart until the cage has ended."""
    own = Daemon()
    try:
        with ApiServer(own.start()) as server:
            ended = ("akios_cages_ended_total", "success")
            scrape(server)  # from now on
            own.report("true", uid=NOBODY)
            assert wait_until(lambda: scrape(server)[1].get(ended, 0) == 1)
            server.process.send_signal(signal.SIGSTOP)
            own.stop()
            own.start()
            own.report("true", uid=NOBODY)
            server.process.send_signal(signal.SIGCONT)
            assert wait_until(lambda: scrape(server)[1].get(ended, 0) == 2), scrape(server)[0]
            # Another restart counts nothing again.
            own.stop()
            own.start()
            own.report("true", uid=NOBODY)
            assert wait_until(lambda: scrape(server)[1].get(ended, 0) == 3), scrape(server)[0]
            assert scrape(server)[1]["akios_cages_started_total",] == 3
    finally:
        own.close()


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool (Debian package prometheus)")
    return found


@pytest.mark.named_set("api")
def test_prometheus_accepts_the_metrics(server: ApiServer, promtool: str) -> None:
    text, _ = scrape(server)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The control: it finds what is against the conventions.
    wrong = "# TYPE akios_x counter\nakios_x 1\n"
    done = subprocess.run(
        [promtool, "check", "metrics"], input=wrong, capture_output=True, text=True
    )
    assert done.returncode != 0


@pytest.mark.named_set("api")
def test_prometheus_accepts_the_rules_and_each_alert_speaks(promtool: str, tmp_path: Path) -> None:
    rules = shutil.copy(RULES / "akios.rules.yml", tmp_path)
    shutil.copy(CASES, tmp_path)
    shutil.copy(RULES / "scrape.yml", tmp_path / "prometheus.yml")
    commands = (
        ("check", "rules", rules),
        ("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")),
        ("test", "rules", str(tmp_path / CASES.name)),
    )
    for words in commands:
        done = subprocess.run([promtool, *words], capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout + done.stderr)
