"""Slow work: begun by one request, looked at by others.  Bounded in number and in bytes for each
token; kept in memory.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec

from akiosctl.api import forms
from akiosctl.api.once import other_request
from akiosctl.api.problems import Refusal, server_ends
from akiosctl.progress import Progress
from akiosd.errors import AkiosError
from akiosd.values.units import format_size

_MOST = 256
MOST_BYTES = 32 << 20
"""Of the results of one token; the last one is kept whatever it has."""
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
    """A job.  ``key`` is the Idempotency-Key with which it was begun, "" for none, by a request
    whose hash is ``what``.  One that ``was_dropped`` has no result any more; its key still holds.
    """

    def __init__(self, owner: str, kind: type[AnyJob], about: str, key: str, what: bytes) -> None:
        self.id = secrets.token_hex(8)
        self.owner, self.kind, self.about, self.key, self.what = owner, kind, about, key, what
        self.created_ns = time.time_ns()
        self.size, self.ended, self.was_dropped = 0, 0.0, False
        self.progress = Progress("working", "steps", wanted=False)
        self.result: Mapping[str, object] | None = None
        self.error: forms.JobError | None = None

    @property
    def running(self) -> bool:
        return self.result is None and self.error is None and not self.was_dropped

    def describe(self) -> AnyJob:
        """Raises :class:`Refusal` where nothing is known any more but that it ended."""
        if self.was_dropped:
            room = format_size(MOST_BYTES)
            raise Refusal(
                HTTPStatus.GONE,
                f"this job is done, and its result is no longer kept: at most {room} of results are"
                " kept for each token",
                self.id,
                "see what it did: GET /api/v1/cages; to do it again, use a new Idempotency-Key",
            )
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

    def run(self, work: Work) -> Mapping[str, object] | None:
        """What came of it, to be kept; None where it failed, which it keeps itself."""
        try:
            found = work(self.progress)
            self.size, self.ended = len(msgspec.json.encode(found)), time.monotonic()
            return found
        except AkiosError as error:
            self.error = forms.JobError(error.what, error.where, error.next)
            return None
        except BaseException:
            self.error = forms.JobError("the work failed", self.about, "see the server's log")
            raise


class Jobs:
    """Each belongs to the token that began it: no other token sees it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """From here on none begins."""
        with self._lock:
            self._closed = True

    def begin(
        self, owner: str, kind: type[AnyJob], about: str, key: str, asked: bytes, work: Work
    ) -> AnyJob:
        """Start ``work`` in a thread; with a ``key`` that was used before, the job of then.
        ``asked``: all that the request says besides, of which a key is for one.
        """
        request = msgspec.json.encode((_KINDS[kind], about))
        what = hashlib.sha256(request + asked).digest()
        with self._lock:
            again = self._find_again(owner, key, what)
            if again is not None:
                return again.describe()
            if self._closed:
                raise server_ends("jobs")
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
                    f"{len(running)} jobs run on this server, {own} of them of this token, which"
                    " can begin no more now",
                    "jobs",
                    "ask again when one is done: GET /api/v1/jobs/ID",
                    rule="serve.jobs",
                    headers={"Retry-After": "5"},
                )
            job = _Kept(owner, kind, about, key, what)
            self._kept[job.id] = job
            self._forget(owner)
        threading.Thread(target=self._drive, args=(job, work), daemon=True, name="job").start()
        return job.describe()

    def _drive(self, job: _Kept, work: Work) -> None:
        result = job.run(work)
        with self._lock:
            job.result = result
            self._drop(job.owner)

    def find(self, owner: str, name: str) -> AnyJob:
        """How a job is.  Raises a 404 for none, and for another token's."""
        job = self._kept.get(name)
        if job is None or job.owner != owner:
            what = "there is no such job, or another token started it"
            raise Refusal(HTTPStatus.NOT_FOUND, what, name, "start the work again")
        return job.describe()

    def _find_again(self, owner: str, key: str, what: bytes) -> _Kept | None:
        mine = (job for job in self._kept.values() if key and (job.owner, job.key) == (owner, key))
        again = next(mine, None)
        if again is not None and again.what != what:
            raise other_request()
        return again

    def _drop(self, owner: str) -> None:
        """The results of ``owner`` that ended first go."""
        own = [job for job in self._kept.values() if job.owner == owner and job.result is not None]
        own.sort(key=lambda job: job.ended)
        size = sum(job.size for job in own)
        for job in own[:-1]:
            if size <= MOST_BYTES:
                return
            job.was_dropped, job.result = True, None
            size -= job.size

    def _forget(self, owner: str) -> None:
        """The oldest of ``owner`` go: nobody's are forgotten because of another's."""
        own = [name for name, job in self._kept.items() if job.owner == owner]
        for name in own[: max(0, len(own) - _MOST)]:
            if not self._kept[name].running:
                del self._kept[name]
