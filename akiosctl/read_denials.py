"""The denials of a cage, read through the daemon: as many entries of its log as a person waits
for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akiosctl import policy_files
from akiosctl.client import Client
from akiosctl.dead_ends import DeadEnds
from akiosctl.denials import Group, Told, collect, explain, places
from akiosctl.records_text import read_record
from akiosctl.system_policy import ask_system
from akiosd.policy.advice import YOU, Place
from akiosd.policy.merge import Layer
from akiosd.policy.system import SystemPolicy
from akiosd.values.records import ProgramStarted
from akiosd.wire.messages import LogEntries, ReadLog

if TYPE_CHECKING:
    from akiosctl.run_options import RunOptions

MOST_AT_END = 200_000
"""Entries that are looked through at the end of a run; ``akiosctl why`` reads all."""
_HEAD = 64
_STARTED = b"program_started"
_SECOND_NS = 1_000_000_000
_MOST_BEFORE = 1024


class Reading:
    """What a log told so far: ``go_on`` reads what came since.  A log may be larger than memory;
    ``head`` are its first records, among which its birth is.  With ``program``, the number of one
    in a standing cage, only what was since it began is told, and in the second before: equal
    denials of a second are one record, so its own may be counted in that of the program before.
    """

    def __init__(self, program: int = 0) -> None:
        self._awaited = program
        self._before: deque[bytes] = deque(maxlen=_MOST_BEFORE)
        self.head: list[bytes] = []
        self.groups: dict[str, Group] = {}
        self.ends = DeadEnds()
        self._next = 0

    def go_on(self, client: Client, cage: str) -> None:
        """Raises :class:`AkiosError`."""
        collect(self._read(client, cage), self.ends, self.groups)

    def _read(self, client: Client, cage: str) -> Iterator[bytes]:
        for entry in read_entries(client, cage, start=self._next):
            self._next += 1
            if len(self.head) < _HEAD:
                self.head.append(entry)
            if not self._awaited:
                yield entry
                continue
            self._before.append(entry)
            if _begins(entry, self._awaited):
                self._awaited, since_ns = 0, read_record(entry).ts - _SECOND_NS
                yield from (one for one in self._before if read_record(one).ts >= since_ns)
                self._before.clear()


def _begins(entry: bytes, program: int) -> bool:
    if entry.find(_STARTED, 0, 32) < 0:
        return False
    record = read_record(entry)
    return isinstance(record, ProgramStarted) and record.program == program


def read_entries(client: Client, cage: str, most: int = 1 << 62, start: int = 0) -> Iterator[bytes]:
    while start < most:
        reply, _ = client.call(ReadLog(cage=cage, start=start, stop=1 << 62), LogEntries)
        if not reply.entries:
            return
        yield from reply.entries
        start = reply.start + len(reply.entries)


def of_run(path: str, cage: str, workspace: str, options: RunOptions) -> list[Told]:
    """What a run that just ended was denied.  Raises :class:`AkiosError`."""
    from akiosctl.run_options import policy_flags

    ends = DeadEnds()
    with Client(path) as client:
        groups = collect(read_entries(client, cage, MOST_AT_END), ends)
        system = ask_system(client)
    explicit, flags = options.value("policy"), policy_flags(options)
    layers = layers_of(workspace, explicit, flags, system)
    where = [*_options_of(flags), *files_of(workspace, explicit, system)]
    return explain(groups, layers, where, ends, system.config_file)


def _options_of(flags: dict[str, Any]) -> Iterator[Place]:
    """The options that set a value over whatever the files say."""
    from akiosctl.run_options import POLICY_OPTIONS

    for name, (section, key) in POLICY_OPTIONS.items():
        if key in flags.get(section, {}):
            yield Place("flags", f"--{name}", YOU, f"{section}.{key}")


def layers_of(
    workspace: str, explicit: str | None, flags: dict[str, Any], system: SystemPolicy
) -> list[Layer]:
    layers = policy_files.find_layers(Path(workspace), explicit, system=system)
    return [*layers, Layer("flags", policy_files.decode_flags(flags))] if flags else layers


def files_of(workspace: str, explicit: str | None, system: SystemPolicy) -> Sequence[Any]:
    return places(workspace, system.file, str(policy_files.user_policy_path()), explicit)
