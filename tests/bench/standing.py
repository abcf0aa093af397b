"""How long a program in a standing cage takes beside a run with a cage of its own:
``.venv/bin/python -m tests.bench.standing``, as root.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from tests.e2e.daemon import Daemon

ROUNDS = 40
PAUSE_S = 0.025


def measure(do: Callable[[], int]) -> tuple[float, float]:
    """(median, 90th percentile) in ms."""
    took = []
    for _ in range(ROUNDS):
        time.sleep(PAUSE_S)
        begun = time.perf_counter()
        assert do() == 0
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took), statistics.quantiles(took, n=10)[-1]


def main() -> None:
    daemon = Daemon().start()
    try:
        project = daemon.workspace()
        ups = []
        for number in range(20):
            begun = time.perf_counter()
            assert daemon.ctl("cage", "up", f"n{number}", cwd=project).returncode == 0
            ups.append((time.perf_counter() - begun) * 1000)
        rows = {
            "akiosctl run -- true": ("run", "--discard", "--", "true"),
            "akiosctl run --cage n0 -- true": ("run", "--cage", "n0", "--", "true"),
            "akiosctl exec n0 true": ("exec", "n0", "true"),
        }
        print(f"cage up, 20 in a row: median {statistics.median(ups):.1f} ms")
        for name, words in rows.items():
            middle, late = measure(lambda: daemon.ctl(*words, cwd=project).returncode)  # noqa: B023
            print(f"{name:<32} median {middle:6.1f} ms   p90 {late:6.1f} ms")
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
