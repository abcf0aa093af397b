"""Slow work: begun by one request, looked at by others.  Bounded in number for each token; kept in
memory.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec

from akiosctl.api import forms
from akiosctl.api.problems import Refusal
from akiosctl.progress import Progress
from akiosd.errors import AkiosError

_MOST = 256
_MOST_RUNNING = 4
_MOST_OF_ONE = 2
_MOST_PROGRAMS = 16
_MOST_PROGRAMS_OF_ONE = 12
"""Each holds a connection to akiosd, which takes 256 of one user."""
AnyJob = forms.VerifyJob | forms.CommitJob | forms.DownJob | forms.ExecJob
ANY_JOB = (forms.VerifyJob, forms.CommitJob, forms.DownJob, forms.ExecJob)
_KINDS: dict[type[AnyJob], str] = {
    forms.VerifyJob: "verify",
    forms.CommitJob: "commit",
    forms.DownJob: "down",
    forms.ExecJob: "exec",
}
Work = Callable[[Progress], Mapping[str, object]]


class _Kept:
    """A job.  ``key`` is the Idempotency-Key with which it was begun, "" for none."""

    def __init__(self, owner: str, kind: type[AnyJob], about: str, key: str) -> None:
        self.id = secrets.token_hex(8)
        self.owner, self.kind, self.about, self.key = owner, kind, about, key
        self.created_ns = time.time_ns()
        self.progress = Progress("working", "steps", wanted=False)
        self.result: Mapping[str, object] | None = None
        self.error: forms.JobError | None = None

    @property
    def running(self) -> bool:
        return self.result is None and self.error is None

    def describe(self) -> AnyJob:
        state = "running" if self.running else "failed" if self.error else "done"
        found = {
            "id": self.id,
            "kind": _KINDS[self.kind],
            "about": self.about,
            "state": state,
            "created_ns": self.created_ns,
            "progress": forms.Progress(self.progress.done, self.progress.total),
            "result": self.result,
            "error": self.error,
        }
        return msgspec.convert(found, self.kind)

    def run(self, work: Work) -> None:
        try:
            self.result = work(self.progress)
        except AkiosError as error:
            self.error = forms.JobError(error.what, error.where, error.next)
        except BaseException:
            self.error = forms.JobError("the work failed", self.about, "see the server's log")
            raise


class Jobs:
    """Each belongs to the token that began it: no other token sees it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, owner: str, kind: type[AnyJob], about: str, key: str, work: Work) -> AnyJob:
        """Start ``work`` in a thread; with a ``key`` that was used before, the job of then."""
        with self._lock:
            again = self._find_again(owner, kind, about, key)
            if again is not None:
                return again.describe()
            is_program = kind is forms.ExecJob
            running = [
                job
                for job in self._kept.values()
                if job.running and (job.kind is forms.ExecJob) == is_program
            ]
            own = sum(job.owner == owner for job in running)
            most = (_MOST_RUNNING, _MOST_OF_ONE)
            if is_program:
                most = (_MOST_PROGRAMS, _MOST_PROGRAMS_OF_ONE)
            if len(running) >= most[0] or own >= most[1]:
                raise Refusal(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    f"{own} jobs of this token run, {len(running)} in all, and no more can be"
                    " begun",
                    "jobs",
                    "ask again when one is done: GET /api/v1/jobs/ID",
                    rule="serve.jobs",
                    headers={"Retry-After": "5"},
                )
            job = _Kept(owner, kind, about, key)
            self._kept[job.id] = job
            self._forget(owner)
        threading.Thread(target=job.run, args=(work,), daemon=True, name="job").start()
        return job.describe()

    def find(self, owner: str, name: str) -> AnyJob:
        """How a job is.  Raises a 404 for none, and for another token's."""
        job = self._kept.get(name)
        if job is None or job.owner != owner:
            what = "there is no such job, or another token started it"
            raise Refusal(HTTPStatus.NOT_FOUND, what, name, "start the work again")
        return job.describe()

    def _find_again(self, owner: str, kind: type[AnyJob], about: str, key: str) -> _Kept | None:
        mine = (job for job in self._kept.values() if key and (job.owner, job.key) == (owner, key))
        again = next(mine, None)
        if again is not None and (again.kind, again.about) != (kind, about):
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for other work",
                "Idempotency-Key",
                "use a new key for each piece of work",
            )
        return again

    def _forget(self, owner: str) -> None:
        """The oldest of ``owner`` go: nobody's are forgotten because of another's."""
        own = [name for name, job in self._kept.items() if job.owner == owner]
        for name in own[: max(0, len(own) - _MOST)]:
            if not self._kept[name].running:
                del self._kept[name]
