"""The policy: what one cage may see, reach, use and spend.

These are the merged, checked values.  The YAML text is read by ``akiosctl`` and ``akiosd``'s
configuration, checked by :mod:`akiosd.policy.schema`, merged by :mod:`akiosd.policy.merge`.
Sizes are bytes, times nanoseconds, money micro-USD; 0 means "no limit" where a limit may be absent.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.protected import PROTECTED_NAMES
from akiosd.values.providers import FACTS
from akiosd.values.units import GIB, MIB, USD

WorkspaceMode = Literal["cow", "rw", "ro", "rw-direct"]
DataPlace = Literal["project", "state"]
TraceLevel = Literal["none", "security", "files", "all"]
IdentityMode = Literal["agent", "caller", "root"]
RedactMode = Literal["pseudonym", "mask", "block", "off"]

PROVIDERS: tuple[str, ...] = tuple(FACTS)

LEAST_MEMORY = 4 * MIB
"""A shell runs in 1 MiB; charges are made ahead on every CPU (cgroup-v2.rst, memory.current)."""
LEAST_DISK = 8 * MIB
"""Of what mkfs.ext4 makes a file system with a journal."""


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the policy's sections: immutable, unknown keys refused."""


class Filesystem(Value, frozen=True):
    """What the agent sees of files."""

    workspace: WorkspaceMode = "cow"
    read: tuple[str, ...] = ()
    """Absolute host paths shown read-only at the same place; opened by the client."""
    write: tuple[str, ...] = ()
    """Absolute host paths shown through their own overlay, discarded at the end."""
    hide: tuple[str, ...] = ()
    """Absolute paths inside covered by an empty, unreadable directory or file."""
    protect: tuple[str, ...] = PROTECTED_NAMES
    """Names, relative to any directory of the workspace, that a commit refuses to touch."""
    data: DataPlace = "project"
    """Where data/input and data/output of standing cages and workflows lie, outside; opened by the
    client.
    """


class Network(Value, frozen=True):
    """What the agent can reach."""

    llm: bool = True
    """Whether the LLM providers' APIs are reachable at all."""
    providers: tuple[str, ...] = PROVIDERS
    """Which of them."""
    llm_paths: tuple[str, ...] = ()
    """Paths of a provider's API beyond those its file knows, as in ``openai:/v1/files``: redacted,
    not priced.
    """
    presets: tuple[str, ...] = ()
    """Lists whose names are in ``allowed_domains`` already; of no effect by themselves."""
    allowed_domains: tuple[str, ...] = ()
    passthrough: tuple[str, ...] = ()
    """Names whose TLS is not opened: the server name is checked, bytes are counted, nothing is
    redacted.
    """
    get_only: tuple[str, ...] = ()
    """Names towards which only GET, HEAD and OPTIONS are passed."""
    ports: tuple[int, ...] = ()
    requests_per_minute: int = 600
    """Towards one site; 0 is no limit."""


Names = tuple[str, ...] | Literal["any"]
Numbers = tuple[int, ...] | Literal["any"]
Most = int | None
"""The most that may be asked for; 0 is any amount, None nothing more than there is."""


class ProjectsMay(Value, frozen=True, omit_defaults=True):
    """How far a policy after the system's may go beyond the values of the policies before it.

    Each is the bound of one field, ``loops`` of four; nothing is the default.
    """

    providers: Names = ()
    llm_paths: Names = ()
    allowed_domains: Names = ()
    """``any`` is every name without a port: what has one is passed through unread."""
    passthrough: Names = ()
    ports: Numbers = ()
    site_requests_per_minute: Most = None
    memory: Most = None
    pids: Most = None
    cpu: Most = None
    disk: Most = None
    shm: Most = None
    wall_clock: Most = None
    cpu_time: Most = None
    output: Most = None
    open_files: Most = None
    file_size: Most = None
    events_per_second: Most = None
    audit_bytes: Most = None
    usd: Most = None
    tokens: Most = None
    calls: Most = None
    requests_per_minute: Most = None
    usd_per_minute: Most = None
    loops: Most = None
    """Of the numbers from which on the same is a loop: ``same_request`` to ``cycles``."""
    syscalls: Names = ()
    keep: Names = ()


