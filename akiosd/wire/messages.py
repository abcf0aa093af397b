"""The messages of ``control.sock`` and ``events.sock``: tagged unions, one table for both sides.

Every request carries an ``id`` chosen by the client; every reply repeats it, so requests may run
concurrently on one connection.  File descriptors ride on the first byte of the frame and only where
``FDS`` below says so; a message elsewhere with an fd is a protocol error.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.ids import DirectoryId
from akiosd.values.policy import Budget, DataPlace, Limits, Policy
from akiosd.values.posture import LayerState
from akiosd.values.records import ShellPlace
from akiosd.values.spend import ModelSpend, OpenCall
from akiosd.values.usage import Usage
from akiosd.wire.frame import MAX_FDS

PROTOCOL = 1

BindKind = Literal["toolchain", "read", "write", "git", "input", "output"]
"""``input`` and ``output`` are the data of a project (of a standing cage, of steps): read-only, and
written directly.
"""


class Message(
    msgspec.Struct, frozen=True, tag_field="m", omit_defaults=True, forbid_unknown_fields=True
):
    """Base of all messages; ``id`` is chosen by the client and repeated in every reply."""

    id: int = 0


# ---- both ways -----------------------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """First frame of each side; the daemon answers with its own.

    ``policy`` is the daemon's: which system policy holds, as the SHA-256 of what
    :class:`SystemPolicyReply` brings.  So is ``come_back_s``: for how many seconds cages go on
    without it, 0 where they end with it.
    """

    protocol: int = PROTOCOL
    software: str = ""
    policy: bytes = b""
    come_back_s: int = 0


# ---- client to daemon ----------------------------------------------------------------------------


class Bind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tree the client opened (``O_PATH``) to be shown at ``path`` inside; ``fd`` indexes the
    frame's fds.

    For a file ``holder`` indexes the directory that holds it, opened by the client too, and
    ``name`` is its name there.
    """

    path: bytes
    fd: int
    kind: BindKind = "toolchain"
    why: str = ""
    holder: int = 0
    name: bytes = b""


class Tty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size of the caller's terminal."""

    rows: int = 24
    columns: int = 80


class Run(Message, frozen=True, tag="run"):
    """Start a cage.  fds: the workspace first, then the binds' own and their holders', each once.

    ``argv`` and ``env`` are bytes without NUL.  ``command`` is the path inside of the program to
    execute; ``cwd`` the absolute path inside to start in; ``workspace`` the absolute path, outside
    and inside, of fd 0.  ``stores`` are trust stores found below the workspace, the binds or /usr.
    """

    policy: Policy = Policy()
    argv: tuple[bytes, ...] = ()
    command: bytes = b""
    env: dict[bytes, bytes] = {}
    cwd: bytes = b"/"
    workspace: bytes = b""
    home: bytes = b""
    user_name: str = ""
    binds: tuple[Bind, ...] = ()
    stores: tuple[bytes, ...] = ()
    tty: Tty | None = None
    detach: bool = False
    allow_degraded: bool = False
    discard: bool = False
    """Destroy its changes at its end: nothing of them is kept, whatever becomes of the client."""
    name: str = ""
    """What the caller calls the cage, unique among those of theirs that run or wait with
    changes.
    """
    keep_output: bool = False
    """Keep it for :class:`Output`; a client that copies the output sends a copy, see
    :class:`Started`.
    """
    one_output: bool = False
    """stdout and stderr are one pipe: for a caller of whom both are one file."""
    standing: bool = False
    """Make a cage that stands without an agent, until :class:`Down`: ``argv`` is empty then, and
    :class:`Program` starts programs in it.
    """
    feeds: bool = False
    """With ``detach``: the write end of its input comes with :class:`Started`, instead of an input
    that is at its end.
    """
    shares: str = ""
    """A standing cage of the caller's that is up, whose budget the calls have to fit into, too."""


