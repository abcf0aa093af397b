"""One who asks for more than is his: others are served meanwhile, and the server stays small."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from akiosctl.api.endpoints import BASE
from tests.e2e.api_server import ApiServer
from tests.e2e.daemon import Daemon

DEAR = ("call 0161 496 0000, ssn 123-45-6789, +49 170 1234567\n" * 20_000)[: 1 << 17].encode()
"""Each piece of it is looked at in many ways."""


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


def test_texts_of_one_token_are_searched_one_by_one_and_others_are_served(
    server: ApiServer,
) -> None:
    other, greedy, plain = (
        server.new_token("redact", "read"),
        server.token,
        {"Content_Type": "text/plain"},
    )
    begun, ended = time.monotonic(), []

    def search() -> None:
        got = server.ask(f"{BASE}/redaction/scan", "POST", greedy, DEAR, **plain)
        assert got.status == 200, got.body[:500]
        ended.append(time.monotonic() - begun)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for one in threads:
        one.start()
    waited = []
    while any(one.is_alive() for one in threads):
        asked = time.monotonic()
        assert server.ask(f"{BASE}/version", token=other).status == 200
        waited.append(time.monotonic() - asked)
        small = server.ask(f"{BASE}/redaction/scan", "POST", other, b"ann@example.org", **plain)
        assert len(small.json()["findings"]) == 1
    for one in threads:
        one.join()
    # Together they would all have ended at the end.
    assert len(ended) == 4 and min(ended) < max(ended) / 2, ended
    assert len(waited) > 4 and sorted(waited)[len(waited) // 2] < 1, waited
