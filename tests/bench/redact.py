"""What redaction costs: a megabyte, a kilobyte, a stream of small pieces, hostile text.

    python -m tests.bench.redact

Every figure is from the same run.  The comparison is Python's ``re`` doing less: only finding the
matches of the same patterns, one after the other, without validators, context, overlap or
replacement.
"""

from __future__ import annotations

import random
import re
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from akiosd.redact.engine import Engine
from akiosd.redact.known_values import Known
from akiosd.redact.re2_search import folded
from akiosd.redact.redactor import Redactor
from akiosd.redact.stream import StreamRedactor
from tests.unit.redact.prose import prose

_DATA = (
    "Please write to {name}@example{n}.org about it. ",
    "Call +1 415 555 01{n:02d} after lunch. ",
    "The card 4012888888881881 was declined. ",
    "IBAN DE89 3704 0044 0532 0130 00 is on the invoice. ",
    "Dr. Ada {name} signed it. ",
    "2024-05-11T10:22:31Z INFO client 93.184.{n}.34 asked for /index.html in 12.4 ms\n",
    '{{"id": {n}881, "token": "sk-proj-abcdefghijklmnop{n}qrstuvwxyz1234567890", "ok": true}}\n',
)


HOSTILE = {
    "digits": "4",
    "at signs": "@",
    "a@": "a@",
    "escapes": "\\u005c",
    "key headers": "-----BEGIN PRIVATE KEY-----",
}


def realistic(characters: int, seed: int = 7) -> str:
    """Prose, source code and log lines with one piece of personal data in about 600 characters."""
    choose = random.Random(seed)
    code = "".join(
        p.read_text() for p in sorted(Path(sysconfig.get_path("stdlib"), "json").glob("*.py"))
    )
    words = prose(characters, seed - 6)
    pieces: list[str] = []
    size = at = 0
    while size < characters:
        source = code if choose.random() < 0.3 else words
        begin = choose.randrange(len(source) - 700) if source is code else at
        pieces.append(source[begin : begin + 600])
        at += 600 if source is words else 0
        pieces.append(
            " "
            + choose.choice(_DATA).format(
                n=choose.randint(10, 99), name=choose.choice(("ada", "Grace"))
            )
        )
        size += len(pieces[-1]) + len(pieces[-2])
    return "".join(pieces)[:characters]


def best(function: Callable[[], object], times: int) -> float:
    """The shortest of ``times`` runs, in seconds."""
    return min(timed(function) for _ in range(times))


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def report(what: str, figure: str, mark: str, good: bool) -> None:
    print(f"{what:<44}{figure:<34}{mark:<16}{'ok' if good else 'MISSED'}")


def bench_whole(redactor: Redactor) -> None:
    text = realistic(1 << 20)
    redactor.redact(text)
    ours = best(lambda: redactor.redact(text), 5)
    patterns = [re.compile(folded(p), re.ASCII) for p in redactor.engine.patterns]
    theirs = best(lambda: [sum(1 for _ in pattern.finditer(text)) for pattern in patterns], 2)
    found = sum(redactor.redact(text).counts().values())
    report(
        "1 MB realistic",
        f"{ours * 1e3:.0f} ms, {1.048 / ours:.1f} MB/s, {found} findings",
        "",
        True,
    )
    report(
        "  re over the same patterns", f"{theirs * 1e3:.0f} ms, {1.048 / theirs:.2f} MB/s", "", True
    )
    report("  ratio", f"{theirs / ours:.1f}x", ">= 10x", theirs / ours >= 10)
    double = text + text
    twice = best(lambda: redactor.redact(double), 3)
    report("  2 MB / 1 MB", f"{twice / ours:.2f}x", "<= 2.4x", twice / ours <= 2.4)
    kilobytes = [text[at : at + 1024] for at in range(0, 1 << 20, 1 << 12)]
    small = sorted(best(lambda piece=piece: redactor.redact(piece), 5) for piece in kilobytes)[
        len(kilobytes) // 2
    ]  # type: ignore[misc]
    report(
        "1 KB, p50 of 256 places, best of 5 each",
        f"{small * 1e6:.0f} us",
        "<= 100 us",
        small <= 100e-6,
    )
    others = realistic(1 << 18, seed=8)
    pieces = [others[at : at + 1024] for at in range(0, 1 << 18, 1 << 10)]
    once = sorted(timed(lambda piece=piece: redactor.redact(piece)) for piece in pieces)[  # type: ignore[misc]
        len(pieces) // 2
    ]
    report("  other texts, each once, p50 of 256", f"{once * 1e6:.0f} us", "", True)


def bench_read(engine: Engine) -> None:
    """With containers taken apart and ten thousand values of the cage looked for."""
    known = Known()
    for number in range(10_000):
        known.learn(f"pw-{number * 7919:08d}-x{number:05d}", "PASSWORD", "digital", False)
    redactor = Redactor(engine, "mask", known=known)
    text = realistic(1 << 20)
    redactor.read(text)
    patterns = [re.compile(folded(p), re.ASCII) for p in engine.patterns]
    ours = best(lambda: redactor.read(text), 3)
    theirs = best(lambda: [sum(1 for _ in pattern.finditer(text)) for pattern in patterns], 1)
    good = theirs / ours >= 10
    report(
        "1 MB read, containers and 10,000 values",
        f"{ours * 1e3:.0f} ms, {theirs / ours:.1f}x",
        ">= 10x",
        good,
    )
    data = text.encode("latin-1", "replace")
    alone = best(lambda: known.places(data), 5)
    report("  the values alone", f"{alone * 1e3:.1f} ms", "", True)
    kilobytes = [text[at : at + 1024] for at in range(0, 1 << 20, 1 << 12)]
    small = sorted(best(lambda piece=piece: redactor.read(piece), 5) for piece in kilobytes)[
        len(kilobytes) // 2
    ]  # type: ignore[misc]
    report("1 KB read, p50 of 256 places", f"{small * 1e6:.0f} us", "<= 100 us", small <= 100e-6)


def bench_stream(redactor: Redactor) -> None:
    text = realistic(1 << 16)
    for _ in range(2):
        channel, times, held = StreamRedactor(redactor), [], []
        for at in range(0, len(text), 16):
            piece = text[at : at + 16]
            start = time.perf_counter()
            channel.push(piece)
            times.append(time.perf_counter() - start)
            held.append(channel.held)
        channel.flush()
    times.sort()
    held.sort()
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    report(
        "stream, 16-byte pieces, p50",
        f"{p50 * 1e6:.0f} us, p99 {p99 * 1e6:.0f} us",
        "<= 150 us",
        p50 <= 150e-6,
    )
    report("  held back", f"p50 {held[len(held) // 2]}, most {held[-1]} characters", "", True)


def bench_hostile(engine: Engine) -> None:
    for name, unit in HOSTILE.items():
        texts = [unit * (size // len(unit)) for size in (1 << 19, 1 << 20)]
        half, whole = (best(lambda text=text: engine.find(text), 3) for text in texts)  # type: ignore[misc]
        report(
            f"1 MB of {name}",
            f"{whole * 1e3:.0f} ms, {whole / half:.2f}x of half of it",
            "<= 3x",
            whole / half <= 3,
        )


def main() -> None:
    start = time.perf_counter()
    engine = Engine()
    redactor = Redactor(engine, "mask")
    print(
        f"{len(engine.patterns)} patterns compiled in {(time.perf_counter() - start) * 1e3:.0f} ms"
    )
    bench_whole(redactor)
    bench_read(redactor.engine)
    bench_stream(redactor)
    bench_hostile(engine)


if __name__ == "__main__":
    main()