class Program(Message, frozen=True, tag="program"):
    """Start a program in a standing cage of the caller's own; answered by :class:`Started`, and by
    :class:`Ended` when it has ended.

    The fields are as in :class:`Run`; ``env`` is added to what the cage was made with.  ``copies``:
    what ``akiosctl cp`` has it for, for the log.  ``token`` is the client's own word for this
    request (:mod:`akiosd.values.program_token`): asked again with it, after any number of restarts
    of akiosd, nothing is started twice; an :class:`Error` says that it was ``begun``, or may have
    been.
    """

    cage: str = ""
    argv: tuple[bytes, ...] = ()
    command: bytes = b""
    env: dict[bytes, bytes] = {}
    cwd: bytes = b"/"
    tty: Tty | None = None
    one_output: bool = False
    copies: bytes = b""
    token: bytes = b""


class Pause(Message, frozen=True, tag="pause"):
    """Have everything in a standing cage stand still, or, without ``paused``, go on."""

    cage: str = ""
    paused: bool = True


class CageStatus(Message, frozen=True, tag="cage_status"):
    """How a standing cage is; answered by :class:`CageStatusReply`."""

    cage: str = ""


class Down(Message, frozen=True, tag="down"):
    """Kill everything in a standing cage, and with ``destroy`` wipe its disk and its log; answered
    by :class:`Destroyed`, without ``destroy`` by :class:`Ok`.

    ``passes`` and ``fast`` as in :class:`Destroy`; ``outside`` is what the client wiped in the
    user's own directories, for the tombstone.
    """

    cage: str = ""
    destroy: bool = False
    passes: int = 1
    fast: bool = False
    outside: str = ""


class Signal(Message, frozen=True, tag="signal"):
    """Send a signal to the agent's process group: one of ``wire.check.SIGNALS``.

    ``program`` is the number of a standing cage's program; 0 is the agent of any other cage, here
    and elsewhere.
    """

    cage: str = ""
    signo: int = 15
    program: int = 0


class Stop(Message, frozen=True, tag="stop"):
    """End a cage: SIGTERM, then ``cgroup.kill`` after ``grace_ns``; 0 kills at once.

    ``cause`` "output" says that the output limit was reached: only the client, who copies the
    output, can know.
    """

    cage: str = ""
    grace_ns: int = 0
    cause: Literal["", "output"] = ""
    program: int = 0


class List(Message, frozen=True, tag="list"):
    """List the caller's cages; with ``everyone`` all that the caller may see, with ``after`` only
    those with a greater id.

    fds: none, or a directory that the client opened; the reply then identifies it in ``here``.
    """

    everyone: bool = False
    after: str = ""


class Attach(Message, frozen=True, tag="attach"):
    """Take over the terminal or the output of a detached cage; answered by :class:`Started`."""

    cage: str = ""


class Rejoin(Message, frozen=True, tag="rejoin"):
    """Whose run a restart of akiosd interrupted goes on with it; answered by :class:`Started`, and
    by :class:`Ended` like the :class:`Run`.

    The client has what the output goes through already: with that :class:`Started` comes at most
    the pipe for its copy.  A cage that has ended meanwhile is answered by its end.
    """

    cage: str = ""
    program: int = 0


class Detach(Message, frozen=True, tag="detach"):
    """Leave a cage running without its client; its output goes to the bounded file again."""

    cage: str = ""


class Output(Message, frozen=True, tag="output"):
    """What a cage wrote; answered by :class:`OutputReply`.

    ``wait``: only once there is more than ``after`` bytes of it, or no more will come; without the
    file then.
    """

    cage: str = ""
    after: int = 0
    wait: bool = False


class View(Message, frozen=True, tag="view"):
    """Ask for the read-only merged view of a cage's workspace; answered by
    :class:`ViewReply`.

    fds: none; or, where akiosd was restarted and no longer holds them, what the client opened: the
    workspace, then the git directory that was shown with it, if one was.  ``running``: the cage
    runs, and is paused until the client leaves; where that takes too long an :class:`Error`
    follows, and what was read since may be torn.
    """

    cage: str = ""
    running: bool = False


class Discard(Message, frozen=True, tag="discard"):
    """Destroy an ended cage's changes; answered by :class:`Ok`, whose note says what was not
    overwritten.

    ``committed`` tells the ledger that they were committed first. ``wipe``: overwrite them, instead
    of only unlinking.
    """

    cage: str = ""
    committed: bool = False
    paths: int = 0
    wipe: bool = False


class Measure(Message, frozen=True, tag="measure"):
    """What running cages use at this moment; answered by :class:`Measured`.  ``everyone`` and
    ``after`` as in :class:`List`.
    """

    everyone: bool = False
    after: str = ""


