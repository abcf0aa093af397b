"""Performs steps in cages of the real daemon: by the program that does one, and many in one cage."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon

PROGRAM = (sys.executable, "-I", "-m", "akiosd.workflow.steps.perform")
# What the program does with one request, for one after the other.
MANY = """
import sys, msgspec
from akiosd.values.step_call import StepRequest
from akiosd.workflow.steps.perform import perform
out = sys.stdout
sys.stdout = sys.stderr
for line in sys.stdin:
    result = perform(msgspec.json.decode(line, type=StepRequest))
    print(msgspec.json.encode(result).decode(), file=out, flush=True)
"""

Json = dict[str, Any]


def request_of(
    kind: str, action: str, parameters: Json, config: Json | None = None, key: str = ""
) -> str:
    request = {"kind": kind, "action": action, "config": config or {}, "parameters": parameters}
    return json.dumps(request | {"idempotency_key": key})


def step(daemon: Daemon, workspace: Path, *what: Any, flags: tuple[str, ...] = ()) -> Json:
    """The result of one step, done by the program; what it wrote is committed."""
    data = request_of(*what)
    done = daemon.run(*PROGRAM, flags=("-q", "--rw", *flags), cwd=workspace, input=data)
    assert done.returncode in (0, 1), done.stderr
    result = read_result(done.stdout)
    assert (done.returncode == 1) == ("failure" in result), result
    return result


def read_result(text: str) -> Json:
    result: Json = json.loads(text)
    assert "fault of AKIOS" not in said(result), result
    return result


class Steps:
    """Steps in one cage, which is started for the first; use by :func:`many`."""

    def __init__(self, daemon: Daemon, workspace: Path) -> None:
        self._daemon, self.workspace = daemon, workspace
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, *what: Any) -> Json:
        if self._process is None:
            words = ("run", "-q", "--rw", "--workspace", str(self.workspace), "--")
            self._process = self._daemon.popen(
                *words, *(sys.executable, "-I", "-c", MANY),
                cwd=self.workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(request_of(*what) + "\n")
        self._process.stdin.flush()
        return read_result(self._process.stdout.readline())

    def commit(self) -> None:
        """End the cage, so that what it wrote is in the workspace."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate(timeout=60)
            assert process.returncode == 0


@contextmanager
def many(daemon: Daemon, workspace: Path) -> Iterator[Steps]:
    steps = Steps(daemon, workspace)
    try:
        yield steps
    finally:
        steps.commit()


def said(result: Json) -> str:
    """The words of a failure; "" when there is none."""
    failure = result.get("failure") or {}
    return f"{failure.get('what', '')} | {failure.get('next', '')}" if failure else ""
