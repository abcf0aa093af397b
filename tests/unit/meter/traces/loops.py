"""Agents that go in circles.  Each generator is one; ``talk.round`` counts the times round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from tests.unit.meter.traces import shapes
from tests.unit.meter.traces.shapes import Step, Talk
from tests.unit.meter.traces.told import RECORDED, runs

Trace = Callable[[], Iterator[Step]]
LAST = 240
TRACES: dict[str, Trace] = runs(loops=True)

THANKS = (
    "Thank you so much for all your help today!",
    "You're very welcome, I was happy to help you!",
    "Thanks again, and have a wonderful day!",
    "Likewise, take care, and always feel free to reach out!",
    "I really appreciate your kind words, thank you!",
)  # fmt: skip
PARAGRAPH = (
    "The report is complete and covers all three regions. Revenue grew in the north and fell in the "
    "south. I recommend that the team reviews the figures before the next meeting."
)
READ = ("read_file", {"path": "src/main.rs"})
TEST = ("Bash", {"command": "pytest -q tests/test_flaky.py", "description": "run the test"})


def adding_to(traces: dict[str, Trace]) -> Callable[[str], Callable[[Trace], Trace]]:
    """A decorator that puts a trace into ``traces`` under the name it is given."""

    def trace(name: str) -> Callable[[Trace], Trace]:
        def add(made: Trace) -> Trace:
            traces[name] = made
            return made

        return add

    return trace


trace = adding_to(TRACES)


def rounds(talk: Talk) -> Iterator[int]:
    """The times round a loop, noted in its requests."""
    for number in range(1, LAST):
        talk.round = number
        yield number


def opening(talk: Talk, turns: int = 3) -> Iterator[Step]:
    """Work before it goes wrong."""
    for number in range(turns):
        yield talk.use(
            ("read_file", {"path": f"src/part{number}.rs"}), f"fn part{number}() {{}}\n" * 5
        )


# ---- words ---------------------------------------------------------------------------------------

for _kind in shapes.ALL:

    @trace(f"all done, told to go on ({_kind.__name__})")
    def all_done(kind: type[Talk] = _kind) -> Iterator[Step]:
        talk = kind("Fix the failing test.")
        yield from opening(talk)
        for _ in rounds(talk):
            yield talk.say("All done!", "Continue.")

    @trace(f"one tool, one result ({_kind.__name__})")
    def one_tool(kind: type[Talk] = _kind) -> Iterator[Step]:
        talk = kind("What does main do?")
        yield from opening(talk)
        for _ in rounds(talk):
            yield talk.use(READ, "error: no such file: src/main.rs")


@trace("all done, while the harness counts the turns")
def all_done_counted() -> Iterator[Step]:
    talk = Talk("Solve the task. Say DONE when you are finished.")
    for number in rounds(talk):
        yield talk.say(
            "The task is complete.",
            f"Turn {number + 1} of 300. {299 - number} turns left. Please use a tool.",
        )


@trace("one paragraph, under a new number each time")
def numbered_paragraph() -> Iterator[Step]:
    talk = shapes.Claude("Write the report.")
    for number in rounds(talk):
        yield talk.say(f"Attempt {number}:\n\n{PARAGRAPH}", "Is that final?")


@trace("the sentences of one paragraph, in another order each time")
def shuffled_paragraph() -> Iterator[Step]:
    talk = Talk("Write the report.")
    parts = PARAGRAPH.removesuffix(".").split(". ")
    for number in rounds(talk):
        turned = [parts[(number + at * 2) % 3] for at in range(3)]
        yield talk.say(". ".join(turned) + ".", "Go on with the report.")


@trace("two agents thank each other, in the same words")
def thanks() -> Iterator[Step]:
    talk = Talk("Hello, I have booked your table.")
    for _ in rounds(talk):
        yield talk.say(THANKS[0], THANKS[1])


@trace("two agents thank each other, in turn")
def thanks_in_turn() -> Iterator[Step]:
    talk = shapes.Claude("Hello, I have booked your table.")
    for number in rounds(talk):
        yield talk.say(THANKS[number % 3], THANKS[3 + number % 2])


@trace("two agents thank each other, never twice in the same words")
def thanks_anew() -> Iterator[Step]:
    talk = shapes.Gemini("Hello, I have booked your table.")
    extra = ["so", "very", "really", "truly", "always", "again", "too"]
    for number in rounds(talk):
        more = " ".join(extra[(number >> bit) % 7] for bit in range(4))
        yield talk.say(
            f"Thank you {more}, it was great!", f"You are {more} welcome, have a nice day!"
        )


@trace("an apology, again and again")
def apology() -> Iterator[Step]:
    talk = shapes.Mistral("Give the answer as JSON.")
    for _ in rounds(talk):
        yield talk.say(
            "I apologize for the confusion. Here is the corrected answer: {'a': 1}",
            "Error: the answer is not valid JSON. Try again.",
        )


@trace("a promise that is never kept")
def promise() -> Iterator[Step]:
    talk = shapes.Codex("Run the tests.")
    for _ in rounds(talk):
        yield talk.say("I'll run the tests now.", "OK, go ahead.")


@trace("may I? yes. may I?")
def may_i() -> Iterator[Step]:
    talk = shapes.Converse("Delete the branch.")
    for _ in rounds(talk):
        yield talk.say("Shall I proceed?", "Yes.")


@trace("two answers by turns")
def two_answers() -> Iterator[Step]:
    talk = Talk("Who is right?")
    for number in rounds(talk):
        talk.round = (number + 1) // 2
        yield talk.say(
            "On reflection, the first." if number % 2 else "No, the second.", "Are you sure?"
        )


# ---- results that differ and say the same --------------------------------------------------------

for _name in RECORDED:

    @trace(f"recorded: {_name}")
    def recorded(name: str = _name) -> Iterator[Step]:
        talk = shapes.Claude("Make the test pass.")
        yield from opening(talk)
        for number in rounds(talk):
            yield talk.use(TEST, RECORDED[name][number % len(RECORDED[name])])


MOVING: dict[str, Callable[[int], str]] = {
    "attempts": lambda n: f"attempt {n} of 240 failed: connection reset by peer",
    "a bar that stands under a clock": lambda n: (
        f"\r 45%|████▌     | 45/100 [00:{n % 60:02d}<00:15, {3 + n / 7:.2f}it/s]"
    ),
    "a spinner": lambda n: "⠋⠙⠹⠸⠼⠴⠦⠧"[n % 8] + " waiting for approval",
    "a journal": lambda n: f"Nov 28 18:{n % 60:02d}:07 host app[{4000 + n}]: database is locked",
    "durations": lambda n: f"FAILED tests/test_a.py::test_x - assert 1 == 2\n1 failed in {n % 9 + 0.13:.2f}s",
    "request ids": lambda n: f'{{"error": "overloaded", "request_id": "req_011CSHoEeq{n:04d}C35K2U"}}',
    "a wall time, as Codex has it": lambda n: (
        f"Chunk ID: {n * 7919 % 0xFFFFFF:06x}\nWall time: {n / 10:.4f} seconds\n"
        "Process exited with code 1\nOriginal token count: 12\nOutput:\nno such target\n"
    ),
    "reminders of a client": lambda n: (
        f"no matches found\n<system-reminder>{n} tokens used, {999 - n} left.</system-reminder>"
    ),
}  # fmt: skip
for _name in MOVING:

    @trace(f"the same with {_name}")
    def moving(name: str = _name) -> Iterator[Step]:
        talk = shapes.Codex("Get it to work.")
        yield from opening(talk, 2)
        for number in rounds(talk):
            yield talk.use(("exec_command", {"cmd": "make deploy"}), MOVING[name](number))


# ---- circles of tools ----------------------------------------------------------------------------


def circle(talk: Talk, length: int, clock: bool = False) -> Iterator[Step]:
    steps = count()
    for _ in rounds(talk):
        for at in range(length):
            told = f" at 12:00:{next(steps) % 60:02d}" if clock else ""
            yield talk.use((f"tool{at}", {"path": "a.py", "step": at}), f"done {at}{told}")


for _length in (2, 3, 4):

    @trace(f"a circle of {_length} tools")
    def tools_in_turn(length: int = _length) -> Iterator[Step]:
        yield from circle(shapes.ALL[length]("Tidy the module."), length)


@trace("edit and undo, under a clock")
def edit_and_undo() -> Iterator[Step]:
    yield from circle(shapes.Claude("Tidy the module."), 2, clock=True)


@trace("two calls at once, again and again")
def two_at_once() -> Iterator[Step]:
    talk = shapes.Claude("Read both files.")
    for _ in rounds(talk):
        step = talk.step("", ("read", {"path": "a"}), ("read", {"path": "b"}))
        talk.results("empty", "empty")
        yield step


@trace("one message that grows by the same call and result")
def one_message() -> Iterator[Step]:
    talk = shapes.Claude("Find the bug.")
    begun = talk.body()["messages"]
    for number in rounds(talk):
        yield talk.step("", READ, keep=False)
        talk.history = list(begun)
        talk.step("", *[READ] * number)
        talk.results(*[f"error: no such file, at 12:00:{n % 60:02d}" for n in range(number)])


@trace("other words around the same call")
def other_words() -> Iterator[Step]:
    talk = shapes.Claude("Find the bug.")
    for number in rounds(talk):
        yield talk.use(
            ("grep", {"pattern": "bug"}), "", said=f"Let me look once more, idea {number * 37}."
        )


@trace("another description of the same command")
def other_description() -> Iterator[Step]:
    talk = shapes.Claude("Fix the test.")
    for number in rounds(talk):
        told = f"Run the test once more, idea {number * 37}"
        given = {"command": "pytest -q tests/test_flaky.py", "description": told}
        yield talk.use(("Bash", given), f"1 failed in 0.{number % 90 + 10}s")


@trace("arguments in another order")
def other_order() -> Iterator[Step]:
    talk = Talk("Find the bug.")
    for number in rounds(talk):
        given = '{"a": 1, "b": 2}' if number % 2 else '{"b":2,"a":1}'
        yield talk.use(("grep", given), "no matches")


@trace("a tool that does not exist")
def no_such_tool() -> Iterator[Step]:
    talk = shapes.Gemini("Look it up.")
    for _ in rounds(talk):
        yield talk.use(("browser.search", {"q": "akios"}), "unknown tool: browser.search")


# ---- conversations that do not show all ----------------------------------------------------------


@trace("an agent that remembers three turns, with tools")
def windowed_tools() -> Iterator[Step]:
    talk = shapes.Windowed("Fix it.")
    for _ in rounds(talk):
        yield talk.use(READ, "error: no such file")


@trace("an agent that remembers three turns, without")
def windowed_words() -> Iterator[Step]:
    talk = shapes.Windowed("Fix it.")
    for _ in rounds(talk):
        yield talk.say("It is fixed.", "Go on.")


@trace("an agent that forgets what it was answered")
def forgetful() -> Iterator[Step]:
    talk = shapes.Claude("Fix it.")
    yield from opening(talk, 2)
    for _ in rounds(talk):
        yield talk.step("", READ, keep=False)


@trace("an agent that begins anew each time")
def no_memory() -> Iterator[Step]:
    talk = Talk("Fix it.")
    for _ in rounds(talk):
        yield talk.step("", READ, keep=False)


@trace("waiting for what never comes")
def waiting() -> Iterator[Step]:
    talk = shapes.Claude("Wait for the server.")
    for _ in rounds(talk):
        yield talk.use(
            ("Bash", {"command": "sleep 5; cat server.pid"}), "cat: server.pid: No such file"
        )


@trace("beside a conversation that goes well")
def beside() -> Iterator[Step]:
    good, bad = shapes.Claude("Write the docs."), shapes.Claude("Fix the bug.")
    for number in rounds(bad):
        yield good.use(("write", {"path": f"docs/{number}.md"}), "written")
        yield bad.use(READ, "error: no such file")


@trace("two that are stuck, by turns")
def both_stuck() -> Iterator[Step]:
    one, other = shapes.Chained("Fix the bug."), shapes.Chained("Write the docs.")
    for number in rounds(one):
        other.round = number
        yield one.use(READ, "error: no such file")
        yield other.use(("ls", {}), "docs")


@trace("after the client made a summary of what was before")
def after_summary() -> Iterator[Step]:
    before = shapes.Claude("Fix the bug.")
    yield from opening(before, 6)
    talk = shapes.Claude("Summary: six files were read; the bug is in main.")
    for _ in rounds(talk):
        yield talk.use(TEST, RECORDED["pytest_same_failure"][0])
