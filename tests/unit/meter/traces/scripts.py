"""What the stand-in model does with real agents when they are recorded: commands, calls and words.

An entry is ``run: COMMAND``, ``call: TOOL ARGUMENTS`` or ``say: WORDS``.
"""

from __future__ import annotations

import json
from typing import NamedTuple

BOTH = ("claude", "codex")
AT_WORK = (*BOTH, "gemini")
"""Gemini gives up by itself when the model calls the same five times."""
FLAKY = """import os, time, unittest
runs = int(open("runs").read()) if os.path.exists("runs") else 0
open("runs", "w").write(str(runs + 1))
class Flaky(unittest.TestCase):
    def test_it(self):
        time.sleep(runs % 3 / 50)
        self.assertNotIn(runs, BAD, f"run {runs}")
unittest.main()
"""
FAILING = """import time, unittest
class Failing(unittest.TestCase):
    def test_it(self):
        time.sleep(time.time_ns() % 7 / 100)
        self.assertEqual(open("mode").read(), "right")
unittest.main()
"""


class Script(NamedTuple):
    """``asked``: prompts, each a run of the agent, which ``goes_on`` from the one before or begins
    anew.  A loop has ``before`` entries first, then one round every ``length``.
    """

    name: str
    entries: list[str]
    asked: tuple[str, ...] = ("Do what is to be done.",)
    files: dict[str, str] = {}
    loops: bool = False
    before: int = 0
    length: int = 1
    goes_on: bool = False
    agents: tuple[str, ...] = BOTH


WRONG = {"failing.py": FAILING, "mode": "wrong"}
A_BAR = (
    "echo x >> bar; n=$(wc -l < bar); "
    "printf '\\r %d%%|%.*s| %d/50 [00:0%d<00:15]\\n' $((n*2)) $n '##################' $n $((n%9))"
)
A_JOB = {"cmd": "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.4; done", "yield_time_ms": 250}
A_LOOK = {"session_id": 1, "chars": "", "yield_time_ms": 300}
AN_ERROR = (
    "import uuid, json; print(json.dumps({'error': 'overloaded', 'request_id': str(uuid.uuid4())}))"
)
A_REPORT = "the report covers all regions, and I recommend that the team reviews it."
NO_JSON = "Error: the answer is not valid JSON. Try again."


def flaky(bad: str, told: str = 'f"run {runs}"') -> dict[str, str]:
    return {"flaky.py": FLAKY.replace("BAD", bad).replace('f"run {runs}"', told)}


def work(name: str, entries: list[str], **more: object) -> Script:
    if "goes_on" not in more and all(entry.startswith("run: ") for entry in entries):
        more = {"agents": AT_WORK, **more}
    return Script(name, entries, **more)  # type: ignore[arg-type]


def loop(name: str, entries: list[str], times: int = 13, **more: object) -> Script:
    """``entries`` again and again, after ``before`` of them."""
    before = int(str(more.get("before", 0)))
    made = [*entries[:before], *(entries[before:] * times)]
    more = {"length": len(entries) - before, **more}
    return Script(name, made, loops=True, **more)  # type: ignore[arg-type]


