"""Runs of workflows that this server drives: each in a thread, bounded in number, to be stopped.

What is known of a run stands in its journal; here is only who drives it, and what ended it besides
its steps.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

from akiosctl.api.problems import Refusal, server_ends
from akiosctl.api.scratch import fits
from akiosctl.workflow_start import Run
from akiosd.errors import AkiosError

MOST = 8
"""Each has at most as many connections to akiosd as steps at a time, of 256 that one user has.
Each token may have half of what the others leave."""
_MOST_WORDS = 256
PATIENCE_S = 5.0
"""Who stops a run waits so long for its end: that of its steps, and their last line in the log."""


class Runs:
    """Threads may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: Counter[str] = Counter()
        self._going: dict[str, Run] = {}
        self._over: dict[str, threading.Event] = {}
        self._why: OrderedDict[str, str] = OrderedDict()
        self._closed = False

    def close(self) -> None:
        """From here on none begins, and those that go on begin no step; :meth:`wait` for them."""
        with self._lock:
            self._closed, going = True, list(self._going.values())
        for run in going:
            # akiosd may take its time to kill the steps of one.
            threading.Thread(target=run.stop, daemon=True, name="stop a workflow").start()

    def wait(self) -> None:
        """After :meth:`close`: until all have ended, and written so; a while, since a step may be
        one that cannot be killed.
        """
        with self._lock:
            over = list(self._over.values())
        until = time.monotonic() + PATIENCE_S
        for one in over:
            one.wait(max(0.0, until - time.monotonic()))

    @contextmanager
    def take_place(self, owner: str) -> Iterator[None]:
        """The place of a run, from before it begins until it has ended; a 429 where the token
        ``owner`` may have no more.
        """
        with self._lock:
            if self._closed:
                raise server_ends("workflows")
            own, all = self._places[owner], self._places.total()
            if not fits(MOST, own, all - own):
                raise Refusal(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    f"{all} workflows run on this server, {own} of them of this token, which can"
                    " begin no more now",
                    "workflows",
                    "ask again when one has ended (GET /api/v1/workflows/runs), or stop one:"
                    " POST /api/v1/workflows/runs/ID/stop",
                    rule="serve.workflows",
                    headers={"Retry-After": "5"},
                )
            self._places[owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._places[owner] -= 1
                self._places += Counter()  # forgets those that have none

    def start(self, run: Run, held: ExitStack) -> str:
        """Drive it; returns its name.  ``run`` and what is ``held`` for it are this object's from
        here on.
        """
        with self._lock:
            is_late = self._closed
            if not is_late:
                self._going[run.name], self._over[run.name] = run, threading.Event()
                self._why.pop(run.name, None)
        if is_late:
            run.close()
            held.close()
            raise server_ends("workflows")
        threading.Thread(target=self._drive, args=(run, held), daemon=True, name="workflow").start()
        return run.name

    def has(self, name: str) -> bool:
        """Whether it is driven here."""
        return name in self._going

    def why(self, name: str) -> str:
        """What ended it besides its steps, "" for nothing."""
        return self._why.get(name, "")

    def stop(self, name: str) -> bool:
        """Have it end, and wait a while for that; False where it is not driven here."""
        with self._lock:
            run, over = self._going.get(name), self._over.get(name)
        if run is None or over is None:
            return False
        run.stop()
        over.wait(PATIENCE_S)
        return True

    def _drive(self, run: Run, held: ExitStack) -> None:
        why = ""
        try:
            run.drive()
        except AkiosError as error:
            why = f"{error.what}; {error.next}" if error.next else error.what
        except BaseException as error:
            why = f"this is a fault of AKIOS: {type(error).__name__}"
            print(f"akiosctl: workflow {run.name}: {error!r}", file=sys.stderr)
        finally:
            run.close()
            held.close()
            with self._lock:
                self._going.pop(run.name, None)
                self._over.pop(run.name).set()
                if why:
                    self._why[run.name] = why
                    while len(self._why) > _MOST_WORDS:
                        self._why.popitem(last=False)
