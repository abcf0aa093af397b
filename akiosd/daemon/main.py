"""akiosd: starts, serves until SIGTERM, stops without leaving anything behind."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import prctl
import trio

from akiosd import __version__
from akiosd.daemon.base import directories, systemd
from akiosd.daemon.base.background import detach, find_starter
from akiosd.daemon.base.check_settings import check_settings
from akiosd.daemon.base.log import configure_log, get_log
from akiosd.daemon.base.peers import Gate
from akiosd.daemon.base.restart_job import wants_restart
from akiosd.daemon.base.settings import Overrides, Settings, load_settings
from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.cages.take_over import take_over
from akiosd.daemon.host import Host
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.requests.expire_ended import expire
from akiosd.daemon.requests.renew_settings import Renewer
from akiosd.daemon.requests.retain_logs import retain
from akiosd.daemon.requests.supervisor import Supervisor
from akiosd.daemon.sockets.serve_clients import open_unix_listener, say_hello, serve_clients
from akiosd.daemon.sockets.serve_events import serve_events
from akiosd.errors import AkiosError
from akiosd.kernel import niceness
from akiosd.kernel.hashing import NATIVE
from akiosd.kernel.write_files import write_files
from akiosd.values import records
from akiosd.values.ids import HOST_LOG

_log = get_log("main")
_SWITCH_S = 0.0005
_MAKES_WAY = "restarted: cages go on"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The command line; see akiosd(8)."""
    parser = argparse.ArgumentParser(
        prog="akiosd", description="The AKIOS daemon: cages for AI agents."
    )
    parser.add_argument(
        "--config", type=Path, help="akiosd.yaml (default: /etc/akios/akiosd.yaml, if it exists)"
    )
    parser.add_argument(
        "--state-dir", help="where cages, ledger and keys live (default: /var/lib/akios)"
    )
    parser.add_argument("--runtime-dir", help="where the sockets are made (default: /run/akios)")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--ready-fd", type=int, default=-1, help="write one byte here when ready")
    parser.add_argument(
        "--check",
        action="store_true",
        help="read akiosd.yaml and the system policy, say what is wrong in them, and end",
    )
    parser.add_argument(
        "--detach",
        action="store_true",
        help="return once it is ready; its messages go to akiosd.log in the runtime directory",
    )
    parser.add_argument("--version", action="version", version=f"akiosd {__version__}")
    return parser.parse_args(argv)


def overrides_of(arguments: argparse.Namespace) -> Overrides:
    """The keys of akiosd.yaml that the command line gives."""
    return {key: getattr(arguments, key) for key in ("state_dir", "runtime_dir", "log_level")}


def harden() -> None:
    """Harden this process: no core dump, no ptrace, ``/`` as working directory, many descriptors, a
    strict umask.
    """
    prctl.set_dumpable(False)
    prctl.set_name("akiosd")
    os.chdir("/")
    with contextlib.suppress(ValueError):
        # 1, because a limit of 0 does not keep a core handler from being started (core(5)).  Where
        # the one who started us took that away, the posture of every cage says so.
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o077)


async def serve(settings: Settings, arguments: argparse.Namespace) -> None:
    """The whole daemon; returns after a graceful stop.  Raises AkiosError when it cannot start or
    go on.
    """
    config = settings.config
    state = Path(config.state_dir)
    ledger = Ledger.open(state, time.time_ns, os.urandom, hasher=NATIVE, write_files=write_files)
    host = Host(settings, ledger)
    runtime = Path(config.runtime_dir)
    asked = False
    async with trio.open_nursery() as ledger_nursery:
        await ledger_nursery.start(ledger.run)
        try:
            await host.open_keeper()
            cages = await take_over(host)
            await _serve_until_told(host, runtime, arguments, cages)
            asked = True
        finally:
            with trio.CancelScope(shield=True):
                with contextlib.suppress(AkiosError):
                    ledger.append(HOST_LOG, records.DaemonStop(ts=time.time_ns(), reason="stopped"))
                await host.close(for_good=asked)
                await ledger.aclose()


