"""The JSON that each verb prints, as types: ``akiosctl schema`` prints them as JSON Schema.

A test holds what every verb really prints against its row (tests/e2e/test_examples.py). Money is in
millionths of a dollar (``usd_micro``), sizes are in bytes, times in nanoseconds (``_ns``), points
in time nanoseconds since 1970. Text of unknown origin is escaped: what nobody could see stands as
``\\xNN``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from akiosd.values import policy
from akiosd.values.usage import Usage


class Form(msgspec.Struct, forbid_unknown_fields=True):
    """All fields are always there, but those that have a default here."""


class Subject(Form):
    name: str
    count: int


class DeniedGroup(Form):
    """One kind of denial, and the setting that would allow it."""

    rule: str
    what: str
    count: int
    subjects: list[Subject]
    advice: str
    setting: str
    files: list[str]
    who: str


class RunReport(Form):
    """The last line on standard error; standard output is the agent's."""

    cage: str
    exit_code: int
    kind: str
    reason: str
    changes: bool
    usage: Usage
    denied: list[DeniedGroup]


class Running(Form):
    """A cage that was left running: of ``run --detach`` on standard output, of the keys that leave
    a terminal as the last line on standard error.  ``name`` is what ``--name`` gave it.
    """

    cage: str
    name: str


class Cage(Form):
    """``settled``: what became of its changes, where they do not wait; ``expires_ns``: when those
    that wait are destroyed, 0 for never; ``output``: bytes on disk that are kept of what it wrote.
    """

    cage: str
    name: str
    uid: int
    user: str
    state: str
    argv: list[str]
    workspace: str
    started_ns: int
    ended_ns: int
    exit_code: int
    reason: str
    changes: bool
    settled: Literal["", "committed", "discarded", "expired"]
    expires_ns: int
    output: int
    pid: int
    tty: bool
    detached: bool
    usd_micro: int
    calls: int
    outdated: bool
    standing: bool
    programs: int


class MeasuredCage(Form):
    """A running cage at this moment: bytes, processes, and money in millionths of a dollar beside
    their limits, 0 for none.  ``cpu_percent`` is 100 for one processor; ``redactions`` are pieces
    of personal data that did not leave.
    """

    cage: str
    name: str
    user: str
    state: str
    argv: list[str]
    started_ns: int
    cpu_percent: float
    cpu_limit_percent: int
    memory: int
    memory_limit: int
    disk: int
    disk_limit: int
    pids: int
    pids_limit: int
    usd_micro: int
    reserved_usd_micro: int
    budget_usd_micro: int
    calls: int
    tokens: int
    redactions: int
    denials: int
    programs: int


class StandingCage(Form):
    """``state``: up, paused, down, or what it is on its way to; ``reason``: why it is down."""

    cage: str
    name: str
    state: str
    programs: int
    workspace: str
    started_ns: int
    ended_ns: int
    reason: str
    changes: bool
    usd_micro: int
    calls: int


class ProgramOfCage(Form):
    """``pid`` is its number inside; ``exit_code`` and ``reason`` are those of one that ended."""

    number: int
    state: Literal["starting", "running", "ended"]
    argv: list[str]
    pid: int
    tty: bool
    started_ns: int
    ended_ns: int
    exit_code: int
    reason: str


class StandingStatus(Form):
    """``data``: where input and output lie.  ``usage``, ``limits`` and ``budget`` are null, and
    ``posture`` and ``programs`` empty, for a cage that is down.
    """

    cage: str
    name: str
    state: str
    reason: str
    changes: bool
    data: dict[str, str]
    usage: Usage | None
    limits: policy.Limits | None
    budget: policy.Budget | None
    posture: list[Layer]
    left_out: list[Literal["pii", "audit", "budget"]]
    programs: list[ProgramOfCage]


class TakenDown(Form):
    """What was destroyed of ``data/output``, or with ``dry_run`` would be; ``spared`` have a name
    elsewhere and were not overwritten, nor were ``failed``; ``left`` is still there.
    """

    cage: str
    name: str
    files: int
    bytes: int
    spared: list[str]
    failed: list[str]
    left: list[str]
    dry_run: bool