class Limits(Value, frozen=True):
    """What the agent may use."""

    memory: int = 2 * GIB
    pids: int = 1024
    cpu_percent: int = 0
    """Share of one CPU; 100 is one whole CPU, 0 is no limit."""
    disk: int = 2 * GIB
    """One budget for the overlay's upper layer, the home and ``/tmp``."""
    shm: int = 0
    """Of ``/dev/shm``; 0 is half of ``memory``, as a Linux host gives it half of its own."""
    wall_clock_ns: int = 0
    cpu_time_ns: int = 0
    output: int = 0
    """Bytes of stdout and stderr together; 0 is no limit (a detached cage is always bounded)."""
    open_files: int = 4096
    file_size: int = 0
    events_per_second: int = 20_000
    audit_bytes: int = GIB

    @property
    def shm_bytes(self) -> int:
        """How much ``/dev/shm`` holds. It counts as memory of the cage all the same."""
        return self.shm or self.memory // 2 or 64 * MIB


class Budget(Value, frozen=True):
    """What LLM calls may cost, and when their repetition is a loop.  0 is no limit."""

    usd_micro: int = 10 * USD
    tokens: int = 0
    """Input and output of all completed calls together."""
    calls: int = 0
    requests_per_minute: int = 0
    usd_micro_per_minute: int = 0
    same_request: int = 5
    """The same request with the same answer this many times in a row is a loop: the last is refused
    with a warning, one more ends it.  Ten times as often for what continues no conversation.
    """
    same_tool_calls: int = 8
    """The same batch of tool calls with the same results this many times in a row; eight times as
    often if it waits.
    """
    same_answers: int = 5
    """Turns in a row in which no tool is called and nothing new is said."""
    cycles: int = 4
    """A cycle of 2 to 4 turns gone through this many times."""


class Redact(Value, frozen=True):
    """What happens to personal data on its way out."""

    models: RedactMode = "pseudonym"
    sites: RedactMode = "mask"
    disable: tuple[str, ...] = ()
    """Names of patterns or categories that are not looked for."""
    allow_values: tuple[str, ...] = ()
    binary: Literal["pass", "block"] = "pass"
    """Bodies that are not text: counted and passed, or refused."""


class Syscalls(Value, frozen=True):
    """What is recorded of system calls, and which are added or removed."""

    trace: TraceLevel = "security"
    allow: tuple[str, ...] = ()
    """System calls added to the allow-list; only names marked ``optional`` in the table."""
    deny: tuple[str, ...] = ()
    """System calls removed from the allow-list: answered EPERM and recorded."""


class Identity(Value, frozen=True):
    """Which user the agent sees itself as."""

    mode: IdentityMode = "agent"


class Environment(Value, frozen=True):
    """Environment variables that pass from the caller into the cage."""

    keep: tuple[str, ...] = (
        "TERM",
        "COLORTERM",
        "LANG",
        "LANGUAGE",
        "LC_*",
        "TZ",
        "NO_COLOR",
        "FORCE_COLOR",
        "CI",
    )
    set: dict[str, str] = {}


class Policy(Value, frozen=True):
    """The whole policy of one cage."""

    version: Literal[1] = 1
    filesystem: Filesystem = Filesystem()
    network: Network = Network()
    limits: Limits = Limits()
    budget: Budget = Budget()
    redact: Redact = Redact()
    syscalls: Syscalls = Syscalls()
    identity: Identity = Identity()
    environment: Environment = Environment()
    projects_may: ProjectsMay = ProjectsMay()
    """Only the system policy gives; policies after it may take away."""
    allow_widening: bool = False
    """Only in the system policy: lets user and project policies widen it."""

    @property
    def loops_up_to(self) -> Most:
        """How far a project may raise the numbers from which on the same is a loop."""
        return 0 if self.allow_widening else self.projects_may.loops


DEFAULT_POLICY = Policy()