async def _serve_until_told(
    host: Host, runtime: Path, arguments: argparse.Namespace, cages: list[Cage]
) -> None:
    config = host.config
    gate = Gate(
        config.groups.user,
        config.groups.admin,
        config.groups.monitor,
        config.uids.is_caged,
        find_starter(os.environ),
    )
    control = await open_unix_listener(str(runtime / "control.sock"))
    events = await open_unix_listener(str(runtime / "events.sock"))
    try:
        async with trio.open_nursery() as nursery:
            pool = Pool(host, config.pools.userns)
            supervisor = Supervisor(host, pool, nursery)
            # First: in them system calls wait for an answer.
            for cage in cages:
                supervisor.runs.adopt(cage)
            nursery.start_soon(host.watch_keeper)
            await nursery.start(pool.refill)
            renewer = Renewer(host, gate, arguments.config, overrides_of(arguments))
            renewer.tell_start()
            host.ledger.state.on_full = partial(_disk_is_full, supervisor, pool)
            host.ledger.state.on_room = partial(supervisor.freeze_all, False)
            async with trio.open_nursery() as servers:
                await servers.start(
                    partial(serve_clients, greet=lambda: say_hello(host.settings.digest)),
                    control,
                    supervisor,
                    gate,
                )
                await servers.start(serve_events, events, gate, host.ledger, supervisor.owner_of)
                servers.start_soon(retain, supervisor.logs, lambda: host.config.ledger)
                servers.start_soon(
                    expire, supervisor.registry, supervisor.changes, supervisor.logs, host
                )
                _say_ready(arguments.ready_fd)
                _log.info("ready", control=str(runtime / "control.sock"), state=config.state_dir)
                if await _wait_for_stop(renewer, nursery) and host.keeper is not None:
                    await _make_way(host, supervisor)
                systemd.notify("STOPPING=1")
                await supervisor.stop_all()
                servers.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    finally:
        for listener, name in ((control, "control.sock"), (events, "events.sock")):
            listener.socket.close()
            with contextlib.suppress(FileNotFoundError):
                (runtime / name).unlink()


def _disk_is_full(supervisor: Supervisor, pool: Pool) -> None:
    supervisor.freeze_all(True)
    pool.discard()


def _say_ready(ready_fd: int) -> None:
    systemd.notify("READY=1")
    if ready_fd >= 0:
        os.write(ready_fd, b"\n")
        os.close(ready_fd)


async def _wait_for_stop(renewer: Renewer, nursery: trio.Nursery) -> bool:
    """Returns whether another akiosd is to go on with the cages."""
    wanted = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2
    with trio.open_signal_receiver(*wanted) as signals:
        async for signo in signals:
            if signo != signal.SIGHUP:
                leaves = signo == signal.SIGUSR2 or (
                    signo == signal.SIGTERM and await wants_restart()
                )
                said = "leaving the cages to another akiosd" if leaves else "stopping"
                _log.info(said, signal=signal.Signals(signo).name)
                return leaves
            await renewer.renew(nursery)
    return False


async def _make_way(host: Host, supervisor: Supervisor) -> NoReturn:
    """End, and leave every cage as it is: what was recorded is on disk, the rest is with the
    keeper.

    Nothing is unwound: each of our tasks gives back, at its end, what the next akiosd needs.
    """
    systemd.notify("STOPPING=1")
    supervisor.leave()
    ledger = host.ledger
    ledger.append(HOST_LOG, records.DaemonStop(ts=time.time_ns(), reason=_MAKES_WAY))
    for log in ledger.logs():
        if ledger.size(log):
            await ledger.wait_durable(log, ledger.size(log) - 1)
    os._exit(0)


def main(argv: list[str] | None = None) -> int:
    """The console script.  Exit 0 after a graceful stop, 1 when it could not start or had to give
    up.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        if arguments.check:
            return check_settings(arguments.config, overrides_of(arguments))
        settings = load_settings(arguments.config, overrides_of(arguments))
        configure_log(settings.config.log_level)
        if os.geteuid() != 0:
            raise AkiosError("akiosd must run as root", "start", "sudo systemctl start akiosd")
        harden()
        config = settings.config
        directories.make_state(Path(config.state_dir))
        directories.make_runtime(Path(config.runtime_dir))
        if arguments.detach:
            arguments.ready_fd = detach(Path(config.runtime_dir, "akiosd.log"))
        # Threads beside the loop's (publishing hashes a million entries) hand over as soon as it
        # has something to do.
        sys.setswitchinterval(_SWITCH_S)
        niceness.take()
        trio.run(serve, settings, arguments)
    except AkiosError as error:
        return _report(error)
    except BaseExceptionGroup as group:
        # Nurseries wrap what fails in them; the first cause is the one to act on.
        causes, rest = group.split(AkiosError)
        if causes is None:
            raise
        if rest is not None:
            _log.error(
                "stopped by several failures", failures=[repr(error) for error in rest.exceptions]
            )
        return _report(_first(causes))
    return 0


def _first(group: BaseExceptionGroup[AkiosError]) -> AkiosError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _report(error: AkiosError) -> int:
    print(f"akiosd: {error.what}", file=sys.stderr)
    if error.where:
        print(f"  where: {error.where}", file=sys.stderr)
    if error.next:
        print(f"  next: {error.next}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