class NotCopied(Form):
    path: str
    why: str


class Copied(Form):
    """Of what was skipped the first thousand are named; ``skipped_count`` counts all."""

    files: int
    bytes: int
    skipped: list[NotCopied]
    skipped_count: int


class CageNames(Form):
    """The cages that it was done to."""

    cages: list[str]


class Output(Form):
    """A piece of the output.  Bytes that are no UTF-8 stand as ``\\xNN`` in ``text``;
    ``text_base64`` is exact.
    """

    time_ns: int
    offset: int
    text: str
    text_base64: str


class Missing(Form):
    """So many bytes of the output, from ``offset`` on, are not kept."""

    missing: int
    offset: int


class ModelUse(Form):
    model: str
    calls: int
    usd_micro: int
    input_tokens: int
    output_tokens: int


class OpenCall(Form):
    model: str
    usd_micro: int
    age_ns: int


class Spent(Form):
    """Of an ended cage."""

    cage: str
    ended: Literal[True]
    usd_micro: int
    calls: int


class Spending(Form):
    cage: str
    limits: policy.Budget
    """As in akios-policy(5); 0 is no limit."""
    usd_micro: int
    reserved_usd_micro: int
    left_usd_micro: int | None
    input_tokens: int
    output_tokens: int
    reserved_tokens: int
    calls: int
    open_calls: int
    shared_usd_micro: int
    """What workflows for this cage spent, beside ``usd_micro``; so with tokens and calls."""
    shared_tokens: int
    shared_calls: int
    refused: int
    minute_usd_micro: int
    minute_requests: int
    models: list[ModelUse]
    open: list[OpenCall]
    ending: str


class Change(Form):
    """``path`` is for reading, ``path_base64`` is exact; ``mode`` is octal."""

    kind: str
    path: str
    path_base64: str
    type: str
    size: int
    mode: str
    target: str = ""
    target_base64: str = ""
    renamed_from: str = ""
    renamed_from_base64: str = ""
    detail: str = ""
    refused: str = ""
    """Why a commit would leave it out."""


class Diff(Form):
    cage: str
    workspace: str
    changes: list[Change]


class Skipped(Form):
    path: str
    reason: str


class Commit(Form):
    """``kept`` names the directory with the old files after a ``failure``."""

    cage: str
    workspace: str
    committed: int
    skipped: list[Skipped]
    kept: str
    failure: str
    notes: list[str]


class Discarded(Form):
    """``notes``: what was not overwritten."""

    cages: list[str]
    notes: list[str]


class Why(Form):
    """``same_policy``: the cage had the policy that a run from here would have now."""

    cage: str
    same_policy: bool
    denied: list[DeniedGroup]


class Record(msgspec.Struct):
    """One record; its further fields are those of its kind in akios-events(5)."""

    log: str
    index: int
    ts: int
    kind: str


class Gap(Form):
    """Records that were not sent: from the first number up to, but without, the second."""

    log: str
    gap: tuple[int, int]


class Anchor(Form):
    name: str
    size: int


class Report(Form):
    """The verdict on a log, and what it rests on."""

    verdict: str
    exit_code: int
    origin: str
    size: int
    minimum: int
    root: str
    anchored_to: str
    anchors: list[Anchor]
    first_bad: str
    detail: str
    notes: list[str]
    vkey: str


class Verified(Report):
    rebuilt: list[str] = []
    """With --rebuild-tiles."""


class VerifiedAll(Form):
    """With --all; by the name of the log."""

    exit_code: int
    logs: dict[str, Report]


class Exported(Form):
    verified: Report
    vkey: str
    checkpoint: str
    records: list[Record]


class Archive(Form):
    archive: str
    bytes: int


class Stats(Form):
    """``kinds``: kind of record → how many, and their bytes."""

    origin: str
    size: int
    minimum: int
    root: str
    bytes: int
    files: int
    first_ts: int
    last_ts: int
    kinds: dict[str, tuple[int, int]]


class Checkpoint(Form):
    origin: str
    size: int
    root: str
    note: str
    vkey: str


class LogKey(Form):
    origin: str
    vkey: str
    key_id: str


