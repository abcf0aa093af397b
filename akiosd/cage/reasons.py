"""Why a cage ended: a table of kinds, their exit codes, and the one line that a person reads.

Exit codes: the agent's own; 125 AKIOS failed, 126 cannot execute, 127 not found, 128+n signal n,
137 also for every limit.  ``kind`` is the machine's name for the same thing and never changes its
meaning.
"""

from __future__ import annotations

import msgspec

from akiosd.values.policy import Limits
from akiosd.values.units import format_duration, format_size
from akiosd.values.usage import Usage

SIGBUS, SIGKILL = 7, 9
KILLED = 128 + SIGKILL


class Reason(msgspec.Struct, frozen=True):
    """``exit_code``: -1 stands for the agent's own.  ``template`` may use every name that
    :func:`_words` returns.
    """

    exit_code: int
    template: str


REASONS: dict[str, Reason] = {
    # the agent's own end
    "exited": Reason(-1, "exited {status}"),
    "signal": Reason(-1, "killed by {signal}"),
    # a limit
    "memory": Reason(
        KILLED, "killed: memory limit {memory} reached, peak {memory_peak}, {oom_kills}"
    ),
    "pids": Reason(
        KILLED, "killed: limit of {pids} processes reached, peak {pids_peak}, {pids_denied} refused"
    ),
    "disk": Reason(KILLED, "killed: disk limit {disk} reached, {disk_used} used"),
    "wall_clock": Reason(KILLED, "killed: wall clock limit {wall_clock} reached, ran {wall}"),
    "cpu_time": Reason(KILLED, "killed: CPU time limit {cpu_time} reached, used {cpu_used}"),
    "output": Reason(KILLED, "killed: output limit {output} reached"),
    "budget": Reason(KILLED, "killed: budget {detail}"),
    "loop": Reason(KILLED, "killed: {detail}"),
    "audit_limit": Reason(
        KILLED, "killed: audit limit {audit} of records reached, {records} records"
    ),
    "room": Reason(KILLED, "killed: it did not stop writing: {detail}"),
    # somebody's decision
    "stopped": Reason(-1, "stopped by {detail}"),
    "down": Reason(0, "taken down by {detail}"),
    "cage_ended": Reason(KILLED, "killed: its cage ended: {detail}"),
    "client_gone": Reason(KILLED, "killed: the client went away"),
    "daemon_stopped": Reason(KILLED, "killed: akiosd stopped"),
    # it never ran, or AKIOS failed it
    "failed_start": Reason(125, "not started: {detail}"),
    "not_found": Reason(127, "not started: {detail}: not found"),
    "cannot_execute": Reason(126, "not started: {detail}: cannot be executed"),
    "internal": Reason(125, "killed: AKIOS failed: {detail}"),
    "changes_lost": Reason(125, "{detail}"),
}

_NO_PERMISSION, _NO_ENTRY = 13, 2  # EACCES, ENOENT

# fmt: off
_SIGNALS = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
    "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
)
# fmt: on


class EndFacts(msgspec.Struct, frozen=True):
    """What akiosd knows at the end.

    ``cause`` is the kind akiosd decided on itself, empty when the agent ended by itself or by the
    kernel. ``status`` is the agent's exit status, −1 when init could not report one; ``signal``
    what killed it, or 0. ``detail`` fills ``{detail}``: a sum of money, a loop, a user, a step, a
    path; already printable.
    """

    cause: str = ""
    status: int = -1
    signal: int = 0
    usage: Usage = Usage()
    limits: Limits = Limits()
    detail: str = ""


class End(msgspec.Struct, frozen=True):
    """The end of a cage: machine name, exit code, and the line for people; ``lost``: why what it
    changed is not whole.
    """

    kind: str
    exit_code: int
    reason: str
    lost: str = ""


def explain_end(facts: EndFacts) -> End:
    """Facts → kind, exit code and reason line, as in
    ``killed: memory limit 512 MiB reached, peak 512 MiB, 1 OOM kill``."""
    kind = facts.cause or _natural_kind(facts)
    reason = REASONS[kind]
    code = reason.exit_code if reason.exit_code >= 0 else _own_code(facts)
    return End(kind, code, reason.template.format(**_words(facts)) + _remarks(kind, facts))


