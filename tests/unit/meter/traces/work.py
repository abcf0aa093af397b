"""Agents and programs that work, however alike their calls are.  Each generator is one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.unit.meter.traces import shapes
from tests.unit.meter.traces.loops import PARAGRAPH, Trace, adding_to, opening
from tests.unit.meter.traces.shapes import Step, Talk
from tests.unit.meter.traces.told import RECORDED, runs

TRACES: dict[str, Trace] = runs(loops=False)

trace = adding_to(TRACES)


def bash(command: str, **more: Any) -> tuple[str, Any]:
    return "Bash", {"command": command, "description": "run it", **more}


def one_shot(
    asked: str, said: str = "", *calls: tuple[str, Any], kind: type[Talk] = Talk, **more: Any
) -> Step:
    return kind(asked, **more).step(said, *calls)


# ---- polls ---------------------------------------------------------------------------------------


def wall(number: int, output: str) -> str:
    return (
        f"Chunk ID: {number * 7919 % 0xFFFFFF:06x}\nWall time: 30.0{number:02d} seconds\n"
        f"Process running with session ID 4711\nOriginal token count: 9\nOutput:\n{output}"
    )


POLLS: dict[str, Callable[[int], str]] = {
    "a build": lambda n: f"   Compiling crate-{chr(97 + n)} v0.{n}.1",
    "a bar in percent": lambda n: f"\r {n * 4}%|{'█' * n} | {n * 4}/100 [00:{n:02d}<00:15, 3.{n}it/s]",
    "a bar in megabytes": lambda n: f"\r     ━━━━━━━━━━━━ {n}.5/91.2 MB 11.{n} MB/s eta 0:00:{25 - n:02d}",
    "steps of an image": lambda n: f"Step {n + 1}/24 : RUN make part\n ---> Running in {n * 7919:012x}",
    "a training": lambda n: f"2026-11-28 18:00:{n:02d} epoch 1 iter {n * 50} loss {2 / (n + 1):.4f}",
    "heartbeats": lambda n: "".join(f"12:00:{s:02d} still at work\n" for s in range(n + 1)),
    "tests that ran": lambda n: f"tests/test_a.py {'.' * (n + 1)}",
    "a queue that empties": lambda n: f"pending: {25 - n}, done: {n}",
    "a file that grows": lambda n: f"-rw-r--r-- 1 ada ada {4096 * (n + 1)} Nov 28 18:00 out.bin",
    "a state": lambda n: '{"status": "' + ("queued" if n < 6 else "running" if n < 13 else "done") + '"}',
    "a digest": lambda n: hashlib.sha256(bytes([n])).hexdigest() + "  out.bin",
    "rows so far": lambda n: f"INFO {n * 1000} rows imported",
}  # fmt: skip

for _name in POLLS:

    @trace(f"Codex polls {_name}")
    def codex_polls(name: str = _name) -> Iterator[Step]:
        talk = shapes.Codex("Build it.")
        yield talk.use(("exec_command", {"cmd": "make"}), wall(0, ""))
        for number in range(20):
            result = wall(number, POLLS[name](number))
            yield talk.use(("write_stdin", {"session_id": 4711, "chars": ""}), result)

    @trace(f"Claude Code polls {_name}")
    def claude_polls(name: str = _name) -> Iterator[Step]:
        talk = shapes.Claude("Build it.")
        for number in range(20):
            yield talk.use(bash("tail -n 40 build.log"), POLLS[name](number))


@trace("Codex waits for a build that prints nothing")
def quiet_build() -> Iterator[Step]:
    talk = shapes.Codex("Build it.")
    for number in range(24):
        yield talk.use(("write_stdin", {"session_id": 4711, "chars": ""}), wall(number, ""))
    yield talk.use(("write_stdin", {"session_id": 4711, "chars": ""}), wall(25, "done"))


@trace("Claude Code waits for a shell in the background")
def background_shell() -> Iterator[Step]:
    talk = shapes.Claude("Build it.")
    for _ in range(24):
        yield talk.use(("BashOutput", {"bash_id": "bash_1"}), "<status>running</status>")


@trace("a pod that is pending, watched with pauses")
def pending_pod() -> Iterator[Step]:
    talk = shapes.Claude("Deploy it.")
    for number in range(24):
        told = f"NAME READY STATUS RESTARTS AGE\nweb-1 0/1 Pending 0 {number * 30}s"
        yield talk.use(bash("sleep 30 && kubectl get pods"), told)


@trace("a site that is up, watched for an hour")
def uptime() -> Iterator[Step]:
    talk = Talk("Tell me when it goes down.")
    for _ in range(24):
        yield talk.use(("wait", {"seconds": 120}), "waited")
        yield talk.use(("http_get", {"url": "https://example.org"}), "200 OK")


@trace("a job of the provider's, chained")
def chained_poll() -> Iterator[Step]:
    talk = shapes.Chained("Start the job.")
    for number in range(20):
        yield talk.use(
            ("get_job", {"id": "j1"}), f'{{"state": "running", "progress": {number * 5}}}'
        )


@trace("two chained conversations poll the same, by turns")
def two_chained() -> Iterator[Step]:
    talks = [shapes.Chained("Watch it."), shapes.Chained("Watch it.")]
    for _ in range(6):
        for talk in talks:
            yield talk.use(("get_job", {"id": "j1"}), '{"state": "queued"}')


# ---- tests and edits -----------------------------------------------------------------------------


@trace("Claude Code runs a flaky test until it shows")
def flaky() -> Iterator[Step]:
    talk = shapes.Claude("Find the flake.")
    for number in range(20):
        told = (
            RECORDED["pytest_same_failure"][number % 12]
            if number % 7 == 6
            else f"2 passed in 0.{number + 11}s"
        )
        yield talk.use(bash("pytest -q tests/test_flaky.py"), told)


@trace("a test fails the same six times, then passes")
def fails_six_times() -> Iterator[Step]:
    talk = shapes.Claude("Find the flake.")
    for number in range(6):
        yield talk.use(bash("pytest -q"), RECORDED["pytest_same_failure"][number])
    yield talk.use(bash("pytest -q"), "2 passed in 0.11s")


@trace("edits, and the same failure after each")
def edits() -> Iterator[Step]:
    talk = shapes.Claude("Make it pass.")
    for number in range(14):
        yield talk.use(
            ("Edit", {"file": "a.py", "old": f"x{number}", "new": f"x{number + 1}"}), "updated"
        )
        yield talk.use(bash("pytest -q"), RECORDED["pytest_same_failure"][number % 12])


@trace("a failure less after each edit")
def fewer_failures() -> Iterator[Step]:
    talk = shapes.Codex("Make it pass.")
    for number in range(14):
        yield talk.use(("apply_patch", {"patch": f"@@ {number}"}), "Success. Updated a.py")
        yield talk.use(
            ("shell", {"command": ["pytest"]}), f"{14 - number} failed, {number} passed in 1.2s"
        )


@trace("twelve files written")
def files_written() -> Iterator[Step]:
    talk = shapes.Gemini("Write the modules.")
    for number in range(12):
        yield talk.use(
            ("write_file", {"path": f"m{number}.py", "text": "x"}), "File created successfully"
        )


@trace("twelve things deleted, by their ids")
def things_deleted() -> Iterator[Step]:
    talk = shapes.Converse("Delete the old ones.")
    for number in range(12):
        given = {"id": f"{number * 7919:08x}-0000-4000-8000-{number:012x}"}
        yield talk.use(("delete", given), "ok")


@trace("twelve times of day looked up")
def times_looked_up() -> Iterator[Step]:
    talk = Talk("When is a room free?")
    for number in range(12):
        yield talk.use(("is_free", {"at": f"2026-11-28T{8 + number:02d}:00:00Z"}), "no")


# ---- pages ---------------------------------------------------------------------------------------


@trace("pages by a cursor")
def pages_by_cursor() -> Iterator[Step]:
    talk = shapes.Mistral("List all.")
    for number in range(15):
        yield talk.use(
            ("list", {"cursor": f"{number * 104729:016x}"}), f"20 items, next {number + 1}"
        )


@trace("the next page, please")
def next_page() -> Iterator[Step]:
    talk = shapes.Claude("Read the book.")
    for number in range(15):
        yield talk.use(("next_page", {}), f"Page {number}. " + PARAGRAPH[number:])


@trace("the next task of a queue")
def next_task() -> Iterator[Step]:
    talk = Talk("Empty the queue.")
    for number in range(15):
        yield talk.use(
            ("claim_next", {}), f"task {number}: send the letter to client {number * 13}"
        )
        yield talk.use(("complete", {}), "ok")


@trace("clicks through a site")
def clicks() -> Iterator[Step]:
    talk = shapes.Ollama("Find the price.")
    for number in range(12):
        yield talk.use(
            ("click", {"selector": "a.next"}),
            f"<h1>Products {number * 20} to {number * 20 + 19}</h1>",
        )


# ---- batches -------------------------------------------------------------------------------------

LABEL = ("label", {"sentiment": "positive"})
for _kind in (Talk, shapes.Claude, shapes.Gemini, shapes.Codex):

    @trace(f"a structured-output library labels twelve texts ({_kind.__name__})")
    def labels(kind: type[Talk] = _kind) -> Iterator[Step]:
        for number in range(12):
            yield one_shot(f"Label this: I liked part {number}.", "", LABEL, kind=kind)


@trace("thirty rows of which all are empty")
def empty_rows() -> Iterator[Step]:
    for _ in range(30):
        yield one_shot("Label this: ", "", ("label", {"sentiment": "neutral"}), temperature=0)


@trace("three hundred rows of five kinds")
def rows_of_five_kinds() -> Iterator[Step]:
    for number in range(300):
        yield one_shot(f"Label this: {number * number % 11}", "", LABEL, temperature=0)


@trace("one question ten times at temperature 1")
def ten_samples() -> Iterator[Step]:
    for number in range(10):
        yield one_shot(
            "Name a fruit.", ["Apple.", "Pear.", "Plum."][number * number % 3], temperature=1
        )


@trace("one question ten times, and always the same answer")
def ten_equal_samples() -> Iterator[Step]:
    for _ in range(10):
        yield one_shot("What is the capital of France?", "Paris.", temperature=1)


@trace("a vote of forty")
def vote() -> Iterator[Step]:
    for _ in range(40):
        yield one_shot("Is this spam? Yes or no: WIN NOW", "Yes.", temperature=1)


@trace("ten samples begun at once")
def samples_at_once() -> Iterator[Step]:
    for number in range(10):
        yield begun(one_shot("Is 7 prime?", "Yes."), number > 0)


def begun(step: Step, together: bool) -> Step:
    step.together = together
    return step


@trace("examples before each of fifteen questions")
def few_shot() -> Iterator[Step]:
    for number in range(15):
        talk = Talk("great film")
        talk.step("positive")
        talk.tell("bad film")
        talk.step("negative")
        talk.tell(f"film {number} was good")
        yield talk.step("positive")


@trace("examples that are all alike, before one question ten times")
def few_shot_again() -> Iterator[Step]:
    for _ in range(10):
        talk = Talk("great film")
        for asked in ("good film", "fine film", "nice film"):
            talk.step("positive")
            talk.tell(asked)
        yield talk.step("positive")


@trace("chunks of a long text, one prompt")
def chunks() -> Iterator[Step]:
    for number in range(30):
        yield one_shot(
            f"Summarise: chapter {number}", f"A summary of {number}.", kind=shapes.Gemini
        )


@trace("an answer that cannot be parsed is asked for again")
def parse_again() -> Iterator[Step]:
    for number in range(4):
        yield one_shot("Give JSON.", "Sure! {" if number < 3 else "{}")


@trace("the same step of an agent asked for again three times")
def step_again() -> Iterator[Step]:
    talk = shapes.Claude("Fix it.")
    yield from opening(talk)
    for _ in range(3):
        yield talk.step("", ("edit", {"file": ""}), keep=False)
    yield talk.use(("edit", {"file": "a.py"}), "updated")


@trace("eight samples of an agent's next step")
def tree_search() -> Iterator[Step]:
    talk = Talk("Fix it.")
    yield from opening(talk)
    for number in (1, 1, 2, 1, 1, 1, 3, 1):
        yield talk.step("", ("edit", {"line": number}), keep=False)


# ---- embeddings ----------------------------------------------------------------------------------


def embed(provider: str, target: str, body: dict[str, Any], usage: dict[str, Any]) -> Step:
    return Step(provider, target, body, {"data": [{"embedding": [0.1]}], **usage})


@trace("the same text embedded five times")
def embedded() -> Iterator[Step]:
    body = {"model": "text-embedding-3-small", "input": "hello"}
    for _ in range(5):
        yield embed(
            "openai", "/v1/embeddings", body, {"usage": {"prompt_tokens": 1, "total_tokens": 1}}
        )


@trace("the same text embedded two hundred times, by three providers")
def embedded_often() -> Iterator[Step]:
    for provider, target, body in (
        ("openai", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "hello"}),
        ("mistral", "/v1/embeddings", {"model": "mistral-embed", "input": ["hello"]}),
        ("ollama", "/api/embed", {"model": "nomic-embed-text", "input": "hello"}),
    ):
        for _ in range(67):
            yield embed(provider, target, body, {})


# ---- what failed ---------------------------------------------------------------------------------


@trace("sent again after 429, twenty times")
def after_429() -> Iterator[Step]:
    talk = shapes.Claude("Fix it.")
    yield from opening(talk)
    for _ in range(20):
        yield talk.step("", LABEL, keep=False, outcome="failed")
    yield talk.use(LABEL, "ok")


@trace("sent again after answers that broke off")
def after_cut() -> Iterator[Step]:
    talk = shapes.Codex("Fix it.")
    yield from opening(talk)
    for _ in range(8):
        yield talk.step("half an", LABEL, keep=False, outcome="cut")
    yield talk.use(LABEL, "ok")


# ---- several conversations -----------------------------------------------------------------------


@trace("two conversations poll the same, by turns")
def two_by_turns() -> Iterator[Step]:
    talks = [shapes.Claude("Watch it."), shapes.Claude("Watch it.")]
    for _ in range(6):
        for talk in talks:
            yield talk.use(bash("cat state"), "queued")


@trace("ten helpers with one task begin alike")
def ten_helpers() -> Iterator[Step]:
    talks = [shapes.Claude("Review the change.") for _ in range(10)]
    for _ in range(2):
        for talk in talks:
            yield talk.use(bash("git diff"), "+x")
    for number, talk in enumerate(talks):
        yield talk.use(bash(f"cat {number}"), "x")


@trace("one prompt, twenty times from the beginning")
def from_the_beginning() -> Iterator[Step]:
    for _ in range(20):
        talk = shapes.Claude("Do the next thing on the list.")
        yield talk.use(bash("cat TODO"), "1. docs")
        yield talk.use(bash("make docs"), "ok")


# ---- people --------------------------------------------------------------------------------------


@trace("a story, told to go on fifteen times")
def story() -> Iterator[Step]:
    talk = Talk("Tell a story.")
    for number in range(15):
        yield talk.say(
            f"Chapter {number * 3}: the {number}th knight rode on to castle {number * 7}.",
            "Continue.",
        )


@trace("a quiz of twenty questions")
def quiz() -> Iterator[Step]:
    talk = shapes.Gemini("Ask me.")
    for number in range(20):
        yield talk.say(f"Correct! What is {number} times {number + 3}?", str(number * (number + 3)))


@trace("yes to everything")
def yes_to_everything() -> Iterator[Step]:
    talk = shapes.Converse("Clean up.")
    for number in range(15):
        yield talk.say(f"Shall I remove module {number}?", "Yes.")


@trace("the same answer to twelve questions")
def same_answer() -> Iterator[Step]:
    talk = shapes.Ollama("Is Anna invited?")
    for name in ("Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Jo", "Kim", "Lea"):
        yield talk.say("No.", f"Is {name} invited?")


@trace("a coin flipped twelve times")
def coin() -> Iterator[Step]:
    talk = Talk("Flip a coin.")
    for side in "HTTHTHHHTTHT":
        yield talk.say("Heads." if side == "H" else "Tails.", "Flip.")


@trace("thanks at the end of each of six tasks")
def thanks_after_tasks() -> Iterator[Step]:
    talk = shapes.Claude("Rename a.")
    for number in range(6):
        yield talk.use(("rename", {"name": f"n{number}"}), "renamed")
        yield talk.say(
            "You are very welcome, I was happy to help!", f"Thank you! Now rename {number}."
        )
