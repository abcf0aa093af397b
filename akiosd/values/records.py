"""Records: what happened, as frozen values, and their entry bytes in a log.

An entry is a msgpack map with ``kind``, ``v`` (schema version), ``ts`` (wall clock, ns) and the
fields of its kind.  Text of unknown origin (paths, argv) is bytes; only ``escape`` turns it into
something a terminal may see.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from akiosd.values.spend import Tokens
from akiosd.values.text import as_bytes, show

SCHEMA_VERSION = 1
MAX_ENTRY_BYTES = 65_535  # a bundle's length prefix is a uint16 (c2sp.org/tlog-tiles)


def _version() -> int:
    return SCHEMA_VERSION


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """The fields every record has.  ``truncated`` is set by ``encode_entry`` when fields were cut
    to fit.
    """

    ts: int
    # A factory, not a default: omit_defaults must never drop the schema version.
    v: int = msgspec.field(default_factory=_version)
    truncated: bool = False


class Layer(msgspec.Struct, frozen=True):
    """One posture layer: ``status`` is ``enforced``, ``degraded`` or ``unavailable``; ``detail``
    says why.
    """

    layer: str
    status: str
    detail: str = ""


class LogOpen(Record, frozen=True, kw_only=True, tag="log_open"):
    """The first record of every log: 32 random bytes, so that a root alone gives nothing away, and
    whose key signs.
    """

    salt: bytes
    public_key: bytes = b""


class Birth(Record, frozen=True, kw_only=True, tag="birth"):
    """A cage is about to start its agent.  ``uid`` is the caller's host uid."""

    cage: str
    uid: int
    argv: tuple[bytes, ...]
    policy_sha256: bytes
    posture: tuple[Layer, ...] = ()
    cwd: bytes = b""
    degraded: bool = False


class Started(Record, frozen=True, kw_only=True, tag="started"):
    """The agent's program runs; ``pid`` is the host's number."""

    pid: int


class Syscall(Record, frozen=True, kw_only=True, tag="syscall"):
    """A traced system call: ``requested`` (its result is not known) or ``denied`` with ``errno``.

    ``path``, ``argv`` and the others are what the agent's memory held when the call was stopped: a
    hint, which the agent may change before the kernel looks.  ``directory`` is where a path starts
    that does not say so itself: the working directory, or what the descriptor stands for (of a call
    that has no path, the file it works on).  What was really executed and written,
    ``file_used`` tells.  ``count`` identical records in a row are one record; ``ts`` is the
    first's.  Logs of before 1.0 say ``attempt`` for ``requested``.
    """

    name: str
    nr: int
    pid: int
    verdict: Literal["requested", "attempt", "denied"]
    args: tuple[int, ...] = ()
    path: bytes | None = None
    path2: bytes | None = None
    directory: bytes | None = None
    directory2: bytes | None = None
    argv: tuple[bytes, ...] = ()
    address: bytes | None = None
    """A struct sockaddr as the agent gave it."""
    errno: int = 0
    count: int = 1


class SystemChanged(Record, frozen=True, kw_only=True, tag="system_changed"):
    """Programs or libraries of the host were put in or taken out while the cage ran: it sees old
    and new ones mixed.  A cage started now sees the new system.
    """


FileUse = Literal["executed", "written"]


class FileUsed(Record, frozen=True, kw_only=True, tag="file_used"):
    """The kernel's word (fanotify(7)): this file was executed, or closed by who had it open for
    writing.

    ``path`` is the file's name in the cage when the record was made: that of a file renamed
    meanwhile is the new one, and the kernel puts " (deleted)" behind that of one removed.  ``pid``
    is the process's on the host.  An executed program is followed by its interpreters.  ``count``
    equal ones in a row are one record; a file used again and again before the first use was read is
    told once.
    """

    use: FileUse
    path: bytes
    pid: int
    count: int = 1


class Lost(Record, frozen=True, kw_only=True, tag="lost"):
    """``count`` records were not kept, because of ``why``; 0: nobody knows how many."""

    count: int
    why: str = ""