def say_lost(state_dir: str, why: str) -> str:
    """What became of changes that the file system of ``state_dir`` did not take; ``why`` are the
    words of its errno.
    """
    return f"the file system of {state_dir} did not take all that it wrote ({why})"


def with_lost_changes(end: End, why: str) -> End:
    """The same end of a cage whose changes are not whole, as :func:`say_lost` says why."""
    found = explain_end(EndFacts("changes_lost", detail=f"{end.reason}, and {why}"))
    return msgspec.structs.replace(found, lost=why)


def describe_entering(path: str, error: int, why: str) -> str:
    """The detail of a ``failed_start`` for a directory that the cage cannot enter; ``why`` are the
    words of the errno ``error``, ``path`` is printable.
    """
    what = f"the cage cannot enter {path}: {why}"
    if error == _NO_PERMISSION:
        what += (
            "; next: see whom its mode lets in (ls -ld): an agent has the uid and the first group"
            " of who runs it and no other group, and root's has no rights over the files of others;"
            " run it as the owner of that directory, or let that user in"
        )
    elif error == _NO_ENTRY:
        what += "; next: see that it is there inside: akiosctl run -- ls -ld DIRECTORY"
    return what


def _natural_kind(facts: EndFacts) -> str:
    killed = (
        facts.signal == SIGKILL or facts.status == KILLED or (facts.status < 0 and not facts.signal)
    )
    if facts.usage.oom_kills and killed:
        return "memory"
    if facts.signal:
        return "signal"
    return "exited" if facts.status >= 0 else "internal"


def _own_code(facts: EndFacts) -> int:
    if facts.signal:
        return 128 + facts.signal
    return facts.status if facts.status >= 0 else KILLED


def _words(facts: EndFacts) -> dict[str, str]:
    usage, limits = facts.usage, facts.limits
    return {
        "status": str(facts.status),
        "signal": signal_name(facts.signal),
        "detail": facts.detail or "reason unknown",
        "memory": format_size(usage.memory_limit or limits.memory),
        "memory_peak": format_size(usage.memory_peak),
        "oom_kills": _plural(usage.oom_kills, "OOM kill"),
        "pids": str(usage.pids_limit or limits.pids),
        "pids_peak": str(usage.pids_peak),
        "pids_denied": _plural(usage.pids_denied, "fork"),
        "disk": format_size(usage.disk_limit or limits.disk),
        "disk_used": format_size(usage.disk_used),
        "wall_clock": format_duration(limits.wall_clock_ns),
        "wall": format_duration(usage.wall_ns),
        "cpu_time": format_duration(limits.cpu_time_ns),
        "cpu_used": format_duration(usage.user_ns + usage.system_ns),
        "output": format_size(limits.output),
        "audit": format_size(limits.audit_bytes),
        "records": str(usage.records),
    }


def _remarks(kind: str, facts: EndFacts) -> str:
    """Limits that were reached without ending the cage: they often explain the agent's own exit
    status.
    """
    usage, remarks = facts.usage, []
    if usage.oom_kills and kind not in ("memory", "failed_start"):
        limit = format_size(usage.memory_limit or facts.limits.memory)
        remarks.append(f"memory limit {limit} was reached, {_plural(usage.oom_kills, 'OOM kill')}")
    if usage.pids_denied and kind != "pids":
        limit = str(usage.pids_limit or facts.limits.pids)
        remarks.append(
            f"limit of {limit} processes was reached, {_plural(usage.pids_denied, 'fork')} refused"
        )
    if usage.disk_limit and usage.disk_used >= usage.disk_limit and kind != "disk":
        remarks.append(f"disk limit {format_size(usage.disk_limit)} was reached")
    if SIGBUS in (facts.signal, facts.status - 128):
        size = format_size(facts.limits.shm_bytes)
        remarks.append(f"shared memory in /dev/shm may be full: it holds {size} (limits.shm)")
    return "".join(f"; {remark}" for remark in remarks)


def signal_name(number: int) -> str:
    """``SIGSEGV (signal 11)``; real-time signals have only their number."""
    if 1 <= number <= len(_SIGNALS):
        return f"SIG{_SIGNALS[number - 1]} (signal {number})"
    return f"signal {number}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
