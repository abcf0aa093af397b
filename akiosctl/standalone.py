"""``akiosctl run --standalone``: as root and without a service, a private akiosd for one run."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from akiosctl.render import note
from akiosctl.run_options import RunOptions
from akiosd.errors import AkiosError

_START_SECONDS = 60
_STOP_SECONDS = 30
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
"""All that a root process gets of the caller's; what a service manager would set is not wanted
here.
"""


class _KilledError(AkiosError):
    """The daemon had to be killed; what it wrote is kept, for nothing has verified it."""


class RunWith(Protocol):
    """A run by the daemon at ``path``; its exit status."""

    def __call__(self, options: RunOptions, path: str, as_json: bool, *, keeps: bool) -> int: ...


def run_standalone(options: RunOptions, as_json: bool, run_with: RunWith) -> int:
    """Start the daemon, run, verify what it wrote, stop it.  The exit status is the run's; 125 if
    the log is bad.
    """
    if os.geteuid() != 0:
        raise AkiosError(
            "--standalone starts akiosd, which needs root",
            "akiosctl run",
            "use sudo; or start the service, which needs no root to run agents",
        )
    if options.has("detach"):
        raise AkiosError(
            "the akiosd of --standalone ends with its run, so it cannot go to the background",
            "akiosctl run",
            "leave out --detach",
        )
    directory = tempfile.mkdtemp(
        prefix="akios-standalone-", dir="/var/tmp" if os.path.isdir("/var/tmp") else None
    )
    keep = False
    try:
        with private_daemon(directory):
            code = run_with(options, f"{directory}/run/control.sock", as_json, keeps=False)
        verdicts = verify_all(Path(directory) / "state")
        bad = [line for line, exit_code in verdicts if exit_code != 0]
        for line in bad or (
            [line for line, _ in verdicts] if not options.has("quiet") and not as_json else []
        ):
            note(line)
        keep = bool(bad)
        return 125 if bad else code
    except _KilledError:
        keep = True
        raise
    finally:
        if keep:
            note(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def private_daemon(directory: str) -> Iterator[None]:
    """An akiosd on ``directory``, ready to be used inside the ``with``; its log lies in
    ``akiosd.log`` there.
    """
    ready_read, ready_write = os.pipe()
    log = f"{directory}/akiosd.log"
    with open(log, "wb") as log_file:
        daemon = subprocess.Popen(
            [
                # Isolated: the caller's directory, which an agent may have written to, and
                # variables are nothing to it.
                *(sys.executable, "-I", "-m", "akiosd.daemon.main"),
                *("--state-dir", f"{directory}/state", "--runtime-dir", f"{directory}/run"),
                *("--ready-fd", str(ready_write)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            cwd="/",
            env=_ENVIRONMENT,
            pass_fds=[ready_write],
            # Ctrl-C is for the agent, not for its daemon.
            start_new_session=True,
        )
    os.close(ready_write)
    try:
        _wait_ready(ready_read, daemon, log)
        yield
    finally:
        os.close(ready_read)
        _stop(daemon, directory)


def _wait_ready(ready: int, daemon: subprocess.Popen[bytes], log: str) -> None:
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    if poll.poll(_START_SECONDS * 1000) and os.read(ready, 1):
        return
    daemon.poll()
    with open(log, "rb") as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    raise AkiosError(
        "akiosd did not start: " + ("; ".join(lines[-3:]) or "it said nothing"),
        "--standalone",
        "see what this host lacks: akiosctl doctor",
    )


def _stop(daemon: subprocess.Popen[bytes], directory: str) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
        raise _KilledError(
            f"akiosd did not stop within {_STOP_SECONDS} s and was killed, so this exit status is"
            " not the agent's",
            directory,
            f"to see how the run ended: sudo akiosd --detach --state-dir {directory}/state"
            f" --runtime-dir {directory}/run; sudo akiosctl --socket {directory}/run/control.sock"
            " ps --all",
        ) from None


def verify_all(state: Path) -> list[tuple[str, int]]:
    """(line, exit code of verify) for the host's log and each cage's, from the files alone."""
    from akiosd.store.fsck import fsck
    from akiosd.store.log_dir import directory
    from akiosd.values.ids import HOST_LOG, CageId, LogId

    host = state / directory(HOST_LOG)
    report = fsck(host)
    found = [
        (f"ledger verify: {report.verdict} (host log, {report.size} records)", report.exit_code)
    ]
    cages = state / "cages"
    for cage in sorted(os.listdir(cages)) if cages.is_dir() else []:
        log = state / directory(LogId(CageId(cage)))
        if log.is_dir():
            report = fsck(log, host=host, cage=cage)
            text = (
                f"ledger verify: {report.verdict} ({cage}, {report.size}"
                f" records{_detail(report.detail)})"
            )
            found.append((text, report.exit_code))
    return found


def _detail(text: str) -> str:
    return f": {text}" if text else ""
