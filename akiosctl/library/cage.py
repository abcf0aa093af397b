"""``Cage``: a standing cage for a block of Python, in which programs run.

It does what the verbs ``cage up``, ``run --cage``, ``cp``, ``diff``, ``commit`` and ``cage down``
do, by their own functions, as the user who runs it.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Unpack

from akiosctl.cage_down import Asked, take_one
from akiosctl.cage_up import cage_up, name_for
from akiosctl.changes.render import to_json
from akiosctl.changes.walk import CLOCK_GRAIN_NS
from akiosctl.client import Client, GoneError, socket_path
from akiosctl.commit_cage import commit_cage, discard_cage, open_view
from akiosctl.library.files import Place, place_of, read_piece, write_piece
from akiosctl.library.program import Program
from akiosctl.library.values import (
    CageError,
    CageFileError,
    Change,
    Denial,
    Done,
    EndedError,
    Options,
    Path,
    ProgramTimeout,
    Spent,
    Stream,
    as_bytes,
    done_of,
    failed,
    input_bytes,
    next_after,
    with_denials,
)
from akiosctl.programs import program_request, refuse_nul
from akiosctl.read_denials import Reading
from akiosctl.records_text import record_json
from akiosctl.standing_cages import find_standing, list_standing
from akiosctl.verbs.cp import copy_in, copy_out
from akiosctl.verbs.diff import tell_refused
from akiosctl.verbs.events import events_path
from akiosctl.verbs.why import tell_why
from akiosd.errors import AkiosError
from akiosd.store.wipe import How
from akiosd.values.units import parse_size
from akiosd.wire.messages import (
    BudgetInfo,
    BudgetReply,
    CageInfo,
    Down,
    LogEntries,
    Ok,
    ReadLog,
    Records,
    Subscribe,
)

_MICRO = 1_000_000
MOST_READ = 64 << 20
_LIMITS = ("policy", "mode", "memory", "pids", "cpu", "disk", "budget", "timeout", "trace")
_ENDS_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_NEW_CAGE = "with Cage() as cage"
_STILL_THERE = "diff() and commit() of the old one work until its with block ends"


class Cage:
    """A cage for the project at ``workspace`` (by default the one of the working directory), from
    ``with`` to its end.

    At the end everything in it is killed, and what was not committed is destroyed; with ``keep``
    it is only killed, and diff, commit and log wait.  It makes ``data/input`` and ``data/output``
    in the project, as every standing cage does.  Several threads may use one.
    """

    def __init__(self, workspace: Path | None = None, **options: Unpack[Options]) -> None:
        unknown = next((one for one in options if one not in Options.__annotations__), None)
        if unknown is not None:
            raise TypeError(f"a cage has no {unknown}; it has {', '.join(Options.__annotations__)}")
        self._path, self._wanted = socket_path(options.get("socket")), options.get("name")
        self._keep = options.get("keep", False)
        self._given = {
            name: [_checked(name, str(value))] for name, value in options.items() if name in _LIMITS
        }
        if workspace is not None:
            self._given["workspace"] = [os.path.abspath(_checked("workspace", workspace))]
        if env := options.get("env"):
            self._given["env"] = [f"{key}={value}" for key, value in env.items()]
        if keep_env := options.get("keep_env"):
            self._given["keep_env"] = list(keep_env)
        if options.get("allow_degraded"):
            self._given["allow_degraded"] = []
        self._is_down = False
        self._ending_method = ""
        """What ended it, where a method did."""
        self.id = ""
        self.name = ""
        self.workspace = ""

    def __enter__(self) -> Cage:
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def up(self) -> None:
        """Make it.  Raises ``AkiosError``."""
        place = self._given.get("workspace", [os.getcwd()])[0]
        wanted = self._wanted or f"{name_for(place)[:48]}-{secrets.token_hex(4)}"
        # What this program wrote just now is older than the cage: a commit tells by the clock.
        time.sleep(CLOCK_GRAIN_NS / 1e9)
        self.id, self.name = cage_up(self._given, wanted, self._path, quiet=True)
        self.workspace = os.fsdecode(self._info().workspace)

    def down(self) -> None:
        """Kill everything in it; without ``keep`` destroy its log and what was not committed."""
        if not self.id:
            return
        if self._keep:
            self._end("down()")
            return
        how = Asked(How(fast=True), keep=True, discard=True, dry_run=False, as_json=True)
        with Client(self._path) as client:
            take_one(client, find_standing(list_standing(client), self.id), how)
        self.id, self._is_down = "", True

    def start(
        self, *command: Path, cwd: Path = "", env: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program, and return while it runs.  ``cwd`` is below the project."""
        if not command:
            raise TypeError("no command was given")
        words = [os.fspath(word) for word in command]
        variables = {os.fsencode(k): os.fsencode(v) for k, v in (env or {}).items()}
        place, directory = self._place(), os.fspath(cwd)
        request = program_request(self.id, place, words, directory, variables)
        with self._explained():
            return Program(self._path, request, words[0])

    def run(
        self,
        *command: Path,
        input: bytes | str | None = None,
        timeout: float | None = None,
        check: bool = False,
        cwd: Path = "",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a program to its end.  With ``check`` an exit code other than 0 raises
        :class:`ProgramFailed`, which tells what was denied; :class:`ProgramTimeout` is raised when
        it takes longer than ``timeout`` seconds.
        """
        data = input_bytes(input)
        program = self.start(*command, cwd=cwd, env=env)
        try:
            done = program.collect(timeout, data)
        except ProgramTimeout as slow:
            raise with_denials(slow, tuple(self.denials(program))) from None
        if check and done.exit_code:
            raise failed(done, program.command, tuple(self.denials(program)))
        return done

    def stream(
        self,
        *command: Path,
        input: bytes | str | None = None,
        timeout: float | None = None,
        cwd: Path = "",
        env: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Stream, bytes]]:
        """Run a program, and yield (stream, bytes) as it prints.  Raises :class:`ProgramFailed` at
        its end, where its exit code is not 0; :class:`ProgramTimeout` when it has not ended within
        ``timeout`` seconds.
        """
        data = input_bytes(input)
        program = self.start(*command, cwd=cwd, env=env)
        program.give(data)
        ended = False
        try:
            try:
                yield from program.pieces(timeout)
                found, ended = done_of(program.finish()), True
            except ProgramTimeout as slow:
                ended = True
                raise with_denials(slow, tuple(self.denials(program))) from None
        finally:
            if not ended:
                program.kill()
        if found.exit_code:
            raise failed(found, program.command, tuple(self.denials(program)))

    def write(self, path: Path, data: bytes | str) -> None:
        """Write a file inside; a relative path is below the project.  Directories on its way that
        are missing are made.  Raises :class:`CageFileError`; the file is as it was then.
        """
        content = as_bytes(data)
        with self._explained():
            write_piece(self._path, self.id, self._inside(path), content)

    def read(self, path: Path, most: int = MOST_READ) -> bytes:
        """Read a file inside, of at most ``most`` bytes.  Raises :class:`CageFileError`."""
        where = self._inside(path)
        with self._explained():
            data = read_piece(self._path, self.id, where, most + 1)
        if len(data) > most:
            what = f"{where.shown} is larger than {most} bytes"
            raise CageFileError(what, where.place, "allow more: most=…", errno.EFBIG)
        return data

    def copy_in(self, source: Path, target: Path) -> int:
        """Copy a file or a directory of the user's into the cage; returns how many files."""
        here, there = self._checked(source), self._checked(target)
        with self._explained():
            return copy_in(self._path, here, self.id, there).files

    def copy_out(self, source: Path, target: Path, most: str = "10G") -> int:
        """Copy out of the cage; no link is followed, and none made that leads out."""
        size, there, here = parse_size(most), self._checked(source), self._checked(target)
        with self._explained():
            return copy_out(self._path, self.id, there, here, size).files

    def diff(self) -> list[Change]:
        """What its programs changed in the project; they stand still meanwhile.  Nothing after
        :meth:`commit` or :meth:`discard`: no change waits then.
        """
        with Client(self._path) as client:
            info = self._info()
            if info.ended_ns and not info.changes:
                return []
            with open_view(client, self.id, running=not info.ended_ns, watched=False) as view:
                found = view.compare()
                rows = to_json(found, tell_refused(view, found))
        return [Change(row["path"], row["kind"], row.get("refused", "")) for row in rows]

    def commit(self, *, skip_refused: bool = False, force: bool = False) -> int:
        """End the cage, and write what it changed to the project: all or nothing, unless
        ``skip_refused``.  Returns how many files, 0 where no change waits.  Nothing runs in it
        afterwards; what goes on needs a new cage.
        """
        self._end("commit()")
        if not self._info().changes:
            return 0
        with Client(self._path) as client:
            _, report, place = commit_cage(
                client, self.id, skip_refused=skip_refused, force=force, watched=False
            )
        if report.failure is not None:
            what = f"not all was committed: {report.failure.reason}"
            raise CageError(what, place, f"correct that, and go on: akiosctl commit {self.id}")
        return len(report.done)

    def discard(self) -> None:
        """End the cage, and destroy what it changed.  Nothing runs in it afterwards."""
        self._end("discard()")
        if self._info().changes:
            with Client(self._path) as client:
                discard_cage(client, self.id)

    def why_down(self) -> str:
        """Why nothing can run in it any more, as after a limit; "" while it is up."""
        info = self._info()
        return info.reason or "it ended" if info.ended_ns else ""

    def budget(self) -> Spent:
        """What its calls to models cost so far."""
        with self._explained(), Client(self._path) as client:
            reply, _ = client.call(BudgetInfo(cage=self.id), BudgetReply)
        return Spent(
            reply.usd_micro / _MICRO,
            reply.limits.usd_micro / _MICRO,
            reply.calls,
            reply.input_tokens,
            reply.output_tokens,
            reply.refused,
        )

    def denials(self, program: Program | None = None) -> list[Denial]:
        """What was denied in it so far, by rule, each with what would allow it; with ``program``
        only what was since that one began, give or take a second.
        """
        reading = Reading(program.number if program is not None else 0)
        explicit = next(iter(self._given.get("policy", ())), None)
        with Client(self._path) as client:
            told, _ = tell_why(client, self.id, self._place(), explicit, reading)
        return [
            Denial(
                one.rule,
                one.what,
                one.count,
                tuple(name for name, _ in one.subjects),
                one.advice,
                one.setting,
            )
            for one in told
        ]

    def events(self, *, follow: bool = False) -> Iterator[dict[str, Any]]:
        """Its records, as ``akiosctl events --json`` prints them; with ``follow`` also what comes,
        up to its end.
        """
        start = 0
        with Client(self._path) as client:
            while not follow:
                reply, _ = client.call(ReadLog(cage=self.id, start=start, stop=1 << 62), LogEntries)
                if not reply.entries:
                    return
                yield from self._records(reply.start, reply.entries)
                start = reply.start + len(reply.entries)
        with Client(events_path(self._path)) as client:
            client.send(Subscribe(cages=(self.id,), cursors={self.id: 0}))
            while True:
                message = client.receive().message
                if isinstance(message, Records):
                    for event in self._records(message.start, message.entries):
                        yield event
                        if event["kind"] == "end":
                            return

    def _records(self, start: int, entries: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        for index, entry in enumerate(entries, start):
            yield record_json(self.id, index, entry)

    def _place(self) -> str:
        if not self.id:
            what = "the cage is down" if self._is_down else "the cage is not up yet"
            raise CageError(what, "Cage", "use it within: with Cage() as cage")
        return self.workspace

    def _info(self) -> CageInfo:
        """What akiosd says of it.  One that is ending is let end: until then akiosd takes it for
        one that runs.
        """
        until = time.monotonic() + _ENDS_SECONDS
        with Client(self._path) as client:
            while True:
                info = find_standing(list_standing(client), self.id)
                is_ending = info.ended_ns and info.state != "ended"
                if not is_ending or time.monotonic() > until:
                    return info
                time.sleep(_LOOK_SECONDS)

    def _end(self, by: str) -> None:
        self._place()
        if not self._info().ended_ns:
            with Client(self._path) as client:
                client.call(Down(cage=self.id), Ok)
            self._ending_method = by

    def _checked(self, path: Path) -> str:
        self._place()
        return _checked("path", path)

    def _inside(self, path: Path) -> Place:
        return place_of(self._place(), os.fspath(path))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What fails because its cage has ended is raised as that, with why it did."""
        try:
            yield
        except GoneError:
            raise
        except AkiosError as error:
            ended = self._tell_ended()
            if ended is None:
                raise
            raise ended from error

    def _tell_ended(self) -> EndedError | None:
        """None while it is up, or nobody knows."""
        try:
            why = self.why_down()
        except AkiosError:
            return None
        if self._ending_method:
            what = f"{self._ending_method} has ended this cage, and nothing runs in it any more"
            return EndedError(what, self.name, f"to go on, make a new one: {_NEW_CAGE}")
        if not why:
            return None
        help = next_after(why, f"make a new one: {_NEW_CAGE}")
        what = f"the cage has ended: {why.removeprefix('killed: ')}"
        return EndedError(what, self.name, f"{help}; {_STILL_THERE}")


def _checked(name: str, value: Path) -> str:
    word = os.fspath(value)
    refuse_nul(word, name)
    return word
