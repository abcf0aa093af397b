"""What it costs to see whether a conversation goes in circles.

    python -m tests.bench.loops

Conversations grow turn by turn, as they do.  Prints, over the last turns, the processor time in
milliseconds: of all that is done before a request is sent, of what is done to see loops, the median
and the most, and its share.  Needs no privilege.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time
from typing import Any

from akiosd.gateway.llm.prepare import Request, prepare
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.llm.restore_reply import Meter
from akiosd.gateway.llm.signed_texts import Memory
from akiosd.gateway.redaction.redactors import Redactors
from akiosd.values.policy import Redact
from tests.unit.meter.traces.shapes import Chained, Claude, Step, Talk

REACH_MS = 1.5
LAST = 20
"""Turns that are counted: the newest."""


def log(turn: int, lines: int) -> str:
    """Every line has a clock, and the last one tells what is new."""
    clocks = (f"12:{turn % 60:02d}:{n % 60:02d} compiling part {n}\n" for n in range(lines))
    return f"{''.join(clocks)}{turn} parts"


def other_calls(talk: Talk, turns: int) -> Iterator[Step]:
    for n in range(turns):
        yield talk.use(("Bash", {"command": f"cat part{n}"}), log(n, 60))


def poll(lines: int) -> Callable[[Talk, int], Iterator[Step]]:
    def steps(talk: Talk, turns: int) -> Iterator[Step]:
        for n in range(turns):
            yield talk.use(("Bash", {"command": "tail build.log"}), log(n, lines))

    return steps


def one_line(talk: Talk, turns: int) -> Iterator[Step]:
    for n in range(turns):
        told = json.dumps([{"at": f"12:00:{k % 60:02d}", "id": n * 999 + k} for k in range(300)])
        yield talk.use(("get_jobs", {}), told)


def story(talk: Talk, turns: int) -> Iterator[Step]:
    for n in range(turns):
        yield talk.say(
            f"Chapter {n}. " + f"The knight number {n} rode over the hills. " * 70, "Go on."
        )


def shuffled(talk: Talk, turns: int) -> Iterator[Step]:
    for n in range(turns):
        said = (f"Sentence {(n * 7 + k) % 50} of the chapter is known." for k in range(70))
        yield talk.say(" ".join(said), f"Turn {n}, go on.")


CASES: dict[str, tuple[type[Talk], Callable[[Talk, int], Iterator[Step]], int]] = {
    "other calls, 2 KB": (Claude, other_calls, 60),
    "one poll, 2 KB": (Claude, poll(60), 60),
    "one poll, 8 KB": (Claude, poll(250), 60),
    "one poll, 30 KB": (Claude, poll(1000), 40),
    "one poll, 300 short turns": (Claude, poll(10), 300),
    "one poll, chained": (Chained, poll(250), 60),
    "one long line of JSON": (Claude, one_line, 60),
    "a story": (Talk, story, 60),
    "the same sentences again": (Talk, shuffled, 60),
}


class Timed(Memory):
    """Takes the time of what is done to see loops."""

    def __init__(self) -> None:
        super().__init__(Redactors(Redact(), bytes(32)).models)
        self.took = 0.0
        read, remember = self.threads.read, self.threads.remember

        def timed(what: Callable[..., Any], *given: Any) -> Any:
            begin = process_time()
            found = what(*given)
            self.took += (process_time() - begin) * 1000
            return found

        self.threads.read = partial(timed, read)  # type: ignore[method-assign]
        self.threads.remember = partial(timed, remember)  # type: ignore[method-assign]


def call(step: Step, memory: Timed) -> tuple[int, float]:
    """The size of the request, and what it took to prepare it."""
    provider, raw = BY_NAME[step.provider], json.dumps(step.body).encode()
    route = provider.find("POST", step.target)
    assert route is not None
    begin, memory.took = process_time(), 0.0
    request = prepare(
        provider, route, raw, [], step.target, memory=memory, overrides={}, binary="pass", now_ns=10**18
    )  # fmt: skip
    took = (process_time() - begin) * 1000
    assert isinstance(request, Request)
    if request.operation.threads:
        meter = Meter(request.operation)
        meter.take(step.reply, "")
        memory.threads.remember(meter.name, request.turns, meter.open_turn)
    return len(raw), took


def measure(kind: type[Talk], steps: Callable[[Talk, int], Iterator[Step]], turns: int) -> None:
    memory, added, whole, size = Timed(), list[float](), list[float](), 0
    for step in steps(kind("Build it."), turns):
        size, took = call(step, memory)
        added.append(memory.took)
        whole.append(took)
    newest = added[-LAST:]
    half, all_ = statistics.median(newest), statistics.median(whole[-LAST:])
    print(
        f"{size // 1000:9} KB {all_:10.2f} {half:10.2f}{max(newest):10.2f}{100 * half / all_:9.0f} %"
    )


def main() -> None:
    print(
        f"{'conversation':28}{'request':>12} {'prepared':>10} {'for loops':>10}{'most':>10}{'share':>11}"
    )
    for name, case in CASES.items():
        print(f"{name:28}", end="", flush=True)
        measure(*case)
    print(f"reach: {REACH_MS} ms for all that the gateway adds to an ordinary request")


if __name__ == "__main__":
    main()
