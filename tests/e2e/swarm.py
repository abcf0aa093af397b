"""Many runs at once through the typed client, without a process for each: for the tests that
count.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from akiosctl.client import Client
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.policy import DEFAULT_POLICY, Policy
from akiosd.wire.messages import Ended, Run, Started


def run_once(
    socket: Path, workspace: Path, argv: Sequence[str], policy: Policy = DEFAULT_POLICY
) -> Ended:
    """One run from request to end; the agent's output is dropped, its input is empty."""
    where = os.fsencode(workspace)
    request = Run(
        policy=policy,
        argv=tuple(map(os.fsencode, argv)),
        command=os.fsencode(argv[0]),
        cwd=where,
        workspace=where,
        home=b"/root",
        user_name="root",
    )
    with Client(str(socket)) as client:
        directory = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            client.send(request, [directory])
        finally:
            os.close(directory)
        received = client.receive()
        close_fds(received.fds)
        if isinstance(received.message, Started):
            received = client.receive()
        assert isinstance(received.message, Ended), received.message
        return received.message


def run_many(
    socket: Path, workspace: Path, argv: Sequence[str], total: int, at_once: int
) -> list[Ended]:
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(lambda _: run_once(socket, workspace, argv), range(total)))