class BudgetInfo(Message, frozen=True, tag="budget"):
    """What a running cage spent on calls to models; answered by :class:`BudgetReply`."""

    cage: str = ""


class Doctor(Message, frozen=True, tag="doctor"):
    """Ask for the posture of the host and the daemon's state."""


class LedgerInfo(Message, frozen=True, tag="ledger"):
    """Where the log of a cage (``""``: the host's) is; everything durable is published first.

    fds of the reply, if the log exists: a packed log open for reading, or an ``O_PATH`` descriptor
    of its directory, which the client opens with its own rights. akiosd has not verified any of it.
    """

    cage: str = ""


class ReadLogFile(Message, frozen=True, tag="read_log_file"):
    """Read a file of a log by its path in it, from byte ``start`` on; ``kept``: from the kept
    checkpoints beside the log.
    """

    cage: str = ""
    path: str = ""
    start: int = 0
    kept: bool = False


class ListLogFiles(Message, frozen=True, tag="list_log_files"):
    """List the names of a log's files, or of its ``kept`` checkpoints, in order, from number
    ``start`` on.
    """

    cage: str = ""
    start: int = 0
    kept: bool = False


class ListLogs(Message, frozen=True, tag="list_logs"):
    """List the cages that have a log on disk, in order, after the id ``after``; for those who may
    read the host's log.
    """

    after: str = ""


class ReadLog(Message, frozen=True, tag="read_log"):
    """Read the entries ``start``..``stop`` (exclusive) of a log; at most 512 KiB come in one
    answer.
    """

    cage: str = ""
    start: int = 0
    stop: int = 0


class RotateKey(Message, frozen=True, tag="rotate_key"):
    """Root only: replace the key that signs the logs by a new one; answered by
    :class:`LedgerReply`.
    """


class Destroy(Message, frozen=True, tag="destroy"):
    """Root and admins: destroy an ended cage's data, its log included; answered by
    :class:`Destroyed`.

    ``passes`` of random bytes before the zeros; ``fast`` only unlinks.
    """

    cage: str = ""
    passes: int = 1
    fast: bool = False


class Prune(Message, frozen=True, tag="prune"):
    """Root and admins: destroy ended cages, oldest first, past an age or until the rest takes at
    most ``max_bytes``.
    """

    max_age_ns: int | None = None
    max_bytes: int | None = None
    dry_run: bool = False
    passes: int = 1
    fast: bool = False


class KeySet(Message, frozen=True, tag="key_set"):
    """Root and admins: store the API key of a provider; ``key`` as in ``ProviderSetup``, ``region``
    for a provider that has regions.
    """

    provider: str = ""
    key: bytes = b""
    region: str = ""

    def __repr__(self) -> str:
        return f"KeySet({self.provider!r}, {len(self.key)} bytes)"


class KeyRemove(Message, frozen=True, tag="key_remove"):
    """Root and admins: forget a key that was set."""

    provider: str = ""


class KeyList(Message, frozen=True, tag="key_list"):
    """Root and admins: which providers have a key; answered by :class:`Keys`."""


class Http(Message, frozen=True, tag="http"):
    """Open a way to the network under a cage's rules, without an agent; answered by
    :class:`HttpReply`.

    ``cage`` is a running cage of the caller's, whose policy, budget and log are used. "" makes a
    gateway and a log for this request only, under ``policy``; they end with the connection.
    """

    cage: str = ""
    policy: Policy = Policy()


class SystemPolicyInfo(Message, frozen=True, tag="system_policy"):
    """Ask for the administrator's policy; answered by :class:`SystemPolicyReply`."""


class ShellRefused(Message, frozen=True, tag="shell_refused"):
    """akiosctl was asked for a shell, and refused: to be recorded; answered by :class:`Ok`."""

    place: ShellPlace = "--exec"


class Subscribe(Message, frozen=True, tag="subscribe"):
    """events.sock only.  Empty tuples mean everything one may see; cursors: log → next wanted
    index.
    """

    kinds: tuple[str, ...] = ()
    cages: tuple[str, ...] = ()
    cursors: dict[str, int] = {}


# ---- daemon to client ----------------------------------------------------------------------------


