"""Reads the records of a cage's log one after the other, and keeps what its story is made of.

Pure: entries in, a :class:`Story` out.  Its size does not depend on that of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from akiosctl.denials import Group as DeniedGroup
from akiosctl.denials import read_denial
from akiosctl.records_text import read_record
from akiosctl.render import quote_command
from akiosctl.story.lanes import Lane, Tally, shorten
from akiosd.gateway.net.remedies import UNCOUNTED
from akiosd.values import records as kinds
from akiosd.values.records import AnyRecord, Unknown

LANES = {
    "cage": (40, "the cage's own life"),
    "program": (40, "programs started in it"),
    "model": (60, "calls to models"),
    "denied": (60, "what was refused"),
    "redacted": (40, "personal data that did not leave"),
    "site": (30, "requests to sites"),
    "ran": (20, "programs executed"),
    "wrote": (20, "files written"),
    "call": (10, "other system calls, as requested"),
    "trouble": (40, "what AKIOS or the host had trouble with"),
}
"""Lane → how many rows it may have at most, and what is in it."""
MOST_PROGRAMS = 100
MOST_NAMES = 100
OTHERS = "others"
_MOST_WORDS = 64
_PLAIN_RULES = ("syscalls", "files", "network.allowed_domains")
"""What these deny says by itself why."""


@dataclass
class Program:
    """A program of a standing cage; times are Unix time in ns, 0 where no record tells."""

    number: int
    argv: tuple[bytes, ...] = ()
    copies: bytes = b""
    started: int = 0
    ended: int = 0
    exit_code: int = 0
    reason: str = ""

    @property
    def shown(self) -> tuple[bytes, ...]:
        """What somebody asked for: a command, or a copy."""
        return (b"cp", *self.copies.split(b" ", 1)) if self.copies else self.argv


@dataclass
class ModelSum:
    """The calls to one model; money in micro-USD."""

    calls: int = 0
    unfinished: int = 0
    """Calls that failed or were cut."""
    usd_micro: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0


@dataclass
class Site:
    """The requests to one host; sizes in bytes."""

    requests: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


@dataclass
class Story:
    """What a log tells.  ``birth`` and ``end`` are None where the log has no such record."""

    records: int = 0
    first: int = 0
    last: int = 0
    birth: kinds.Birth | None = None
    end: kinds.End | None = None
    left_out: tuple[str, ...] = ()
    lanes: dict[str, Lane] = field(
        default_factory=lambda: {name: Lane(most) for name, (most, _) in LANES.items()}
    )
    programs: dict[int, Program] = field(default_factory=dict)
    """By number; the oldest are forgotten beyond ``MOST_PROGRAMS``, and counted."""
    programs_before: int = 0
    failed_programs: int = 0
    models: dict[str, ModelSum] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    redacted: Tally = field(default_factory=lambda: Tally(MOST_NAMES))
    """By ``TYPE → towards whom``."""
    written: Tally = field(default_factory=lambda: Tally(MOST_NAMES))
    denied: dict[str, DeniedGroup] = field(default_factory=dict)
    """By rule, with each subject."""

    @property
    def usd_micro(self) -> int:
        """What all calls to models cost."""
        return self.lanes["model"].usd_micro


def tell(entries: Iterable[bytes]) -> Story:
    """The story that the entries of one log tell."""
    story = Story()
    for entry in entries:
        record = read_record(entry)
        story.records += 1
        if record.ts > 0:
            story.first = min(story.first or record.ts, record.ts)
            story.last = max(story.last, record.ts)
        _take(story, record)
    return story


def _take(story: Story, record: AnyRecord) -> None:
    if not isinstance(record, _SILENT):
        _READERS.get(type(record), _other)(story, record)
    # Most records are calls that were let through.
    denial = read_denial(record) if not _is_let_through(record) else None
    if denial is not None:
        subject, count, asked, rule = denial
        story.denied.setdefault(rule, DeniedGroup(rule)).add(subject, count, asked)
        lane = "trouble" if rule == UNCOUNTED else "denied"
        where = "" if rule in _PLAIN_RULES else f" ({rule})"
        story.lanes[lane].add(record.ts, f"{subject}{where}", count)


def _is_let_through(record: AnyRecord) -> bool:
    return isinstance(record, kinds.Syscall) and record.verdict != "denied"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


# ---- one function for each kind of record --------------------------------------------------------


def _birth(story: Story, record: kinds.Birth) -> None:
    story.birth = record
    story.lanes["cage"].add(record.ts, "made")


def _started(story: Story, record: kinds.Started) -> None:
    is_standing = story.birth is not None and not story.birth.argv
    story.lanes["cage"].add(record.ts, "it stands" if is_standing else "the agent starts")


def _end(story: Story, record: kinds.End) -> None:
    story.end = record
    story.lanes["cage"].add(
        record.ts, f"ends: {record.reason or f'exit status {record.exit_code}'}"
    )


def _unprotected(story: Story, record: kinds.Unprotected) -> None:
    story.left_out = record.left_out
    story.lanes["trouble"].add(record.ts, f"made without: {', '.join(record.left_out)}")


def _program_started(story: Story, record: kinds.ProgramStarted) -> None:
    found = _program(story, record.program)
    found.argv, found.started = record.argv[:_MOST_WORDS], record.ts
    found.copies = record.copies
    story.lanes["program"].add(record.ts, shorten(quote_command(found.shown)))


def _program_ended(story: Story, record: kinds.ProgramEnded) -> None:
    found = _program(story, record.program)
    found.ended, found.exit_code, found.reason = record.ts, record.exit_code, record.reason
    story.failed_programs += record.exit_code != 0


def _program(story: Story, number: int) -> Program:
    found = story.programs.get(number)
    if found is None:
        if len(story.programs) >= MOST_PROGRAMS:
            ended = (one.number for one in story.programs.values() if one.ended)
            del story.programs[next(ended, next(iter(story.programs)))]
            story.programs_before += 1
        found = story.programs[number] = Program(number)
    return found


def _model(story: Story, record: kinds.LlmCall) -> None:
    name = shorten(f"{record.provider}/{record.model}")
    how = "" if record.outcome == "completed" else f" ({record.outcome})"
    story.lanes["model"].add(record.ts, name + how, usd_micro=record.usd_micro)
    if name not in story.models and len(story.models) >= MOST_NAMES:
        name = OTHERS
    found = story.models.setdefault(name, ModelSum())
    found.calls += 1
    found.unfinished += record.outcome != "completed"
    found.usd_micro += record.usd_micro
    found.input_tokens += record.tokens.input
    found.output_tokens += record.tokens.output
    found.estimated += record.estimated


def _redaction(story: Story, record: kinds.Redaction) -> None:
    for finding in record.findings:
        name = f"{finding.type} → {record.towards}"
        story.lanes["redacted"].add(record.ts, name, finding.count)
        story.redacted.add(name, finding.count)


def _request(story: Story, record: kinds.NetRequest) -> None:
    if record.mode == "llm":
        return  # the call to the model has a record of its own
    name = shorten(record.host)
    how = f" ({record.error})" if record.error else ""
    story.lanes["site"].add(record.ts, name + how)
    if name not in story.sites and len(story.sites) >= MOST_NAMES:
        name = OTHERS
    found = story.sites.setdefault(name, Site())
    found.requests += 1
    found.bytes_out += record.bytes_out
    found.bytes_in += record.bytes_in


def _file_used(story: Story, record: kinds.FileUsed) -> None:
    name = _text(record.path)
    if story.birth is not None and record.path.startswith(story.birth.cwd + b"/"):
        name = name[len(_text(story.birth.cwd)) + 1 :]
    if record.use == "executed":
        story.lanes["ran"].add(record.ts, name, record.count)
        return
    story.lanes["wrote"].add(record.ts, name, record.count)
    story.written.add(name, record.count)


def _syscall(story: Story, record: kinds.Syscall) -> None:
    if record.verdict != "denied":
        story.lanes["call"].add(record.ts, record.name, record.count)


def _lost(story: Story, record: kinds.Lost) -> None:
    number = f"{record.count:,} records were" if record.count else "records were"
    story.lanes["trouble"].add(record.ts, f"{number} not kept: {record.why}")


def _gateway(story: Story, record: kinds.GatewayFailed) -> None:
    story.lanes["trouble"].add(record.ts, f"gateway: {record.what}")


def _restarted(story: Story, record: kinds.DaemonRestarted) -> None:
    story.lanes["cage"].add(record.ts, "akiosd was restarted, and goes on with it")


def _changed(story: Story, record: kinds.SystemChanged) -> None:
    story.lanes["trouble"].add(record.ts, "programs of the host were updated")


def _other(story: Story, record: Any) -> None:
    kind = record.kind if isinstance(record, Unknown) else str(record.__struct_config__.tag)
    story.lanes["cage"].add(record.ts, kind)


_READERS: dict[type, Callable[[Story, Any], None]] = {
    kinds.Birth: _birth,
    kinds.Started: _started,
    kinds.End: _end,
    kinds.Unprotected: _unprotected,
    kinds.ProgramStarted: _program_started,
    kinds.ProgramEnded: _program_ended,
    kinds.LlmCall: _model,
    kinds.Redaction: _redaction,
    kinds.NetRequest: _request,
    kinds.FileUsed: _file_used,
    kinds.Syscall: _syscall,
    kinds.Lost: _lost,
    kinds.GatewayFailed: _gateway,
    kinds.DaemonRestarted: _restarted,
    kinds.SystemChanged: _changed,
}
_SILENT = (kinds.LogOpen, kinds.NetDenied, kinds.SpendWarning)
"""Of these nothing is told here: the first is the log's own, the others are denials."""
