"""Performs one step in a cage of the real daemon: the program that steps are, by ``akiosctl run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon

PROGRAM = (sys.executable, "-I", "-m", "akiosd.workflow.steps.perform")


def step(
    daemon: Daemon,
    workspace: Path,
    kind: str,
    action: str,
    parameters: dict[str, Any],
    config: dict[str, Any] | None = None,
    *,
    flags: tuple[str, ...] = (),
    key: str = "",
) -> dict[str, Any]:
    """The result; the cage is told to commit, so that files are there to be looked at."""
    request = {
        "kind": kind,
        "action": action,
        "config": config or {},
        "parameters": parameters,
        "idempotency_key": key,
    }
    done = daemon.run(
        *PROGRAM, flags=("-q", "--rw", *flags), cwd=workspace, input=json.dumps(request)
    )
    assert done.returncode in (0, 1), done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 1) == ("failure" in result), result
    return result


def said(result: dict[str, Any]) -> str:
    """The words of a failure; "" when there is none."""
    failure = result.get("failure") or {}
    return f"{failure.get('what', '')} | {failure.get('next', '')}" if failure else ""