class Proof(Form):
    index: int
    origin: str
    path: list[str]
    vkey: str
    proof: str


class VerifiedProof(Report):
    index: int
    record: Record | None


class Pinned(Report):
    pinned: str | None


class Witnessed(Report):
    """``cosigned``: name of the witness → seconds since 1970."""

    cosigned: dict[str, int]
    checkpoint: str


class Rotated(Form):
    origin: str
    vkey: str
    checkpoint: str


class Destroyed(Form):
    cage: str
    files: int
    bytes: int
    spared: list[str]
    size: int
    root: str


class Pruned(Form):
    cages: list[str]
    bytes: int
    kept: int
    dry_run: bool
    failed: dict[str, str]


class Setting(Form):
    """One value of a policy and the layer, file and line that gave it."""

    value: Any
    layer: str
    file: str
    line: int


class Preset(Form):
    """A list of names that ``network.presets`` knows."""

    looked_at: str
    what: str
    names: list[str]


class Shipped(Form):
    """The system policy that AKIOS comes with."""

    text: str


class Checked(Form):
    file: str
    ok: Literal[True]
    widens: list[str]


class Unacceptable(Form):
    ok: Literal[False]
    what: str
    where: str
    next: str


class Key(Form):
    provider: str
    source: str
    fingerprint: str
    region: str
    problem: str


class Provider(Form):
    provider: str


class Redaction(Form):
    type: str
    place: str
    count: int


class Answer(Form):
    """Of the body one of the two fields is there, unless it was written to a file or refused."""

    cage: str
    status: int
    headers: list[tuple[str, str]]
    redactions: list[Redaction]
    body: str | None = None
    body_base64: str | None = None
    refusal: dict[str, Any] = {}


class Finding(Form):
    type: str
    category: str
    start: int
    end: int
    line: int
    column: int
    confidence: float
    reason: str
    text: str = ""
    """With --show."""


class Scan(Form):
    file: str
    findings: list[Finding]


class Redacted(Form):
    file: str
    text: str
    findings: int


class RedactedType(Form):
    type: str
    category: str
    count: int


class ModelPrice(Form):
    """What the text costs as input, and what an answer costs besides."""

    model: str
    input_usd_micro: int
    output_usd_micro_per_1000_tokens: int


class RedactedText(Form):
    """``tokens`` is an estimate; ``price`` is null where no model is named, or none is known."""

    redactions: list[RedactedType]
    characters: int
    bytes: int
    tokens: int
    price: ModelPrice | None


class Previewed(RedactedText):
    """``text`` as a model would get it."""

    file: str
    text: str


class PromptMessage(Form):
    role: Literal["system", "user", "assistant"]
    text: str


class ShownPrompt(RedactedText):
    """``later`` are references in the texts that are filled in when the workflow runs."""

    step: str
    model: str
    messages: list[PromptMessage]
    later: list[str]
    max_tokens: int


class ShownPrompts(Form):
    workflow: str
    prompts: list[ShownPrompt]


class ErrorText(Form):
    what: str
    where: str
    next: str


class CheckedWorkflow(Form):
    """``notes``: what a file of AKIOS 1.4 has that is called otherwise now."""

    file: str
    ok: bool
    steps: int
    errors: list[ErrorText]
    notes: list[str]


class WorkflowInput(Form):
    type: str
    description: str


class ExplainedStep(Form):
    """``line`` of the file.  ``usd_micro`` is what calls to models may cost, 0 for no limit;
    ``policy`` has the fields that tell most, as text.
    """

    name: str
    line: int
    agent: str
    action: str
    needs: list[str]
    condition: str
    matrix: list[str]
    attempts: int
    timeout_ns: int
    own_cage: bool
    own_policy: bool
    usd_micro: int
    policy: dict[str, str]
    digest: str


class ExplainedWorkflow(Form):
    """``variables`` are those of the caller that it may read."""

    name: str
    description: str
    inputs: dict[str, WorkflowInput]
    variables: list[str]
    digest: str
    steps: list[ExplainedStep]


class WorkflowGraph(Form):
    """``order``: ranks of steps, each after all that it needs."""

    order: list[list[str]]
    needs: dict[str, list[str]]
    mermaid: str


