"""A program that prints nothing for long is waited for, and another has a time that it misses; what
is awaited comes from outside.
"""

from __future__ import annotations

import threading

from akiosctl import Cage, ProgramTimeout

UNTIL_GO = "touch up; while [ ! -e go ]; do sleep 0.1; done; echo late; exit 7"
told = []

with Cage(name="waits") as cage:
    late = threading.Thread(target=lambda: told.append(cage.run("sh", "-c", UNTIL_GO)))
    late.start()
    cage.run("sh", "-c", "while [ ! -e up ]; do sleep 0.1; done")
    program = cage.start("sleep", "1000")
    print("up", flush=True)
    input()  # akiosd is away
    try:
        program.collect(timeout=0.1)
    except ProgramTimeout:
        print("timeout", flush=True)
    late.join()
    (done,) = told
    print(done.exit_code, done.text, end="")
    ends = [event for event in cage.events() if event["kind"] == "program_ended"]
    assert [end["exit_code"] for end in ends if end["program"] == program.number] == [137], ends
