"""Starts each step of a workflow as a cage of its own, and brings back what it says.

What a cage shows is found and opened once, for the workflow; each step is shown what its own policy
leaves of it.  A step is known by its arguments, too: the birth of its cage, which is in the ledger
before the step begins, has the name of the run, the step, and the head of the journal.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from akiosctl.client import PlainClient
from akiosctl.data_directories import make_data
from akiosctl.prepare_run import make_bind, prepare
from akiosctl.run_options import RunOptions
from akiosctl.run_policy import choose_environment
from akiosctl.started import take_started
from akiosctl.step_talk import Talk, connect
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.places import DATA
from akiosd.values.policy import Policy
from akiosd.values.step_call import MAX_REQUEST, StepFailure, StepRequest, StepResult
from akiosd.values.usage import Usage

if TYPE_CHECKING:
    from akiosctl.foreign_changes import ForeignChanges

_NOTHING = b"/usr/bin/true"
PROGRAM = "akiosd.workflow.steps.perform"
STOPPED = ("the run was stopped", "", "go on with it, or start a new one")
_RESULT = msgspec.json.Decoder(StepResult)


class Heard(NamedTuple):
    """What became of one cage.  ``lost``: nobody said how it ended, though it was started."""

    result: StepResult
    cage: str = ""
    usage: Usage = Usage()
    changes: bool = False
    lost: bool = False


class StepCages:
    """To be closed; several threads may call :meth:`perform`."""

    def __init__(
        self,
        path: str,
        workspace: str,
        data: str = "",
        foreign: bool = False,
        *,
        shares: str = "",
        most: int = 0,
    ) -> None:
        """``path`` is akiosd's socket, ``workspace`` the project; ``data`` is where its data lies,
        "" for as its policy says.  ``foreign``: the project is the word of somebody else
        (:func:`akiosctl.verbs.run.prepare`), and of ``most`` bytes at most.  ``shares``: the id of
        the standing cage whose budget calls to models have to fit into.  Raises AkiosError.
        """
        self._path, self._fds, self._shares = path, list[int](), shares
        self._lock, self._stopped = threading.Lock(), False
        self._running: set[str] = set()
        self._foreign: ForeignChanges | None = None
        if foreign:
            from akiosctl.foreign_changes import ForeignChanges

            self._foreign = ForeignChanges(path, most)
        options = RunOptions([sys.executable, "-I"], {"workspace": [workspace], "quiet": []})
        client = PlainClient(path)
        try:
            self._request, self._policy, _ = prepare(
                options, False, self._fds, client, workspace, foreign, own_command=True
            )
            self.workspace = os.fsdecode(self._request["workspace"])  # type: ignore[arg-type]
            place = data or self._policy.data
            self._data, self.base = make_data(self._fds[0], self.workspace, place)
        except BaseException:
            close_fds(self._fds)
            raise
        finally:
            client.close()

    def close(self) -> None:
        """Nothing is started any more."""
        close_fds([*self._fds, *self._data.values()])

    @property
    def output_fd(self) -> int:
        """``data/output`` (O_PATH); it stays this object's."""
        return self._data["output"]

    def perform(self, policy: Policy, request: StepRequest, words: tuple[str, ...]) -> Heard:
        """Do a step in a cage with this policy, and wait.  ``words`` stand in the ledger.

        Raises AkiosError where no cage was started.
        """
        data = msgspec.json.encode(request)
        if len(data) > MAX_REQUEST:
            raise AkiosError(
                f"the values of the step have {len(data):,} bytes; at most {MAX_REQUEST:,} are"
                " allowed",
                "parameters",
                "write them to a file, and name that",
            )
        run, sent = self._narrowed(policy, words)
        if self._shares and policy.network.llm:
            run["shares"] = self._shares
        if self._stopped:
            raise AkiosError(*STOPPED)
        with self._start(run, sent) as talk, self._known(talk.cage):
            heard = _read(talk, data)
        if self._foreign is not None and heard.changes:
            heard = _bring(self._foreign, policy, heard)
        if self._stopped and heard.result.failure is not None:
            # It may have been killed in the midst of what it does.
            return heard._replace(result=_no_result(STOPPED[0], heard.cage, STOPPED[2]), lost=True)
        return heard

    def stop(self) -> None:
        """Kill what runs, and start nothing any more; any thread may."""
        with self._lock:
            self._stopped = True
            running = sorted(self._running)
        for cage in running:
            self._kill(cage)

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped

    @contextmanager
    def _known(self, cage: str) -> Iterator[None]:
        with self._lock:
            self._running.add(cage)
            stopped = self._stopped
        try:
            if stopped:
                self._kill(cage)
            yield
        finally:
            with self._lock:
                self._running.discard(cage)

    def _kill(self, cage: str) -> None:
        client = PlainClient(self._path)
        try:
            client.request("stop", {"cage": cage, "grace_ns": 0})
            _, fds = client.receive()  # that it has ended already is no error
            close_fds(fds)
        finally:
            client.close()

    def anchor(self, policy: Policy, words: tuple[str, ...], place: str) -> str:
        """Have ``words`` in the ledger, in the birth of a cage that does nothing; returns its id.

        Its directory is ``place``, not the project, of which it would be the last cage.  Raises
        AkiosError where no cage was started, OSError for no such directory.
        """
        run, _ = self._narrowed(policy, ())
        argv = [os.fsencode(word) for word in ("true", *words)]
        where = os.fsencode(place)
        run |= {"argv": argv, "command": _NOTHING, "discard": True, "binds": [], "stores": []}
        directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._start(run | {"workspace": where, "cwd": where}, [directory]) as talk:
                talk.hear(b"")
                return talk.cage
        finally:
            os.close(directory)

    def _start(self, run: dict[str, object], sent: list[int]) -> Talk:
        client = connect(self._path)
        try:
            number = client.request("run", run, sent)
            started, fds = take_started(client, number)
        except BaseException:
            client.close()
            raise
        return Talk(client, number, started, fds)

    def _narrowed(
        self, policy: Policy, words: tuple[str, ...]
    ) -> tuple[dict[str, object], list[int]]:
        """The fields of ``Run``, and the descriptors to send with it; all stay ours."""
        sent = [self._fds[0]]
        binds: list[dict[str, object]] = []
        shown = {"read": policy.filesystem.read, "write": policy.filesystem.write}
        whole: Any = self._request["binds"]
        for bind in whole:
            place = os.fsdecode(bind["path"])
            if place in shown.get(bind["kind"], (place,)):
                binds.append(self._taken(bind, sent))
        # What is written directly, or not at all, has no place of its own for it.
        if policy.filesystem.workspace not in ("ro", "rw-direct"):
            for kind, fd in self._data.items():
                if kind == "output" and self._foreign is not None:
                    continue  # it would be outside the limit of the cage's disk
                path = f"{self.workspace}/{DATA[kind]}"
                binds.append(make_bind(path, fd, kind, "data", sent))
        argv = [sys.executable, "-I", "-m", PROGRAM, *words]
        run = self._request | {
            "policy": _packed(policy),
            "argv": [os.fsencode(word) for word in argv],
            "cwd": os.fsencode(self.workspace),
            "env": self._environment(policy),
            "binds": binds,
            "detach": False,
            "keep_output": False,
            "one_output": False,
        }
        return run, sent

    def _taken(self, bind: Mapping[str, Any], sent: list[int]) -> dict[str, object]:
        sent.append(self._fds[bind["fd"]])
        taken = dict(bind, fd=len(sent) - 1)
        if "holder" in bind:
            sent.append(self._fds[bind["holder"]])
            taken["holder"] = len(sent) - 1
        return taken

    def _environment(self, policy: Policy) -> dict[bytes, bytes]:
        """Without the variables that the step's policy keeps out."""
        whole: Any = self._request["env"]
        everywhere = choose_environment(self._policy, [], [])
        kept = choose_environment(_Kept(policy), [], [])  # type: ignore[arg-type]
        return {
            name: value for name, value in whole.items() if name in kept or name not in everywhere
        }


