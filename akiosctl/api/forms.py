"""The forms of answers that only the API has; the others are those of ``--json``
(``akiosctl.help.schemas``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from akiosctl.help.schemas import (
    Cage,
    Commit,
    ExplainedWorkflow,
    Finding,
    Form,
    KeptRun,
    Question,
    Record,
    Report,
    TakenDown,
)

Text = Annotated[str, Meta(pattern="^[^\\x00]*$", max_length=1 << 17)]
"""What may be an argument, a variable or a path: no NUL."""
Setting = Annotated[str, Meta(pattern="^[^\\x00]*$", max_length=64)]


class GivenFile(Form):
    """A file of a new cage, in the directory where its programs start.  ``text``, or the bytes in
    ``base64``.
    """

    path: Annotated[str, Meta(pattern="^[^\\x00]+$", max_length=1024)]
    text: str = ""
    base64: Annotated[str, Meta(pattern="^[A-Za-z0-9+/=]*$")] = ""
    executable: bool = False


class NewCage(Form):
    """A cage that runs ``argv``; or with ``standing`` one that stands until it is taken down, and
    has a ``name`` then.

    ``workspace`` is a directory of the user's, of which the cage shows a copy; without it the cage
    gets a directory of its own, with ``files``, which goes with it.  ``cwd`` is below it.
    ``policy`` is a profile, or ``policy_text`` a policy in YAML; the settings are written as on the
    command line.  ``stdin`` is text, ``stdin_base64`` bytes.  ``discard``: keep nothing of what it
    changes.
    """

    argv: Annotated[list[Text], Meta(max_length=4096)] = []
    standing: bool = False
    name: Annotated[str, Meta(pattern="^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")] = ""
    workspace: Annotated[str, Meta(pattern="^(/[^\\x00]*)?$", max_length=4096)] = ""
    files: Annotated[list[GivenFile], Meta(max_length=1000)] = []
    cwd: Annotated[str, Meta(pattern="^[^\\x00]*$", max_length=4096)] = ""
    env: dict[Annotated[str, Meta(pattern="^[^=\\x00]+$", max_length=1024)], Text] = {}
    stdin: str = ""
    stdin_base64: Annotated[str, Meta(pattern="^[A-Za-z0-9+/=]*$")] = ""
    policy: Literal["", "default", "strict", "permissive-dev"] = ""
    policy_text: str = ""
    mode: Literal["", "cow", "rw", "ro"] = ""
    memory: Setting = ""
    pids: Setting = ""
    cpu: Setting = ""
    disk: Setting = ""
    budget: Setting = ""
    timeout: Setting = ""
    trace: Literal["", "none", "security", "files", "all"] = ""
    discard: bool = False
    allow_degraded: bool = False


class NewProgram(Form):
    """A program for a standing cage.  ``timeout_seconds``: it is killed after that."""

    argv: Annotated[list[Text], Meta(min_length=1, max_length=4096)]
    cwd: Annotated[str, Meta(pattern="^[^\\x00]*$", max_length=4096)] = ""
    env: dict[Annotated[str, Meta(pattern="^[^=\\x00]+$", max_length=1024)], Text] = {}
    stdin: str = ""
    stdin_base64: Annotated[str, Meta(pattern="^[A-Za-z0-9+/=]*$")] = ""
    timeout_seconds: Annotated[float, Meta(gt=0, le=86400)] = 3600


class NewAnswer(Form):
    """A yes or no to what a workflow asks; the workflow sees the ``comment``."""

    yes: bool
    comment: Annotated[str, Meta(max_length=2000)] = ""


class NewWorkflowRun(Form):
    """A run of a workflow: its ``text``, or a ``file`` of the project or the name of a template.

    ``workspace`` is the project, a directory of the user's; without it the run gets a directory of
    its own, with ``files``.  ``inputs`` are values by name.
    """

    text: Annotated[str, Meta(max_length=256 << 10)] = ""
    file: Annotated[str, Meta(pattern="^[^\\x00]*$", max_length=4096)] = ""
    workspace: Annotated[str, Meta(pattern="^(/[^\\x00]*)?$", max_length=4096)] = ""
    files: Annotated[list[GivenFile], Meta(max_length=1000)] = []
    inputs: dict[str, Any] = {}


class NewResumption(Form):
    """``from_step``: it and what needs it is done again.  ``repeat``: so is what may have been done
    already, of which nobody knows; it may be done twice then.
    """

    from_step: Annotated[str, Meta(max_length=128)] = ""
    repeat: bool = False


class WorkflowMistake(Form):
    """``line`` and ``column`` of the text; 0 where it is about all of it."""

    what: str
    where: str
    next: str
    line: int
    column: int


class WorkflowChecked(Form):
    """``errors`` are all mistakes, ``notes`` what a file of AKIOS 1.4 has that is called otherwise
    now.  Without mistakes there is a ``plan``, and its ``order``: ranks of steps, each after all
    that it needs.
    """

    ok: bool
    errors: list[WorkflowMistake]
    notes: list[str]
    plan: ExplainedWorkflow | None
    order: list[list[str]]


class InstanceNow(Form):
    """One instance of a step; a step without a matrix has one.  ``attempt`` is the last one, and
    ``cage`` where it is done.  ``not heard of``: begun, and its result is not known.  ``denials``
    and ``redactions`` are those of its cage.
    """

    instance: int
    attempt: int
    state: Literal["done", "failed", "running", "not heard of"]
    cage: str
    started_ns: int
    seconds: float
    usd_micro: int
    tokens: int
    calls: int
    denials: int
    redactions: int
    why: str
    next: str


class StepNow(Form):
    """A step of a run; ``does`` says in words of what kind it is.  ``asking``: it waits for a
    person; ``trying again``: it failed, and has attempts left; ``left out``: its condition is
    false; ``not begun``: the run ended before.
    """

    name: str
    agent: str
    action: str
    does: str
    needs: list[str]
    line: int
    condition: str
    matrix: list[str]
    attempts: int
    state: Literal[
        "waiting",
        "running",
        "asking",
        "trying again",
        "done",
        "failed",
        "not heard of",
        "left out",
        "not begun",
    ]
    instances: list[InstanceNow]


class WorkflowNow(Form):
    """A run as it is.  ``unfinished``: nobody drives it any more, and it can be gone on with.
    ``here``: this server drives it.  ``why``: what ended it besides its steps, or keeps it from
    being gone on with without ``repeat``.  ``order``: ranks of steps; empty where the text of the
    workflow is not known any more, and then only steps that were begun are listed.  ``ended_ns`` is
    0 while it goes on.  ``complete``: all records of its cages were counted; if not, ask again.
    """

    run: str
    workflow: str
    description: str
    state: Literal["going on", "success", "failed", "unfinished"]
    here: bool
    why: str
    workspace: str
    at_ns: int
    started_ns: int
    ended_ns: int
    usd_micro: int
    tokens: int
    calls: int
    denials: int
    redactions: int
    complete: bool
    order: list[list[str]]
    steps: list[StepNow]
    questions: list[Question]


class QuestionList(Form):
    """What workflows ask, the oldest first."""

    questions: list[Question]


class RunList(Form):
    """Runs of workflows, the oldest first."""

    runs: list[KeptRun]


class ProgramDone(Form):
    """How a program ended, and what it printed: as text with what is no UTF-8 escaped, and in
    base64.  ``left_out``: bytes that were not kept, from the middle.
    """

    exit_code: int
    kind: str
    reason: str
    stdout: str
    stdout_base64: str
    stderr: str
    stderr_base64: str
    left_out: int


class OutputPiece(Form):
    """As ``akiosctl logs --json`` prints it."""

    time_ns: int
    offset: int
    text: str
    text_base64: str


class OutputPage(Form):
    """``next`` is the offset behind the last piece; what lies between pieces was not kept.
    ``running``: more may come.
    """

    cage: str
    pieces: list[OutputPiece]
    next: int
    running: bool


class Written(Form):
    """Bytes that were written, and where."""

    path: str
    bytes: int


class Health(Form):
    """``akiosd`` is ``away`` when it does not answer; ``next`` then says what helps to who has a
    token.
    """

    status: Literal["ok", "degraded"]
    akiosd: Literal["running", "away"]
    next: str


class Version(Form):
    software: str
    api: str


class CagePage(Form):
    """``next``: the cursor of the next page; None on the last."""

    cages: list[Cage]
    next: str | None


class RecordPage(Form):
    """``next``: the cursor of the next page; None where the log ends for now.  A page may hold
    fewer records than were asked for, or none, and not be the last.
    """

    log: str
    records: list[Record]
    next: str | None


class Consistency(Form):
    """That the tree of ``old_size`` leaves is the beginning of the one of ``size`` (RFC 6962,
    2.1.2); hashes are hexadecimal.
    """

    origin: str
    old_size: int
    size: int
    root: str
    path: list[str]
    checkpoint: str
    vkey: str


class Progress(Form):
    """In steps of the work; ``total`` is 0 while it is not known."""

    done: int
    total: int


class JobError(Form):
    what: str
    where: str
    next: str


class Job(Form):
    """Slow work.  ``error`` is there when it ``failed``, and a ``result`` when it is ``done``."""

    id: str
    about: str
    state: Literal["running", "done", "failed"]
    created_ns: int
    progress: Progress
    error: JobError | None


class VerifyJob(Job):
    """A verification."""

    kind: Literal["verify"]
    result: Report | None


class CommitJob(Job):
    """A commit."""

    kind: Literal["commit"]
    result: Commit | None


class DownJob(Job):
    """A standing cage is taken down."""

    kind: Literal["down"]
    result: TakenDown | None


class ExecJob(Job):
    """A program in a standing cage."""

    kind: Literal["exec"]
    result: ProgramDone | None


class PolicyLayer(Form):
    layer: str
    file: str


class PolicyList(Form):
    """``layers`` hold for every run, the administrator's first; ``names`` can be explained: what
    they give alone, and with each profile.
    """

    layers: list[PolicyLayer]
    names: list[str]


class PolicyChecked(Form):
    """``widens``: what the system policy would not let a project ask for."""

    ok: Literal[True]
    widens: list[str]


class TextFindings(Form):
    """Where personal data is in a text, never what it is."""

    findings: list[Finding]


class MaskedText(Form):
    text: str
    findings: int


class SessionMade(Form):
    """The cookie is in the headers."""

    scopes: list[str]
    expires_ns: int


class Gone(Form):
    """Nothing is left of it."""

    removed: Literal[True]
