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

import prctl
import trio

from akiosd import __version__
from akiosd.daemon.base import directories, systemd
from akiosd.daemon.base.background import detach, find_starter
from akiosd.daemon.base.check_settings import check_settings
from akiosd.daemon.base.exposed_keys import refuse_exposed_keys
from akiosd.daemon.base.host_faults import in_words, is_fault
from akiosd.daemon.base.log import configure_log, get_log
from akiosd.daemon.base.peers import Gate
from akiosd.daemon.base.settings import Overrides, Settings, load_settings
from akiosd.daemon.base.socket_path import CONTROL, EVENTS
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.erase_data import finish_destructions
from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.host import Host
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.ledger.seen import refuse_older, remember
from akiosd.daemon.requests.expire_ended import expire
from akiosd.daemon.requests.renew_settings import Renewer
from akiosd.daemon.requests.retain_logs import retain
from akiosd.daemon.requests.supervisor import Supervisor
from akiosd.daemon.sockets.serve_clients import open_unix_listener, say_hello, serve_clients
from akiosd.daemon.sockets.serve_events import serve_events
from akiosd.errors import AkiosError, LedgerError
from akiosd.kernel import niceness
from akiosd.kernel.hashing import NATIVE
from akiosd.kernel.write_files import write_files
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, CageId, LogId

_log = get_log("main")
_SWITCH_S = 0.0005


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
        help="say everything for which a start would be refused, and end",
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
    refuse_older(ledger, runtime)
    async with trio.open_nursery() as ledger_nursery:
        await ledger_nursery.start(ledger.run)
        try:
            await host.open()
            await finish_destructions(ledger, host.cages_dir)
            assert host.disks is not None
            told = await _read_ends(ledger, pending_changes.list_running(host.cages_dir))
            for cage in await trio.to_thread.run_sync(
                pending_changes.recover, host.cages_dir, host.disks, told
            ):
                _log.warning("changes of a killed agent were kept", cage=cage)
            for cage in pending_changes.list_torn(host.cages_dir):
                where = str(host.cages_dir / cage)
                _log.warning(
                    "a record of a running agent is torn; its disk is kept, for you to look at",
                    where=where,
                )
            pending_changes.sweep(host.cages_dir, host.disks, ledger.logs())
            _end_interrupted(ledger)
            ledger.append(
                HOST_LOG,
                records.DaemonStart(ts=time.time_ns(), version=__version__, pid=os.getpid()),
            )
            await _serve_until_told(host, runtime, arguments)
        finally:
            with trio.CancelScope(shield=True):
                with contextlib.suppress(AkiosError):
                    ledger.append(HOST_LOG, records.DaemonStop(ts=time.time_ns(), reason="stopped"))
                await host.close()
                await ledger.aclose()


async def _read_ends(ledger: Ledger, cages: list[str]) -> dict[str, pending_changes.Told]:
    """The ends of cages whose logs have them, though nothing else was written down: akiosd was
    killed right then.
    """
    told: dict[str, pending_changes.Told] = {}
    for cage in cages:
        try:
            entry = await ledger.read_last(LogId(CageId(cage)))
        except LedgerError as error:
            _log.error("the end of a cage is not known", cage=cage, why=error.what)
            continue
        end = records.decode_entry(entry) if entry else None
        if isinstance(end, records.End):
            told[cage] = end.ts, end.exit_code, end.reason
    return told


def _end_interrupted(ledger: Ledger) -> None:
    """Cages that died with a daemon before us: their logs get the end that nobody could write."""
    for log in ledger.interrupted:
        now, reason = time.time_ns(), pending_changes.LOST
        ledger.append(log, records.End(ts=now, exit_code=137, signal=9, reason=reason))
        ledger.append(HOST_LOG, records.CageEnd(ts=now, cage=log, exit_code=137, reason=reason))
        ledger.close_log(log)


async def _serve_until_told(host: Host, runtime: Path, arguments: argparse.Namespace) -> None:
    config = host.config
    gate = Gate(
        config.groups.user,
        config.groups.admin,
        config.groups.monitor,
        config.uids.is_caged,
        find_starter(os.environ),
    )
    control = await open_unix_listener(str(runtime / CONTROL))
    events = await open_unix_listener(str(runtime / EVENTS))
    try:
        async with trio.open_nursery() as nursery:
            pool = Pool(host, config.pools.userns)
            await nursery.start(pool.refill)
            supervisor = Supervisor(host, pool, nursery)
            renewer = Renewer(host, gate, arguments.config, overrides_of(arguments))
            renewer.tell_start()
            host.ledger.state.on_full = partial(_disk_is_full, supervisor, pool)
            host.ledger.state.on_room = partial(supervisor.freeze_all, False)
            async with trio.open_nursery() as servers:
                servers.start_soon(remember, host.ledger, runtime)
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
                _log.info("ready", control=str(runtime / CONTROL), state=config.state_dir)
                await _wait_for_stop(renewer, nursery)
                systemd.notify("STOPPING=1")
                await supervisor.stop_all()
                servers.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    finally:
        for listener, name in ((control, CONTROL), (events, EVENTS)):
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


async def _wait_for_stop(renewer: Renewer, nursery: trio.Nursery) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for signo in signals:
            if signo != signal.SIGHUP:
                _log.info("stopping", signal=signal.Signals(signo).name)
                return
            await renewer.renew(nursery)


def main(argv: list[str] | None = None) -> int:
    """The console script.  Exit 0 after a graceful stop, 1 when it could not start or had to give
    up.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    state = Path("/")
    try:
        if arguments.check:
            return check_settings(arguments.config, overrides_of(arguments))
        settings = load_settings(arguments.config, overrides_of(arguments))
        configure_log(settings.config.log_level)
        state = Path(settings.config.state_dir)
        _run(settings, arguments)
    except (AkiosError, OSError) as error:
        if not is_fault(error):
            raise
        return _report(in_words(error, state))
    except BaseExceptionGroup as group:
        # Nurseries wrap what fails in them; the first cause is the one to act on.
        causes, rest = group.split(is_fault)
        if causes is None:
            raise
        if rest is not None:
            _log.error(
                "stopped by several failures", failures=[repr(error) for error in rest.exceptions]
            )
        return _report(in_words(_first(causes), state))
    return 0


def _run(settings: Settings, arguments: argparse.Namespace) -> None:
    if os.geteuid() != 0:
        raise AkiosError("akiosd must run as root", "start", "sudo systemctl start akiosd")
    harden()
    config = settings.config
    directories.make_state(Path(config.state_dir))
    refuse_exposed_keys(Path(config.state_dir))
    directories.make_runtime(Path(config.runtime_dir))
    if arguments.detach:
        arguments.ready_fd = detach(Path(config.runtime_dir, "akiosd.log"))
    # Threads beside the loop's (publishing hashes a million entries) hand over as soon as it has
    # something to do.
    sys.setswitchinterval(_SWITCH_S)
    niceness.take()
    trio.run(serve, settings, arguments)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _report(error: AkiosError) -> int:
    print(f"akiosd: {error.what}", file=sys.stderr)
    if error.where:
        print(f"  where: {error.where}", file=sys.stderr)
    if error.next:
        print(f"  next: {error.next}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
