"""The fields of a policy, one row each: the whole language in one table.

From a row come how the value is read (:mod:`akiosd.policy.schema`), when it is wider than another
and whether layers add up (:mod:`akiosd.policy.merge`), how it is shown
(:mod:`akiosd.policy.explain`) and its paragraph in akios-policy(5).  The type of its value and its
default are in :mod:`akiosd.values.policy`: a new field is a line there and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

from akiosd.policy import readers as read
from akiosd.policy import wider
from akiosd.policy.presets import PRESETS
from akiosd.policy.readers import AtLeast, ListOf, OneOf, Reader
from akiosd.policy.wider import Wider
from akiosd.values import policy as values
from akiosd.values.units import (
    format_duration,
    format_size,
    format_usd,
    parse_duration_ns,
    parse_size,
)


class Kind(NamedTuple):
    """What several fields have in common.

    word: what the manual calls a value; "" where none is written.
    reader: a value as YAML gives it → as it is kept.
    wider: whether the second value gives more than the first.
    show: a number of this kind for people; text, lists and tables are shown as they are.
    """

    word: str
    reader: Reader | ListOf
    wider: Wider
    show: Callable[[int], str] = str


class Field(NamedTuple):
    """One field.

    path: where it is written, as in ``limits.cpu``.  kind: how its values are read, compared and
    shown.  text: the paragraph of akios-policy(5); ``{default}`` (``{Default}`` where a sentence
    begins) is the
        built-in value, ``{choices}`` what may be written.
    field: its name within the section of :class:`akiosd.values.policy.Policy`, where that is
    another.  adds: whether the lists of all layers are put together; else a later layer replaces an
    earlier one.  may: the name of its bound in ``projects_may``, which several may share; "" where
    no project may go beyond what the policies before it give.
    """

    path: str
    kind: Kind
    text: str
    field: str = ""
    adds: bool = False
    may: str = ""

    @property
    def name(self) -> str:
        """The field's own name, as in ``limits.cpu_percent``: in merged policies, and for
        people.
        """
        section, dot, _ = self.path.partition(".")
        return section + dot + self.field if self.field else self.path


def _limit(word: str, reader: Reader, show: Callable[[int], str]) -> Kind:
    return Kind(
        word, reader, wider.higher_limit, lambda value: show(value) if value else "no limit"
    )


def _one_of(choices: tuple[str, ...], *ranks: tuple[str, ...], word: str = "MODE") -> Kind:
    """One of ``choices``, in ``ranks`` from narrow to wide; without ranks none is wider than
    another.
    """
    rank_of = {choice: rank for rank, equals in enumerate(ranks) for choice in equals}
    return Kind(word, OneOf(choices), wider.ranked(rank_of) if ranks else wider.never)


def _list(item: Reader, wider: Wider) -> Kind:
    return Kind("LIST", ListOf(item), wider)


def _bound(rows: Sequence[Field]) -> Field:
    """The field of ``projects_may`` that bounds ``rows``: one, or several that are counts."""
    kind = rows[0].kind if len(rows) == 1 else COUNT
    reader = kind.reader
    if isinstance(reader, AtLeast):
        # A bound below what works forbids it, and harms nobody.
        reader = reader.reader
    if isinstance(reader, ListOf):
        words = ListOf(reader.item, {"any": "any", "none": ()})
        own = Kind(f"any|{kind.word}|none", words, wider.widens_names(kind.wider))
    else:
        reads = read.most(reader)
        own = Kind(f"any|{kind.word}|none", reads, wider.widens_most, _show_most(kind.show))
    of = [row.path for row in rows]
    text = ", ".join(of[:-1]) + " and " + of[-1] if len(of) > 1 else of[0]
    return Field(f"projects_may.{rows[0].may}", own, f"The most of {text}.")


def _show_most(show: Callable[[int], str]) -> Callable[[int], str]:
    return lambda value: show(value) if value else "any"


FLAG = Kind("FLAG", read.read_flag, wider.turned_on)
SIZE_READER = read.bounded(parse_size)
SIZE = _limit("SIZE", SIZE_READER, format_size)
MEMORY = SIZE._replace(reader=AtLeast(SIZE_READER, values.LEAST_MEMORY))
DISK = SIZE._replace(reader=AtLeast(SIZE_READER, values.LEAST_DISK))
SHARED = SIZE._replace(show=lambda value: format_size(value) if value else "half of limits.memory")
TIME = _limit("TIME", read.bounded(parse_duration_ns), format_duration)
MONEY = _limit("MONEY", read.bounded(read.parse_money), format_usd)
PERCENT = _limit("PERCENT", read.bounded(read.parse_percent), "{}% of one CPU".format)
COUNT = _limit("N", read.read_count, "{:,}".format)
SAME = _limit("N", read.read_count, "{:,} times in a row".format)
CYCLES = _limit("N", read.read_count, "{:,} times round".format)
REDACT = _one_of(get_args(values.RedactMode), ("block",), ("mask",), ("pseudonym",), ("off",))

_FIELDS: tuple[Field, ...] = (
    Field("version", Kind("", read.read_count, wider.differs), "Always 1."),
    # cow and rw differ in who says "commit", and both commit with the caller's own rights.
    Field(
        "filesystem.workspace", _one_of(get_args(values.WorkspaceMode), ("ro",), ("cow", "rw"), ("rw-direct",)),
        "cow: changes wait for diff, commit or discard. rw: they are committed at the end. ro: the workspace cannot be "
        "changed. rw-direct: a plain bind, only where the system policy allows it; names are not protected then. "
        "Default: {default}.",
    ),
    # Opened by the client with the caller's rights, and writes go to an overlay that is thrown
    # away:  nothing is reachable that the caller could not have put into the workspace.
    Field(
        "filesystem.read", _list(read.read_absolute, wider.never),
        "Absolute host paths shown read-only at the same place; opened with the caller's rights. Of /etc only what "
        "everybody may read, and nothing that holds secrets by its name.", adds=True,
    ),
    Field(
        "filesystem.write", _list(read.read_absolute, wider.never),
        "Absolute host paths shown through an overlay of their own; what is written there is thrown away at the end.",
        adds=True,
    ),
    Field(
        "filesystem.hide", _list(read.read_absolute, wider.removes),
        "Absolute paths inside that are covered by an empty directory or an unreadable file. The directories of the "
        "workspace that lead to one cannot be renamed inside.", adds=True,
    ),
    Field(
        "filesystem.protect", _list(read.read_relative, wider.removes),
        "Names, relative to any directory of the workspace, that a commit refuses to touch, such as .git/hooks, and "
        "with them what a link of such a name leads to. Added to the built-in ones.", adds=True,
    ),
    # Opened by the client as the user, in either place; inside it is the same directory.
    Field(
        "filesystem.data", _one_of(get_args(values.DataPlace), word="PLACE"),
        "Where data/input and data/output of a standing cage and of workflows lie. project: in the project's directory. "
        "state: in the user's own state, $XDG_STATE_HOME/akios/data (~/.local/state/akios/data), one directory for each "
        "project; the project then has two empty directories of these names, on which they are shown inside. akiosctl "
        "cage status says where. Default: {default}.",
    ),
    Field("network.llm", FLAG, "Whether LLM APIs may be reached. Default: {default}."),
    Field("network.providers", _list(OneOf(values.PROVIDERS), wider.adds), "Which of them: {choices}; all.", may="providers"),
    Field(
        "network.llm_paths", _list(read.read_provider_path, wider.adds),
        "Paths of a provider's API besides those that AKIOS can price, as in openai:/v1/files. They are redacted, and "
        "cost the budget nothing.", may="llm_paths",
    ),
    # The names that it stands for are in allowed_domains already, where they are bounded.
    Field(
        "network.presets", _list(OneOf(tuple(PRESETS)), wider.never),
        "Lists of names that come with AKIOS and stand for themselves in allowed_domains: {choices}. akiosctl policy "
        "presets prints them with their date.",
    ),
    Field(
        "network.allowed_domains", _list(read.read_domain, wider.adds_domain),
        "Sites: example.com, *.example.com, host:port. No addresses.", may="allowed_domains",
    ),
    # What passes through is not read, not redacted.
    Field(
        "network.passthrough", _list(read.read_domain, wider.adds_domain),
        "Sites whose TLS is not opened: the server name is checked, bytes are counted, nothing is redacted.", may="passthrough",
    ),
    Field(
        "network.get_only", _list(read.read_domain, wider.uncovers_domain),
        "Sites towards which only GET, HEAD and OPTIONS pass.",
    ),
    Field("network.ports", _list(read.read_port, wider.adds), "Ports besides 80 and 443.", may="ports"),
    Field(
        "network.requests_per_minute", COUNT._replace(show=str),
        "Towards one site, which is one line of allowed_domains. Default: {default}.", may="site_requests_per_minute",
    ),
    Field(
        "limits.memory", MEMORY,
        "Memory of everything in the cage. Default: {default}. At the limit the whole cage is killed. There is no swap. At least "
        f"{format_size(values.LEAST_MEMORY)}, which is enough for a shell.", may="memory",
    ),
    Field("limits.pids", COUNT, "Processes and threads. Default: {default}.", may="pids"),
    Field("limits.cpu", PERCENT, "Share of one CPU, 100% is one CPU. Default: {default}.", "cpu_percent", may="cpu"),
    Field(
        "limits.disk", DISK,
        f"One budget for changed workspace files, home and /tmp. Default: {{default}}. At least {format_size(values.LEAST_DISK)}.", may="disk",
    ),
    Field("limits.shm", SHARED, "/dev/shm, which counts as memory, too; half of limits.memory.", may="shm"),
    Field("limits.wall_clock", TIME, "From the start on. Default: {default}.", "wall_clock_ns", may="wall_clock"),
    Field("limits.cpu_time", TIME, "User and system time of the whole cage. Default: {default}.", "cpu_time_ns", may="cpu_time"),
    Field("limits.output", SIZE, "Standard output and error together. Default: {default}.", may="output"),
    Field(
        "limits.open_files", COUNT,
        "Descriptors of one process. Default: {default}. Less, but at least 1024, where all processes of the cage could else "
        "open more than a quarter of what the host can (fs.file-max).", may="open_files",
    ),
    Field("limits.file_size", SIZE, "Of one file. Default: {default}.", may="file_size"),
    Field(
        "limits.events_per_second", COUNT,
        "Recorded system calls; above it the cage is slowed down. Default: {default}.", may="events_per_second",
    ),
    Field("limits.audit_bytes", SIZE, "Records of one cage; at the limit it ends. Default: {default}.", may="audit_bytes"),
    Field("budget.usd", MONEY, "Dollars for the whole run, as in $0.50. Default: {default}.", "usd_micro", may="usd"),
    Field("budget.tokens", COUNT, "Tokens in and out. Default: {default}.", may="tokens"),
    Field("budget.calls", COUNT, "Calls that were answered. Default: {default}.", may="calls"),
    Field(
        "budget.requests_per_minute", COUNT,
        "Calls begun within a minute; one more is refused until the minute is over. Default: {default}.", may="requests_per_minute",
    ),
    Field(
        "budget.usd_per_minute", MONEY,
        "Dollars spent within a minute. Default: {default}. Who goes on asking beyond this or requests_per_minute is ended.",
        "usd_micro_per_minute", may="usd_per_minute",
    ),
    Field(
        "budget.same_request", SAME,
        "The same request with the same answer this many times in a row is a loop: the last is refused with a "
        "warning, another one ends the run. A request that continues no conversation (a vote, a row of a table) may "
        "be repeated ten times as often, embeddings for ever. Default: {default}.", may="loops",
    ),
    Field(
        "budget.same_tool_calls", SAME,
        "So is the same batch of tool calls with the same results this many times in a row, within one conversation. "
        "Results are compared without times, durations, ids and counts of attempts; percentages and all other numbers "
        "count. A call that waits (sleep, polling a process) may bring the same eight times as often. Default: {default}.",
        may="loops",
    ),
    Field(
        "budget.same_answers", SAME,
        "So are turns in a row in which the model calls no tool and neither side says anything new. Default: {default}.",
        may="loops",
    ),
    Field(
        "budget.cycles", CYCLES, "So is a cycle of 2 to 4 turns that was gone through this many times. Default: {default}.",
        may="loops",
    ),
    Field(
        "redact.models", REDACT,
        "Personal data on its way to LLM APIs: pseudonym, mask, block or off. Default: {default}. Stand-ins are values that "
        "nobody can hold (numbers kept for fiction, documentation addresses, wrong check digits, dates moved by one "
        "shift a cage) or numbered labels such as [NAME_482913]; they come back in answers and tool calls, also "
        "rewritten.",
    ),
    Field("redact.sites", REDACT, "On its way to other sites. Default: {default}."),
    Field("redact.disable", _list(read.read_text, wider.adds), "Patterns not looked for."),
    Field("redact.allow_values", _list(read.read_text, wider.adds), "Values that may pass."),
    Field(
        "redact.binary", _one_of(("pass", "block"), ("block",), ("pass",)),
        "Bodies that are not text: pass (they are counted) or block. Default: {default}.",
    ),
    Field(
        "syscalls.trace",
        _one_of(get_args(values.TraceLevel), ("all",), ("files",), ("security",), ("none",), word="LEVEL"),
        "What is recorded. security: exec, connect, bind, unlink, rename, chmod, opens for writing or creating, "
        "everything denied. files: every open too. all. none. Default: {default}. Above none, the kernel also tells which files "
        "were executed and written; RECORDS OF FILES in akiosctl(1) says what each can prove.",
    ),
    Field(
        "syscalls.allow", _list(read.read_optional_call, wider.adds),
        "Optional system calls to allow, such as mbind.", may="syscalls",
    ),
    Field(
        "syscalls.deny", _list(read.read_deniable_call, wider.removes),
        "System calls to take away: answered EPERM and recorded.", adds=True,
    ),
    # A number that the agent sees; the uid that the kernel checks is the cage's own in every mode.
    Field(
        "identity.mode", _one_of(get_args(values.IdentityMode)),
        "agent: 1000. caller: the caller's number. root: 0. Default: {default}.",
    ),
    Field(
        "environment.keep", _list(read.read_variable, wider.adds_variable),
        "Variables of the caller that pass, * at the end for a prefix. Default: {default}.", may="keep",
    ),
    Field("environment.set", Kind("TABLE", read.read_variables, wider.never), "Variables to set, NAME: value."),
    Field(
        "allow_widening", FLAG,
        "Only in the system policy: true lets users and projects ask for more than it gives, without any bound. "
        "projects_may is the setting with bounds.",
    ),
)  # fmt: skip

_BOUNDED = tuple(dict.fromkeys(row.may for row in _FIELDS if row.may))

FIELDS: tuple[Field, ...] = (
    *_FIELDS[:-1],
    *(_bound([row for row in _FIELDS if row.may == may]) for may in _BOUNDED),
    _FIELDS[-1],
)

BY_NAME: dict[str, Field] = {row.name: row for row in FIELDS}