class Error(Message, frozen=True, tag="error"):
    """The request failed.  ``code`` is the exit code akiosctl should use (125, 126, 127).
    ``begun``: a :class:`Program` was asked for again, and had been begun before.
    """

    what: str = ""
    where: str = ""
    next: str = ""
    code: int = 125
    begun: bool = False


class Ok(Message, frozen=True, tag="ok"):
    """The request was carried out; ``note`` is what the person who asked should know besides."""

    note: str = ""


class Started(Message, frozen=True, tag="started"):
    """fds: with ``tty`` the terminal's master; else stdin (write end), stdout, stderr (read ends),
    of which ``one_output`` leaves out the last; of a detached run at most the first.

    ``output``: how many bytes of output the client may copy before it asks for the end; 0 is no
    limit.  ``kept``: one more comes last, a pipe into which the client writes, without ever
    waiting, a copy of the output that it copies.  ``come_back_s``: for so many seconds the cage
    goes on where akiosd ends, and the client should look for another; 0: it ends with akiosd.
    """

    cage: str = ""
    tty: bool = False
    one_output: bool = False
    output: int = 0
    kept: bool = False
    come_back_s: int = 0
    program: int = 0
    posture: tuple[LayerState, ...] = ()
    notes: tuple[str, ...] = ()


class StandsStill(Message, frozen=True, tag="stands_still"):
    """Between :class:`Started` and :class:`Ended`: everything in the cage waits until ``why`` is
    over, and goes on with a ``why`` of "".  Clients leave out what they do not know.
    """

    cage: str = ""
    why: str = ""


class Ended(Message, frozen=True, tag="ended"):
    """The end of a cage.  ``reason`` is one line for people, ``kind`` its name in
    :mod:`akiosd.cage.reasons`.
    """

    cage: str = ""
    exit_code: int = 0
    kind: str = "exited"
    reason: str = ""
    usage: Usage = Usage()
    changes: bool = False
    expires_ns: int = 0
    """When its changes are destroyed if nobody settles them (Unix time); 0 for never."""


class CageInfo(msgspec.Struct, frozen=True):
    """What ``ps`` shows of a cage.

    ``workspace`` is the path of its directory, read from the descriptor; ``directory`` identifies
    that directory. ``order`` grows with each cage that starts on this host, whatever its clock
    does. Times are Unix time in ns.
    """

    cage: str
    uid: int
    user: str
    state: str
    argv: tuple[bytes, ...]
    workspace: bytes
    started_ns: int
    ended_ns: int = 0
    exit_code: int = 0
    reason: str = ""
    changes: bool = False
    pid: int = 0
    tty: bool = False
    detached: bool = False
    usd_micro: int = 0
    calls: int = 0
    gid: int = -1
    directory: DirectoryId | None = None
    order: int = 0
    outdated: bool = False
    """The host's programs were updated since the cage began."""
    name: str = ""
    """What its caller called it, if anything."""
    settled: Literal["", "committed", "discarded", "expired"] = ""
    """What became of its changes, if there were any and they do not wait."""
    expires_ns: int = 0
    """When its changes, which wait, are destroyed; 0 for never."""
    output: int = 0
    """Bytes of its output that are kept."""
    standing: bool = False
    programs: int = 0
    """How many programs of a standing cage run."""
    data: DataPlace = "project"
    """Where its user's client found the data of a standing cage."""


class Cages(Message, frozen=True, tag="cages"):
    """Cages in the order of their ids.  ``more``: the frame is full; ask again with ``after`` the
    last.  ``here`` identifies the directory that came with :class:`List`.
    """

    cages: tuple[CageInfo, ...] = ()
    more: bool = False
    here: DirectoryId | None = None


class CageUse(msgspec.Struct, frozen=True):
    """What a running cage uses.  ``memory`` (bytes, without the cache of files that the kernel
    gives back first) and ``pids`` are of this moment, ``usage`` is of the time since its start.

    ``cpu_percent`` (100 is one CPU) and ``budget_usd_micro`` are limits, 0 for none.
    ``redactions``: pieces of personal data that did not leave.
    """

    cage: str
    state: str
    memory: int = 0
    pids: int = 0
    cpu_percent: int = 0
    budget_usd_micro: int = 0
    reserved_usd_micro: int = 0
    redactions: int = 0
    programs: int = 0
    usage: Usage = Usage()