EDITS = [
    entry
    for n in range(7)
    for entry in (f"run: sed -i s/v{n}/v{n + 1}/ a.py && echo ok", "run: python3 failing.py")
]
WORK = (
    work("polls a build", ["run: echo part >> built; wc -l built; date"] * 14),
    work(
        "polls a log that grows",
        ['run: echo "$(date) step $(wc -l < log)" >> log; tail -n 1 log'] * 14,
        files={"log": ""},
    ),
    work("reruns a flaky test", ["run: python3 flaky.py"] * 14, files=flaky("(5, 11)")),
    work(
        "a test fails six times and passes",
        ["run: python3 flaky.py"] * 7,
        files=flaky("range(6)", '"no"'),
    ),
    work("edits, and the same failure after each", EDITS, files={"a.py": "v0\n", **WRONG}),
    work(
        "works off a queue",
        ["run: head -n 1 queue; sed -i 1d queue"] * 13,
        files={"queue": "".join(f"task {n * 37 % 101}\n" for n in range(13))},
    ),
    work(
        "waits for a server with pauses",
        ["run: sleep 0.1; cat pid"] * 14 + ["run: echo 4711 > pid", "run: cat pid"],
    ),
    work(
        "reads a file by pages",
        [f"run: sed -n {n * 5 + 1},{n * 5 + 5}p text" for n in range(12)],
        files={"text": "all the same\n" * 60},
    ),
    work("deletes one after the other", [f"run: rm -f part{n} && echo done" for n in range(12)]),
    work(
        "looks at a directory after each step",
        [e for n in range(7) for e in (f"run: touch f{n}", "run: ls")],
    ),
    work("a progress bar moves", [f"run: {A_BAR}"] * 12),
    work(
        "the same label for twelve texts",
        ["say: positive"] * 12,
        asked=tuple(f"Label this, positive or negative: I liked part {n}." for n in range(6)),
    ),
    work(
        "one question six times from the beginning",
        ["say: Paris."] * 8,
        asked=("What is the capital of France?",) * 6,
    ),
    work(
        "one task five times from the beginning",
        ["run: cat TODO", "say: Nothing to do."] * 5,
        asked=("Do the next thing on the list.",) * 5,
        files={"TODO": ""},
    ),
    work(
        "a conversation of six wishes",
        [e for n in range(6) for e in (f"run: echo {n} > n && cat n", "say: Done.")],
        asked=tuple(f"Set it to {n}." for n in range(6)),
        goes_on=True,
    ),
    work(
        "the same answer to eight questions",
        ["say: No."] * 8,
        asked=tuple(
            f"Is {n} invited?" for n in ("Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal")
        ),
        goes_on=True,
    ),
    work(
        "a story, told to go on",
        [
            f"say: In chapter {n} the {n}th knight rode to castle {n * 7}, where nobody was at home."
            for n in range(8)
        ],
        asked=("Tell a story.", *("Go on.",) * 7),
        goes_on=True,
    ),
    work(
        "a shell in the background is polled",
        [
            f"call: exec_command {json.dumps(A_JOB)}",
            *[f"call: write_stdin {json.dumps(A_LOOK)}"] * 8,
        ],
        agents=("codex",),
    ),
)
LOOPS = (
    loop("the same file that is not there, under a clock", ["run: cat missing; date"]),
    loop("the same failing test", ["run: python3 failing.py"], files=WRONG),
    loop(
        "after some work, the same grep",
        ["run: echo a > a", "run: cat a", "run: grep -rn needle . ; echo exit $?"],
        before=2,
    ),
    loop(
        "edit and undo",
        ["run: sed -i s/one/two/ a && cat a", "run: sed -i s/two/one/ a && cat a"],
        files={"a": "one\n"},
    ),
    loop(
        "a circle of three",
        ["run: cat a", "run: wc -c a", "run: stat -c %a a"],
        files={"a": "one\n"},
        times=9,
    ),
    loop(
        "a circle of four, under a clock",
        [
            "run: cat a; date +%T",
            "run: ls; date +%T",
            "run: id -u; date +%s",
            "run: uname; date -Ins",
        ],
        files={"a": "one\n"},
        times=7,
    ),
    loop("a tool that does not exist", ['call: browser_search {"q": "akios"}']),
    loop(
        "a traceback with new names and addresses",
        ["run: python3 -c \"import tempfile; print(object()); open(tempfile.mkdtemp() + '/x')\""],
    ),
    loop(
        "a build that says only how long it took",
        ["run: bash -c 'time (echo make: Nothing to be done.; sleep 0.0$((RANDOM%9)))' 2>&1"],
    ),
    loop(
        "a refused connection",
        [
            "run: python3 -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:9/')\""
            " 2>&1 | tail -n 1; echo pid $$"
        ],
    ),
    loop("an error with a new request id", [f'run: python3 -c "{AN_ERROR}"']),
    loop(
        "all done, told to go on",
        ["say: All done!"],
        asked=("Fix it.", *("Continue.",) * 11),
        goes_on=True,
    ),
    loop(
        "one paragraph, under another number",
        [f"say: Attempt {n}: {A_REPORT}" for n in range(12)],
        times=1,
        length=1,
        asked=("Write the report.", *("Is that final?",) * 11),
        goes_on=True,
    ),
    loop(
        "thanks and welcome",
        ["say: You are very welcome, I was happy to help you!"],
        asked=("Thank you so much!", *("Thanks again, and have a wonderful day!",) * 11),
        goes_on=True,
    ),
    loop(
        "an apology for the same answer",
        ["say: I apologize for the confusion. Here is the corrected answer: {'a': 1}"],
        asked=("Answer in JSON.", *(NO_JSON,) * 11),
        goes_on=True,
    ),
)
SCRIPTS = (*WORK, *LOOPS)