class Template(Form):
    name: str
    description: str
    inputs: list[str]


class TemplateText(Form):
    name: str
    text: str


class FailureText(ErrorText):
    """``may_be_done``: what the step was to do may be done all the same: its request was sent."""

    may_be_done: bool = False


class StepOfRun(Form):
    """``failure`` is null where there is none; of a step with a matrix an output is a list."""

    name: str
    status: Literal["success", "failed", "skipped", "unknown", "not finished"]
    outputs: dict[str, Any]
    failure: FailureText | None


class WorkflowRun(Form):
    """``unknown``: steps of which nobody knows whether they were done.  ``undecided``: those, and
    others, that a resumption does only with --repeat.  ``output``: where in the project the same
    lies, as output.json.
    """

    run: str
    workflow: str
    status: Literal["success", "failed"]
    unknown: list[str]
    undecided: list[str]
    steps: list[StepOfRun]
    usd_micro: int
    tokens: int
    calls: int
    output: str


class StepState(Form):
    """``not heard of``: begun, and its result is not known."""

    name: str
    instance: int
    state: Literal["done", "failed", "running", "not heard of", "not begun"]
    cage: str
    seconds: float
    usd_micro: int
    why: str


class JournalWitness(Form):
    """A cage whose birth has the hash of so many ``lines`` of the journal; ``what``: the step, its
    instance and attempt, or ``end``.
    """

    lines: int
    what: str
    cage: str
    state: Literal["proven", "changed", "gone"]
    why: str


class JournalProof(Form):
    """The ledger vouches for the first ``proven`` of so many ``lines``."""

    lines: int
    proven: int
    witnesses: list[JournalWitness]


class RunState(Form):
    """``whole``: the file is still the one that was run, so steps that were not begun are listed;
    ``undecided``: steps that a resumption does only with --repeat; ``file`` is "" where the text
    came from standard input; ``proof`` with --prove.
    """

    run: str
    workflow: str
    state: Literal["going on", "success", "failed", "unfinished"]
    workspace: str
    started_ns: int
    usd_micro: int
    steps: list[StepState]
    whole: bool
    undecided: list[str]
    file: str
    proof: JournalProof | None


class Question(Form):
    """What a workflow asks; Unix times."""

    id: str
    run: str
    workflow: str
    step: str
    message: str
    asked_ns: int
    until_ns: int


class Answered(Form):
    id: str
    state: Literal["approved", "refused"]
    by: str


class KeptRun(Form):
    """``steps``: how many were done or failed.  ``usd_micro`` is that of all resumptions."""

    run: str
    workflow: str
    status: Literal["success", "failed", "unfinished"]
    workspace: str
    started_ns: int
    steps: int
    usd_micro: int


class KeptStep(Form):
    """One instance of a step, as its cage brought it."""

    name: str
    instance: int
    status: Literal["success", "failed"]
    outputs: dict[str, Any]
    failure: FailureText | None
    notes: list[str]
    cage: str
    seconds: float


class KeptOutputs(Form):
    run: str
    workflow: str
    status: Literal["success", "failed", "unfinished"]
    workspace: str
    started_ns: int
    usd_micro: int
    inputs: dict[str, Any]
    unknown: list[str]
    steps: list[KeptStep]


class ExportedRun(Form):
    run: str
    file: str
    bytes: int


class Initialised(Form):
    """Files that were made, and those that were there and stay as they are."""

    directory: str
    made: list[str]
    kept: list[str]


class Pattern(Form):
    name: str
    category: str
    description: str
    checked: bool
    context: list[str]
    examples: list[str]
    not_: list[str] = msgspec.field(name="not")
    source: str


class Layer(Form):
    """``present`` and ``missing`` are told where akiosd does not run: nobody tried the layer."""

    layer: str
    status: Literal["enforced", "degraded", "unavailable", "present", "missing"]
    detail: str


class DiskUse(Form):
    """Bytes of one kind of data.  ``bound`` is 0 where ``setting`` bounds it otherwise, as
    ``detail`` says, or not at all.
    """

    what: str
    bytes: int
    bound: int
    setting: str
    detail: str


