"""What people of AKIOS 1.4 typed and wrote, and what it is called now: docs/from-1.4.md.

``python -m tests.unit.describe_old_words`` writes the page from the tables that the programs
themselves answer by, so that it says what they say.
"""

from __future__ import annotations

from pathlib import Path

from akiosctl.old_words import OLD
from akiosd.workflow.old_form import ON_ERROR, RENAMED
from akiosd.workflow.steps.kinds import OLD_ACTIONS, OLD_KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-1.4.md"
KEPT = (
    *("init", "run", "workflow validate", "cage up", "cage down", "cage status", "status"),
    *("protect scan", "protect preview", "protect show-prompt", "output list", "logs"),
    *("timeline", "doctor", "http", "templates"),
)
"""Verbs of AKIOS 1.4 that work under their names."""
HEAD = """# From AKIOS 1.4

Whoever types a verb of AKIOS 1.4 gets it, or one line that says what took its place. Here is all of
it. Written by `python -m tests.unit.describe_old_words` from the tables that akiosctl answers by; a
test keeps it true.

## Verbs

| AKIOS 1.4 | now |
|---|---|
"""
SAME = {
    "cage down": "the same; `--keep-data` is called `--keep-output`, and is read",
    "run": "`akiosctl run -- PROGRAM` runs a program; a file: `akiosctl workflow run FILE`",
}
"""What a verb of the same name does otherwise."""
FILES = """
## Files and directories

| AKIOS 1.4 | now |
|---|---|
| a workflow file | is read as it is; `akiosctl workflow validate FILE` says what is called otherwise |
| templates | others: `akiosctl templates list`; your own files go on |
| `data/input`, `data/output` | the same: read-only and written at once, in a workflow and in a standing cage |
| `data/output/run_TIME/` | `data/output/RUN/`, with `output.json` and a file for each step |
| keys in the environment or in a file | `sudo akiosctl keys set PROVIDER`, once a host; no key enters a cage |
| the audit log | `akiosctl ledger`: [for auditors](auditor.md) |
| the REST API | `akiosctl serve`, with tokens: `akiosctl token create`, and `/docs` of that server |

## In a workflow file

The old word is read, and `akiosctl workflow validate` names the new one.

| AKIOS 1.4 | now |
|---|---|
"""
TAIL = """
`{previous_output}`, `{step_N_output}` and `{step_N_output[KEY]}` are read as before. Four things are
not as they were, each because it hid a mistake or let a text become a command:

* An error in a condition counted as false; now it is an error of the step.
* Values were cut at 2,000 characters without a word; now nothing is cut.
* A variable `${NAME}` has to be named in `env`.
* A command of one text was read by a shell; now it is a list of words, and a text is refused.

akios-workflow(5), FILES OF AKIOS 1.4, says the same.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _keys(values: dict[str, object]) -> str:
    shown = [f"`{key}: {str(value).lower()}`" for key, value in values.items()]
    return " ".join(shown).replace("'", "") or "nothing: it is so"


def describe() -> str:
    lines = [HEAD.rstrip("\n")]
    for verb in KEPT:
        lines.append(f"| `{verb}` | {_cell(SAME.get(verb, 'the same'))} |")
    for words, now in sorted(OLD.items()):
        lines.append(f"| `{' '.join(words)}` | {_cell(now)} |")
    lines.append(FILES.rstrip("\n"))
    lines.append("| `step: N` | the same; a `name` says more |")
    lines += [f"| `{old}` | `{new}` |" for old, new in RENAMED.items()]
    lines += [f"| `on_error: {word}` | {_keys(now)} |" for word, now in ON_ERROR.items()]
    lines += [f"| `agent: {old}` | `agent: {new}` |" for old, new in OLD_KINDS.items()]
    lines += [
        f"| `action: {old}` of {agent} | `action: {new}` |"
        for (agent, old), new in sorted(OLD_ACTIONS.items())
    ]
    lines.append("| `config.api_key` of llm | `sudo akiosctl keys set PROVIDER` |")
    return "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    PAGE.write_text(describe())