class Measured(Message, frozen=True, tag="measured"):
    """In the order of their ids.  ``more``: ask again with ``after`` the last."""

    cages: tuple[CageUse, ...] = ()
    more: bool = False


class ViewReply(Message, frozen=True, tag="view_reply"):
    """fds: the merged view's root (directory of a detached read-only mount), then the workspace as
    it was opened; the same two of the git directory that was shown with it, if one was.

    ``keep_free``: bytes that cages leave free on a user's file system.
    """

    cage: str = ""
    workspace: bytes = b""
    protect: tuple[str, ...] = ()
    started_ns: int = 0
    keep_free: int = 0


class BudgetReply(Message, frozen=True, tag="budget_reply"):
    """Money is micro-USD.  ``calls`` were answered; ``open`` are under way (the oldest 100 of
    ``open_calls``).  ``shared_*`` was spent by cages that share this budget, beside the rest.

    ``minute_*``: within the last minute, where the policy limits that.  ``ending``: why the cage is
    about to end.
    """

    cage: str = ""
    limits: Budget = Budget()
    usd_micro: int = 0
    reserved_usd_micro: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reserved_tokens: int = 0
    calls: int = 0
    minute_usd_micro: int = 0
    minute_requests: int = 0
    models: tuple[ModelSpend, ...] = ()
    open: tuple[OpenCall, ...] = ()
    open_calls: int = 0
    refused: int = 0
    ending: str = ""
    shared_usd_micro: int = 0
    shared_tokens: int = 0
    shared_calls: int = 0


class ProgramInfo(msgspec.Struct, frozen=True):
    """A program of a standing cage; times are Unix time in ns."""

    number: int
    state: str
    argv: tuple[bytes, ...] = ()
    pid: int = 0
    tty: bool = False
    started_ns: int = 0
    ended_ns: int = 0
    exit_code: int = 0
    reason: str = ""


class CageStatusReply(Message, frozen=True, tag="cage_status_reply"):
    """``usage`` is as of now, beside ``limits``.  ``programs``: those that run, and the last that
    ended.
    """

    cage: str = ""
    state: str = ""
    limits: Limits = Limits()
    usage: Usage = Usage()
    budget: Budget = Budget()
    posture: tuple[LayerState, ...] = ()
    programs: tuple[ProgramInfo, ...] = ()
    left_out: tuple[str, ...] = ()
    """Protections that the policy leaves out altogether."""


class OutputReply(Message, frozen=True, tag="output_reply"):
    """fds: the bounded file with the output so far, open for reading; see
    :mod:`akiosd.wire.output`.  None where nothing was written yet.

    ``running``: more may come.  ``written``: how much output there was, kept or not, while it runs.
    """

    cage: str = ""
    running: bool = False
    written: int = 0


class DiskUse(msgspec.Struct, frozen=True):
    """What one kind of data takes on the disk of the state directory.

    ``bound``: how much it may take in all; 0 where ``setting`` bounds it otherwise, as ``detail``
    says, or not at all.
    """

    what: str
    bytes: int
    bound: int
    setting: str
    detail: str


class DoctorReply(Message, frozen=True, tag="doctor_reply"):
    """What this host can enforce, and the state of the daemon."""

    software: str = ""
    kernel: str = ""
    posture: tuple[LayerState, ...] = ()
    cages: int = 0
    uptime_ns: int = 0
    state_dir: str = ""
    disk: tuple[DiskUse, ...] = ()
    free_bytes: int = 0
    free_inodes: int = -1
    """-1 on file systems that do not count them."""


class LedgerReply(Message, frozen=True, tag="ledger_reply"):
    """The state of one log.

    ``vkey`` is the key that signs it from now on, ``keys`` the list of all keys of the host.
    ``host``: the client may read the host's log too. ``size`` and ``root`` are what akiosd last
    published of an open log, ``checkpoint`` what is on disk; 0 or empty where there is none.
    """

    log: str = ""
    origin: str = ""
    size: int = 0
    root: bytes = b""
    path: str = ""
    vkey: str = ""
    checkpoint: bytes = b""
    keys: bytes = b""
    host: bool = False