class Hint(Form):
    """What mends one layer on this host: commands for a shell, in their order."""

    layer: str
    commands: list[str]
    note: str


class StatusCage(Form):
    """One that stands, or runs."""

    cage: str
    name: str
    state: str
    standing: bool
    programs: int
    workspace: str
    usd_micro: int
    changes: bool


class TodayOfCage(Form):
    cage: str
    name: str
    usd_micro: int
    calls: int
    denied: int


class Today(Form):
    """Since midnight, of the caller's cages.  ``whole``: nothing was left out of the sums."""

    since_ns: int
    day: str
    whole: bool
    usd_micro: int
    calls: int
    denied: int
    cages: list[TodayOfCage]


class Status(Form):
    """``running``: akiosd answered; where it did not, ``next`` says what starts it, and nothing
    else is known.  ``unprotected``: layers that are less than enforced on this host; ``left_out``:
    what standing cages, by name, were made without.
    """

    running: bool
    software: str
    kernel: str
    uptime_ns: int
    next: str
    cages: list[StatusCage]
    today: Today | None
    unprotected: list[Layer]
    left_out: dict[str, list[Literal["pii", "audit", "budget"]]]


class Named(Form):
    name: str
    count: int


class TimelineRow(Form):
    """What was near in time in one lane; of more than eight names the ``others`` are counted."""

    lane: str
    first_ns: int
    last_ns: int
    count: int
    usd_micro: int
    names: list[Named]
    others: int


class TimelineBirth(Form):
    ts: int
    cage: str
    uid: int
    argv: list[str]
    cwd: str
    policy_sha256: str
    degraded: bool
    posture: list[Layer]


class TimelineEnd(Form):
    ts: int
    exit_code: int
    signal: int
    reason: str
    user_ns: int
    system_ns: int
    max_rss: int


class TimelineProgram(Form):
    """A program of a standing cage; times are 0 where no record tells.  ``copies``: it belongs to
    a copy by cp, "in PATH" or "out PATH".
    """

    number: int
    argv: list[str]
    copies: str
    started_ns: int
    ended_ns: int
    exit_code: int
    reason: str


class TimelineModel(Form):
    """``unfinished``: calls that failed or were cut; ``estimated``: those of which the usage was
    not seen to the end.
    """

    model: str
    calls: int
    unfinished: int
    usd_micro: int
    input_tokens: int
    output_tokens: int
    estimated: int


class TimelineSite(Form):
    host: str
    requests: int
    bytes_out: int
    bytes_in: int


class Tallied(Form):
    names: list[Named]
    others: int


class TimelineDenied(Form):
    rule: str
    what: str
    count: int
    subjects: list[Named]


class Timeline(Form):
    """``minimum``: records before it were pruned; ``counts``: of each lane; ``programs_before``:
    how many programs are not listed.
    """

    log: str
    origin: str
    records: int
    minimum: int
    first_ns: int
    last_ns: int
    birth: TimelineBirth | None
    end: TimelineEnd | None
    left_out: list[Literal["pii", "audit", "budget"]]
    usd_micro: int
    counts: dict[str, int]
    rows: list[TimelineRow]
    programs: list[TimelineProgram]
    programs_before: int
    programs_failed: int
    models: list[TimelineModel]
    sites: list[TimelineSite]
    redacted: Tallied
    denied: list[TimelineDenied]


class WrittenReport(Form):
    """``page`` is the page itself where no --out was given."""

    log: str
    file: str
    bytes: int
    page: str
    verdict: str


class Doctor(Form):
    """``running``: akiosd answered.  Where it did not, ``next`` says what starts it, the layers are
    what can be told from outside, and nothing is known of the disk.  ``free_inodes`` is -1 where
    the file system does not count them.  ``hints`` is empty without --fix-hints.
    """

    ok: bool
    running: bool
    software: str
    kernel: str
    posture: list[Layer]
    cages: int
    uptime_ns: int
    state_dir: str
    disk: list[DiskUse]
    free_bytes: int
    free_inodes: int
    hints: list[Hint]
    socket: str
    next: str