class Rusage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the agent and its reaped children used (getrusage(2)): times in ns, ``max_rss`` in
    bytes.
    """

    user_ns: int = 0
    system_ns: int = 0
    max_rss: int = 0


class End(Record, frozen=True, kw_only=True, tag="end"):
    """The cage is empty.  ``exit_code`` is what the caller got; ``signal`` is 0 unless a signal
    killed the agent; ``programs`` counts those that a standing cage was asked to start; each of
    these has its own records.  ``lost`` says why the changes of the cage are incomplete, "" where
    they are complete.
    """

    exit_code: int
    signal: int = 0
    reason: str = ""
    rusage: Rusage = Rusage()
    programs: int = 0
    lost: str = ""


class Unprotected(Record, frozen=True, kw_only=True, tag="unprotected"):
    """A standing cage was made without these protections at all, as the system policy allows, to be
    compared with others: ``pii`` (personal data is not redacted), ``audit`` (system calls are not
    recorded), ``budget`` (models may cost any amount).
    """

    cage: str
    left_out: tuple[str, ...]


class ProgramStarted(Record, frozen=True, kw_only=True, tag="program_started"):
    """A program runs in a standing cage; ``program`` is its number there, ``pid`` its own
    inside.  ``copies``: it belongs to a copy by ``akiosctl cp``, as its caller said: "in PATH" or
    "out PATH".
    """

    program: int
    argv: tuple[bytes, ...]
    pid: int
    copies: bytes = b""


class ProgramEnded(Record, frozen=True, kw_only=True, tag="program_ended"):
    """A program of a standing cage ended, or could not be started: then it has no other record.

    ``exit_code`` is what its caller got, ``signal`` 0 unless one killed it.  What it left running
    runs on.
    """

    program: int
    exit_code: int
    signal: int = 0
    reason: str = ""
    rusage: Rusage = Rusage()


class DaemonStart(Record, frozen=True, kw_only=True, tag="daemon_start"):
    """akiosd was started."""

    version: str
    pid: int = 0


class DaemonRestarted(Record, frozen=True, kw_only=True, tag="daemon_restarted"):
    """In a cage's log: it outlived the akiosd that had begun it, and another goes on with it.

    ``away_since`` (Unix time in ns) is when the keeper saw the earlier one end; of one that hung
    before that, nothing is said here.  ``before`` is its version.  Until ``ts`` nobody answered the
    cage's system calls: they waited.  ``replayed`` records of before stand here only now; what is
    missing, a ``lost`` record says.
    """

    away_since: int
    before: str = ""
    version: str = ""
    replayed: int = 0


class DaemonStop(Record, frozen=True, kw_only=True, tag="daemon_stop"):
    """akiosd is about to stop, because of ``reason``."""

    reason: str = ""


class FileRead(msgspec.Struct, frozen=True):
    """A file of the administrator's; ``sha256`` of what stood there in hexadecimal, empty where
    there was none.
    """

    path: str
    sha256: str


class SettingsRead(Record, frozen=True, kw_only=True, tag="settings_read"):
    """akiosd.yaml and the system policy were read, at the start or on SIGHUP.

    ``changed`` says what is new, at the start what is not built in; ``restart`` names keys that
    were changed and hold only from the next start on.  ``error``: why nothing was taken from them;
    the settings of before hold.
    """

    files: tuple[FileRead, ...] = ()
    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    error: str = ""


class KeyEpoch(Record, frozen=True, kw_only=True, tag="key_epoch"):
    """From here on logs are signed by ``public_key`` (Ed25519, 32 bytes).

    From epoch 2 on ``certified_by`` is the old key's certificate of it: KEYS in
    akios-ledger(5) says what is signed.
    """

    epoch: int
    public_key: bytes
    certified_by: bytes = b""


class Recovered(Record, frozen=True, kw_only=True, tag="recovered"):
    """What start-up found after an unclean end: ``dropped_bytes`` of a last write that
    was cut short, and that nobody had been told of.

    ``finished`` names the logs whose publication was completed.
    """

    dropped_bytes: int = 0
    segment: str = ""
    offset: int = 0
    finished: tuple[str, ...] = ()


class Roots(Record, frozen=True, kw_only=True, tag="roots"):
    """The logs that changed since the last such record: (cage, size, root)."""

    roots: tuple[tuple[str, int, bytes], ...]


class CageBirth(Record, frozen=True, kw_only=True, tag="cage_birth"):
    """A cage of ``uid`` was begun; ``origin`` is the name of its log."""

    cage: str
    uid: int = 0
    origin: str = ""


class CageEnd(Record, frozen=True, kw_only=True, tag="cage_end"):
    """A cage ended, with what its caller was told."""

    cage: str
    exit_code: int = 0
    reason: str = ""


class CageSettled(Record, frozen=True, kw_only=True, tag="cage_settled"):
    """What became of an ended cage's changes, as its client (``uid``) said: ``paths`` were
    committed, or none.
    """

    cage: str
    uid: int
    committed: bool
    paths: int = 0


class CageDestroyed(Record, frozen=True, kw_only=True, tag="cage_destroyed"):
    """The tombstone: written when nothing is left to wipe.  ``size`` and ``root`` are the log's
    last.

    ``method`` says how it was wiped, and what was only unlinked.
    """

    cage: str
    size: int
    root: bytes
    method: str = ""


class CagePacked(Record, frozen=True, kw_only=True, tag="cage_packed"):
    """A finished log was put into one archive, which was verified; its files are gone."""

    cage: str
    size: int
    root: bytes


class LogPruned(Record, frozen=True, kw_only=True, tag="log_pruned"):
    """The minimum index of this log (c2sp.org/tlog-tiles, "Pruning"): files of entries below it may
    be gone.

    ``epochs``: the keys (number, public key, certificate) named up to this record, whose naming may
    be gone with them.
    """

    minimum: int
    epochs: tuple[tuple[int, bytes, bytes], ...] = ()


class ClockRead(Record, frozen=True, kw_only=True, tag="clock_read"):
    """The clocks of the host: which boot, and its boot-time clock (CLOCK_BOOTTIME, ns); ``ts`` is
    the wall's.

    ``jump_ns``: by how much the wall clock moved beside it since the last such record, where that
    is implausible:  nothing is destroyed for its age until the two have agreed for a day.
    """

    boot: str
    boottime_ns: int
    jump_ns: int = 0


KeyAction = Literal["set", "removed"]


class ProviderKey(Record, frozen=True, kw_only=True, tag="provider_key"):
    """The key of an LLM provider is about to be changed by ``uid``; nothing of the key is here."""

    provider: str
    action: KeyAction
    uid: int


ShellPlace = Literal["--exec", "--shell", "workflow"]


class ShellAsked(Record, frozen=True, kw_only=True, tag="shell_asked"):
    """``uid`` asked for a line of text to be read by a shell, and akiosctl refused: as an option
    of run, or as a command in a workflow.  The text is not here.
    """

    place: ShellPlace
    uid: int


class NetDenied(Record, frozen=True, kw_only=True, tag="net_denied"):
    """Something on the network was refused.  ``host`` is the name asked for as far as it was
    readable, ``rule`` the rule that refused it, ``hint`` what to add to the policy.  ``count``
    equal ones within a second are one record.
    """

    host: bytes
    rule: str
    protocol: Literal["dns", "tcp", "tls", "http", "upstream"]
    port: int = 0
    method: str = ""
    path: bytes = b""
    """With personal data masked, without query."""
    hint: str = ""
    count: int = 1


class NetRequest(Record, frozen=True, kw_only=True, tag="net_request"):
    """A request or a connection that was let through; ``path`` with personal data masked, without
    query.

    ``mode``: ``inspect``, ``passthrough`` (TLS not opened), ``raw`` (TCP), ``llm``.  Sizes are of
    bodies, in bytes.
    """

    host: str
    port: int
    mode: Literal["inspect", "passthrough", "raw", "llm"]
    method: str = ""
    path: bytes = b""
    status: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    unread: int = 0
    """Of ``bytes_out``: what was no text and was not looked into."""
    duration_ns: int = 0
    error: str = ""


class LlmCall(Record, frozen=True, kw_only=True, tag="llm_call"):
    """A settled call to a model; money is micro-USD.

    ``estimated``: its usage was not seen, and what was reserved is booked.  ``lowered``: output
    tokens of each choice that the budget left room for, where the request or its model allows more;
    0 otherwise.
    """

    provider: str
    model: str
    outcome: str
    usd_micro: int
    reserved_usd_micro: int = 0
    total_usd_micro: int = 0
    """Spent by the cage so far, this call included."""
    tokens: Tokens = Tokens()
    estimated: bool = False
    status: int = 0
    stream: bool = False
    duration_ns: int = 0
    lowered: int = 0


class Finding(msgspec.Struct, frozen=True):
    """``count`` findings of one ``type`` at ``place`` (a path into the message, never the
    value).
    """

    type: str
    category: str
    place: str
    count: int = 1


class Redaction(Record, frozen=True, kw_only=True, tag="redaction"):
    """Personal data that did not leave; ``towards`` is the provider or site."""

    towards: str
    mode: str
    findings: tuple[Finding, ...]


class SpendWarning(Record, frozen=True, kw_only=True, tag="spend_warning"):
    """A call that the budget or a loop detector refused; ``rule`` is the policy key, and ``needs``
    is a value of it that would have allowed the call (micro-USD, tokens or calls; 0: not known).
    """

    provider: str
    model: str
    rule: str
    words: str
    final: bool = False
    needs: int = 0


class GatewayFailed(Record, frozen=True, kw_only=True, tag="gateway_failed"):
    """A gateway died or gave up a connection because of ``what``; nothing was let through."""

    what: str


class Unknown(msgspec.Struct, frozen=True):
    """An entry this version has no type for; ``fields`` is the whole map, unknown fields
    included.
    """

    kind: str
    ts: int
    fields: dict[str, Any]


KnownRecord = (
    LogOpen
    | Birth
    | Started
    | Syscall
    | SystemChanged
    | FileUsed
    | Lost
    | End
    | DaemonStart
    | DaemonRestarted
    | Unprotected
    | ProgramStarted
    | ProgramEnded
    | SettingsRead
    | DaemonStop
    | KeyEpoch
    | Recovered
    | Roots
    | CageBirth
    | CageEnd
    | CageSettled
    | CageDestroyed
    | CagePacked
    | LogPruned
    | ClockRead
    | ProviderKey
    | ShellAsked
    | NetDenied
    | NetRequest
    | LlmCall
    | Redaction
    | SpendWarning
    | GatewayFailed
)
AnyRecord = KnownRecord | Unknown

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[KnownRecord] = msgspec.msgpack.Decoder(KnownRecord)
_plain = msgspec.msgpack.Decoder()


def encode_entry(record: Record) -> bytes:
    """The record's entry bytes, at most ``MAX_ENTRY_BYTES``; fields that do not fit are cut and
    flagged.
    """
    entry = _encode(record)
    return entry if len(entry) <= MAX_ENTRY_BYTES else _encode_cut(record)


def decode_entry(entry: bytes) -> AnyRecord:
    """An entry's record; unknown kinds, and known kinds of another shape, come back as ``Unknown``.

    Raises ``msgspec.DecodeError`` when the bytes are not a msgpack map at all.
    """
    try:
        return _decoder.decode(entry)
    except msgspec.ValidationError:
        fields = _decode_plain(entry)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
    if not isinstance(fields, dict):
        raise msgspec.DecodeError("an entry is a msgpack map")
    kind, ts = fields.get("kind"), fields.get("ts")
    return Unknown(
        kind=kind if isinstance(kind, str) else "",
        ts=ts if isinstance(ts, int) else 0,
        fields={key if isinstance(key, str) else repr(key): value for key, value in fields.items()},
    )


def _decode_plain(entry: bytes) -> Any:
    try:
        return _plain.decode(entry)
    except (
        UnicodeDecodeError,
        TypeError,
        RecursionError,
    ) as error:  # bad text, unhashable keys, absurd nesting
        raise msgspec.DecodeError(str(error)) from None


def _encode_cut(record: Record) -> bytes:
    fields: dict[str, Any] = msgspec.msgpack.decode(_encode(record))
    fields["truncated"] = True
    limit = MAX_ENTRY_BYTES // 2
    while True:
        entry = _encode(_cut(fields, limit))
        if len(entry) <= MAX_ENTRY_BYTES:
            return entry
        limit //= 2


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, bytes | str):
        return value[:limit]
    if isinstance(value, list):
        return [_cut(item, limit) for item in value[:limit]]
    if isinstance(value, dict):
        return {key: _cut(item, limit) for key, item in value.items()}
    return value


def escape(text: bytes | str) -> str:
    """Bytes of unknown origin as one printable line: UTF-8 where printable, ``\\xNN`` elsewhere,
    ``\\`` doubled.

    What nobody would see or what drives a terminal (:mod:`akiosd.values.text`) never reaches one.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return show(text.replace("\\", "\\\\") if "\\" in text else text, as_bytes)