class LogFileData(Message, frozen=True, tag="log_file"):
    """A part of a file; ``size`` is that of the whole file, -1 for none.  ``bad``: why it cannot be
    a file of a log, ``where``.
    """

    data: bytes = b""
    size: int = -1
    bad: str = ""
    where: str = ""


class LogFileNames(Message, frozen=True, tag="log_files"):
    """``missing``: there is no such directory.  ``bad`` as in :class:`LogFileData`."""

    names: tuple[str, ...] = ()
    more: bool = False
    missing: bool = False
    bad: str = ""
    where: str = ""


class LogNames(Message, frozen=True, tag="logs"):
    """Ids of cages that have a log.  ``more``: the frame is full."""

    names: tuple[str, ...] = ()
    more: bool = False


class Destroyed(Message, frozen=True, tag="destroyed"):
    """What was wiped: files and overwritten bytes; ``spared`` files had a name elsewhere and lost
    only the one here.
    """

    files: int = 0
    overwritten: int = 0
    spared: tuple[str, ...] = ()
    size: int = 0
    root: bytes = b""
    method: str = ""


class Pruned(Message, frozen=True, tag="pruned"):
    """The cages destroyed, or that would be, and the bytes they took on disk; ``failed``: which
    not, and why.
    """

    cages: tuple[str, ...] = ()
    freed: int = 0
    kept: int = 0
    failed: tuple[tuple[str, str], ...] = ()


class KeyInfo(msgspec.Struct, frozen=True):
    """A provider's key without the key.

    ``source``: "set" or "credential". ``fingerprint`` tells two keys apart. ``problem``: why the
    key cannot be used.
    """

    provider: str
    source: str = ""
    fingerprint: str = ""
    region: str = ""
    problem: str = ""


class Keys(Message, frozen=True, tag="keys"):
    """One entry for each provider that has a key."""

    keys: tuple[KeyInfo, ...] = ()


class SystemPolicyReply(Message, frozen=True, tag="system_policy_reply"):
    """``packed`` is a ``SystemPolicy`` of :mod:`akiosd.policy.system`, with every line of its
    file.
    """

    packed: bytes = b""


class HttpReply(Message, frozen=True, tag="http_reply"):
    """fds: a stream on which the cage's gateway takes HTTP/1.1 in absolute form."""

    cage: str = ""


class LogEntries(Message, frozen=True, tag="log_entries"):
    """Entries ``start``.. of a log, in order."""

    log: str = ""
    start: int = 0
    entries: tuple[bytes, ...] = ()


class Records(Message, frozen=True, tag="records"):
    """events.sock: durable entries ``start``.. of one log, in order."""

    log: str = ""
    start: int = 0
    entries: tuple[bytes, ...] = ()


class Gap(Message, frozen=True, tag="gap"):
    """events.sock: entries ``start``..``stop`` (exclusive) were not sent; read them with
    :class:`ReadLog`.
    """

    log: str = ""
    start: int = 0
    stop: int = 0


Request = (
    Hello
    | Run
    | Program
    | Pause
    | CageStatus
    | Down
    | Signal
    | Stop
    | List
    | Measure
    | Attach
    | Rejoin
    | Detach
    | Output
    | View
    | Discard
    | BudgetInfo
    | Doctor
    | LedgerInfo
    | ReadLog
    | ReadLogFile
    | ListLogFiles
    | ListLogs
    | RotateKey
    | Destroy
    | Prune
    | KeySet
    | KeyRemove
    | KeyList
    | Http
    | SystemPolicyInfo
    | ShellRefused
    | Subscribe
)
Reply = (
    Hello
    | Error
    | Ok
    | Started
    | StandsStill
    | Ended
    | Cages
    | Measured
    | BudgetReply
    | CageStatusReply
    | OutputReply
    | ViewReply
    | DoctorReply
    | LedgerReply
    | Destroyed
    | Pruned
    | Keys
    | HttpReply
    | SystemPolicyReply
    | LogEntries
    | LogFileData
    | LogFileNames
    | LogNames
    | Records
    | Gap
)

# How many file descriptors may come with a message of this type (at most); absent means none.
FDS: dict[type[Message], int] = {
    Run: MAX_FDS, List: 1, View: 2, Started: 4, OutputReply: 1, ViewReply: 4, LedgerReply: 1,
    HttpReply: 1,
}  # fmt: skip