class Serving(Form):
    """The first line, when it takes connections; ``url`` has the port that ``:0`` became."""

    url: str


class ApiToken(Form):
    """``expires_ns``: 0 for never."""

    id: str
    scopes: list[str]
    created_ns: int
    expires_ns: int
    expired: bool
    note: str


class NewApiToken(ApiToken):
    """With the token itself, this once."""

    token: str


class Revoked(Form):
    """The ids of those that were there."""

    revoked: list[str]


class Script(Form):
    shell: str
    script: str


class Error(Form):
    """On standard error, by every verb with --json that fails; the exit status is then not 0."""

    error: ErrorText


# verb → the types that it prints with --json; several where an option or a failure gives
# another.  "" is the error of any verb.
SCHEMAS: dict[str, tuple[Any, ...]] = {
    "": (Error,),
    "run": (RunReport, Running),
    "cage up": (Running,),
    "cage list": (list[StandingCage],),
    "cage status": (StandingStatus,),
    "cage pause": (CageNames,),
    "cage resume": (CageNames,),
    "cage down": (list[TakenDown],),
    "exec": (RunReport,),
    "cp": (Copied,),
    "ps": (list[Cage],),
    "top": (list[MeasuredCage],),
    "attach": (RunReport, Running),
    "logs": (Output, Missing),
    "stop": (CageNames,),
    "budget": (Spending, Spent),
    "diff": (Diff,),
    "commit": (Commit,),
    "discard": (Discarded,),
    "status": (Status,),
    "timeline": (Timeline,),
    "report": (WrittenReport,),
    "events": (Record, Gap),
    "why": (Why,),
    "ledger show": (Record,),
    "ledger verify": (Verified, VerifiedAll),
    "ledger export": (Exported,),
    "ledger stats": (Stats,),
    "ledger checkpoint": (Checkpoint,),
    "ledger keys": (LogKey,),
    "ledger pack": (Archive,),
    "ledger prove": (Proof,),
    "ledger verify-proof": (VerifiedProof,),
    "ledger pin": (Pinned,),
    "ledger witness": (Witnessed,),
    "ledger rotate-key": (Rotated,),
    "ledger destroy": (Destroyed,),
    "ledger prune": (Pruned,),
    "policy explain": (dict[str, Setting], list[str], Unacceptable),
    "policy presets": (dict[str, Preset],),
    "policy shipped": (Shipped,),
    "policy check": (list[Checked], Unacceptable),
    "init": (Initialised,),
    "workflow validate": (list[CheckedWorkflow],),
    "workflow explain": (ExplainedWorkflow,),
    "workflow graph": (WorkflowGraph,),
    "workflow schema": (dict[str, Any],),
    "workflow run": (WorkflowRun,),
    "workflow status": (RunState,),
    "approvals list": (list[Question],),
    "approvals show": (list[Question],),
    "approvals yes": (Answered,),
    "approvals no": (Answered,),
    "output list": (list[KeptRun],),
    "output show": (KeptOutputs,),
    "output export": (ExportedRun,),
    "templates list": (list[Template],),
    "templates show": (TemplateText,),
    "keys set": (Provider,),
    "keys list": (list[Key],),
    "keys rm": (Provider,),
    "http": (Answer,),
    "protect scan": (Scan,),
    "protect redact": (Redacted,),
    "protect preview": (Previewed,),
    "protect show-prompt": (ShownPrompts,),
    "protect patterns": (list[Pattern],),
    "serve": (Serving,),
    "mcp": (Serving, dict[str, Any]),
    "token create": (NewApiToken,),
    "token list": (list[ApiToken],),
    "token revoke": (Revoked,),
    "doctor": (Doctor,),
    "completion": (Script,),
    "schema": (dict[str, Any],),
}
LINES = frozenset(("events", "logs", "ledger show", "mcp", "serve"))
"""Verbs that print one JSON object a line instead of one document."""


def schema_of(verb: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of what a verb prints with ``--json``; raises KeyError for no verb."""
    schemas, parts = msgspec.json.schema_components(SCHEMAS[verb], ref_template="#/$defs/{name}")
    one = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **one, "$defs": parts}