class _Kept:
    """Of a policy what the environment is chosen by."""

    def __init__(self, policy: Policy) -> None:
        self.keep, self.set = list(policy.environment.keep), dict(policy.environment.set)


def _packed(policy: Policy) -> object:
    from akiosctl.plain_msgpack import Packed

    return Packed(msgspec.msgpack.encode(policy))


def _read(talk: Talk, data: bytes) -> Heard:
    """What a step that was started says."""
    cage = talk.cage
    try:
        ended = talk.hear(data)
    except AkiosError as error:
        return Heard(_no_result(error.what, cage, error.next), cage, lost=True)
    usage = msgspec.convert(ended.get("usage", {}), Usage)
    changes = bool(ended.get("changes"))
    if ended.get("kind", "exited") == "exited":
        try:
            return Heard(_RESULT.decode(talk.said), cage, usage, changes)
        except (msgspec.DecodeError, RecursionError):
            pass
    reason = str(ended.get("reason", "")) or f"exit status {ended.get('exit_code', 0)}"
    tail = talk.errors.decode("utf-8", "replace").strip().splitlines()[-1:]
    words = "; ".join(["the step's program gave no result: " + reason, *tail])
    return Heard(_no_result(words, cage), cage, usage, changes)


def _bring(place: ForeignChanges, policy: Policy, heard: Heard) -> Heard:
    """What it changed in a directory whose files are somebody else's word: settled here."""
    result = heard.result
    whole = policy.filesystem.workspace == "rw" and result.failure is None
    try:
        note = place.bring(heard.cage, whole=whole)
        result = msgspec.structs.replace(result, notes=[*result.notes, *([note] if note else [])])
    except AkiosError as error:
        if result.failure is None:
            failure = StepFailure(error.what, error.where, error.next)
            result = msgspec.structs.replace(result, failure=failure)
    return heard._replace(result=result, changes=False)


def _no_result(what: str, cage: str, next: str = "") -> StepResult:
    next = next or f"akiosctl why {cage}"
    return StepResult(failure=StepFailure(what, f"cage {cage}", next, may_be_done=True))
