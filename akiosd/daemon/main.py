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
from akiosd.daemon.base import directories, early_stop, start_line, systemd
from akiosd.daemon.base.background import detach, find_starter
from akiosd.daemon.base.check_settings import check_settings
from akiosd.daemon.base.exposed_keys import refuse_exposed_keys
from akiosd.daemon.base.guarded import Tasks, Vital
from akiosd.daemon.base.host_faults import in_words, is_fault
from akiosd.daemon.base.log import configure_log, get_log, is_journal
from akiosd.daemon.base.peers import Gate
from akiosd.daemon.base.restart_job import wants_restart
from akiosd.daemon.base.service import Service
from akiosd.daemon.base.settings import Overrides, Settings, load_settings
from akiosd.daemon.base.socket_path import CONTROL
from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.cages.take_over import take_over
from akiosd.daemon.cages.watch_disk import DiskWatch
from akiosd.daemon.host import Host
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.ledger.seen import refuse_older, remember
from akiosd.daemon.policy_mode.host import DomainHost, check_floor
from akiosd.daemon.policy_mode.pool import DomainPool
from akiosd.daemon.requests.expire_ended import expire
from akiosd.daemon.requests.renew_settings import Renewer
from akiosd.daemon.requests.retain_logs import retain
from akiosd.daemon.requests.supervisor import Supervisor
from akiosd.daemon.sockets.listening import Listeners, open_listeners, refuse_second
from akiosd.daemon.sockets.serve_clients import say_hello, serve_clients
from akiosd.daemon.sockets.serve_events import serve_events
from akiosd.errors import AkiosError
from akiosd.kernel import niceness, probe
from akiosd.kernel.hashing import NATIVE
from akiosd.kernel.write_files import write_files
from akiosd.values import records
from akiosd.values.ids import HOST_LOG
from akiosd.values.places import CONFIG_FILE
from akiosd.values.service_manager import ServiceFacts, describe_stop, reloading
from akiosd.wire.messages import Hello

_log = get_log("main")
_SWITCH_S = 0.0005
_MAKES_WAY = "restarted: cages go on"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """The command line; see akiosd(8)."""
    parser = argparse.ArgumentParser(
        prog="akiosd", description="The AKIOS daemon: cages for AI agents."
    )
    # Read again on SIGHUP, when the working directory is another; and named in hints.
    parser.add_argument(
        "--config", type=_absolute, help=f"akiosd.yaml (default: {CONFIG_FILE}, if it exists)"
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
    parser.add_argument(
        "--policy-mode",
        action="store_true",
        default=None,
        help="without privileges, as in a container: cages without namespaces, which hold less",
    )
    parser.add_argument("--version", action="version", version=f"akiosd {__version__}")
    return parser.parse_args(argv)


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(path))


def overrides_of(arguments: argparse.Namespace) -> Overrides:
    """The keys of akiosd.yaml that the command line gives."""
    keys = ("state_dir", "runtime_dir", "log_level", "policy_mode")
    return {key: getattr(arguments, key) for key in keys}


def check_user(policy_mode: bool) -> None:
    """Raise AkiosError for an akiosd that would hold less than it was asked to.

    Without root it never falls back by itself: whoever wants the weaker mode says so.
    """
    if policy_mode:
        check_floor(probe.landlock_abi())
    elif os.geteuid() != 0:
        raise AkiosError(
            "akiosd must run as root",
            "start",
            "sudo systemctl start akiosd; in a container without privileges: akiosd --policy-mode,"
            " which encloses agents less: man akiosd",
        )


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


async def serve(settings: Settings, arguments: argparse.Namespace, handed: systemd.Handed) -> None:
    """The whole daemon; returns after a graceful stop.  Raises AkiosError when it cannot start or
    go on.
    """
    async with trio.open_nursery() as nursery:
        service = Service.from_environment()
        # Where it fails, the watchdog hears nothing.
        Tasks(nursery).start("tell the service manager", service.run)
        await _serve_with_ledger(settings, arguments, handed, service)
        nursery.cancel_scope.cancel()


async def _serve_with_ledger(
    settings: Settings, arguments: argparse.Namespace, handed: systemd.Handed, service: Service
) -> None:
    config = settings.config
    # Before anything of another akiosd's, such as its keeper, is looked for beside the socket.
    refuse_second(Path(config.runtime_dir), handed)
    service.starting("Reading the ledger")
    # In a thread: what a killed akiosd left may be much, and the manager is told meanwhile.
    ledger = await trio.to_thread.run_sync(_open_ledger, Path(config.state_dir))
    host = (DomainHost if config.policy_mode else Host)(settings, ledger)
    refuse_older(ledger, Path(config.runtime_dir))
    asked = False
    async with trio.open_nursery() as ledger_nursery:
        await ledger_nursery.start(ledger.run)
        try:
            await host.open_keeper()
            cages = await take_over(host, service)
            await _serve_until_told(host, arguments, handed, service, cages)
            asked = True
        finally:
            with trio.CancelScope(shield=True):
                with contextlib.suppress(AkiosError):
                    ledger.append(HOST_LOG, records.DaemonStop(ts=time.time_ns(), reason="stopped"))
                await host.close(for_good=asked)
                await ledger.aclose()


def _open_ledger(state: Path) -> Ledger:
    return Ledger.open(state, time.time_ns, os.urandom, hasher=NATIVE, write_files=write_files)


async def _serve_until_told(
    host: Host,
    arguments: argparse.Namespace,
    handed: systemd.Handed,
    service: Service,
    cages: list[Cage],
) -> None:
    config = host.config
    gate = Gate(
        config.groups.user,
        config.groups.admin,
        config.groups.monitor,
        config.uids.is_caged,
        os.geteuid() if config.policy_mode else find_starter(os.environ),
    )
    listeners = await open_listeners(Path(config.runtime_dir), handed)
    handed.close_rest()
    try:
        async with trio.open_nursery() as nursery:
            pool = DomainPool(host) if config.policy_mode else Pool(host, config.pools.userns)
            tasks, vital = Tasks(nursery), Vital()
            supervisor = Supervisor(host, pool, tasks)
            vital.on_fault = host.ledger.state.on_fault = partial(_leave_cages, host, supervisor)
            # First: in them system calls wait for an answer.
            for cage in cages:
                supervisor.runs.adopt(cage)
            supervisor.runs.settle_lent()
            tasks.start("watch the keeper", host.watch_keeper)
            if host.disks is not None and host.disks.is_filled_later:
                running = supervisor.registry.running
                disks = host.disks
                watch = DiskWatch(host, running, disks.unwritten, is_shared=disks.is_shared)
                host.check_room = watch.check
                tasks.start("watch the disk", watch.run)
            await nursery.start(pool.refill)
            renewer = Renewer(host, gate, arguments.config, overrides_of(arguments))
            renewer.tell_start()
            host.ledger.state.on_full = partial(_disk_is_full, supervisor, pool)
            host.ledger.state.on_room = partial(_disk_has_room, supervisor)
            async with trio.open_nursery() as servers:
                accepting = await vital.run(
                    _start_servers, servers, host, supervisor, gate, listeners, vital
                )
                _leave_start_line(arguments, host)
                _say_ready(service, supervisor, host, arguments.ready_fd)
                _log.info(
                    "ready",
                    version=__version__,
                    cages=len(supervisor.registry.running),
                    control=str(Path(config.runtime_dir, CONTROL)),
                    state=config.state_dir,
                    sockets="of the service" if listeners.outlive else "own",
                )
                leaves = await vital.run(_wait_for_stop, renewer, tasks, service)
                if listeners.outlive:
                    # Who comes now waits for the next akiosd.
                    for scope in accepting:
                        scope.cancel()
                if leaves and host.keeper is not None:
                    await vital.run(_make_way, host, supervisor)
                # From here on the cages are to end.
                host.ledger.state.on_fault = vital.on_fault = lambda error: None
                service.stopping(partial(_describe_stop, supervisor))
                await supervisor.stop_all()
                servers.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    finally:
        listeners.close()


async def _start_servers(
    servers: trio.Nursery,
    host: Host,
    supervisor: Supervisor,
    gate: Gate,
    listeners: Listeners,
    vital: Vital,
) -> tuple[trio.CancelScope, trio.CancelScope]:
    """Everything that serves; the scopes end the taking of new connections only."""
    clients, monitors = trio.CancelScope(), trio.CancelScope()
    greet = partial(_greet, host)
    await servers.start(
        partial(serve_clients, greet=greet, accepting=clients, vital=vital),
        *(listeners.control, supervisor, gate),
    )
    await servers.start(
        partial(serve_events, accepting=monitors, vital=vital),
        *(listeners.events, gate, host.ledger, supervisor.owner_of),
    )
    tasks, logs = Tasks(servers), supervisor.logs
    tasks.start("remember the ledger", remember, host.ledger, Path(host.config.runtime_dir))
    tasks.start("care for old logs", retain, logs, lambda: host.config.ledger)
    tasks.start("expire", expire, supervisor.registry, supervisor.changes, logs, host)
    return clients, monitors


def _greet(host: Host) -> Hello:
    come_back_s = host.config.restart.come_back_s if host.keeper is not None else 0
    return say_hello(host.settings.digest, come_back_s)


def _disk_is_full(supervisor: Supervisor, pool: Pool) -> None:
    _log.error(
        "the disk is full: cages are paused until there is room",
        cages=len(supervisor.registry.running),
    )
    supervisor.freeze_all(True)
    pool.discard()


def _disk_has_room(supervisor: Supervisor) -> None:
    _log.info("the disk has room again: cages go on")
    supervisor.freeze_all(False)


def _leave_start_line(arguments: argparse.Namespace, host: Host) -> None:
    state, runtime = host.config.state_dir, host.config.runtime_dir
    given = overrides_of(arguments)
    start_line.leave(Path(runtime), start_line.words_of(arguments.config, given, state, runtime))


def _describe_stop(supervisor: Supervisor) -> str:
    return describe_stop(len(supervisor.registry.running))


def _say_ready(service: Service, supervisor: Supervisor, host: Host, ready_fd: int) -> None:
    state = host.ledger.state

    def look() -> ServiceFacts:
        registry = supervisor.registry
        return ServiceFacts(
            cages=len(registry.running),
            kept=len(registry.kept),
            full=state.full,
            state_dir=host.config.state_dir,
        )

    service.serving(look, lambda: state.writing_since)
    if ready_fd >= 0:
        os.write(ready_fd, b"\n")
        os.close(ready_fd)


async def _wait_for_stop(renewer: Renewer, tasks: Tasks, service: Service) -> bool:
    """Returns whether another akiosd is to go on with the cages."""
    wanted = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2
    with trio.open_signal_receiver(*wanted) as signals:
        if early_stop.was_told():
            os.kill(os.getpid(), signal.SIGTERM)
        async for signo in signals:
            if signo != signal.SIGHUP:
                leaves = signo == signal.SIGUSR2 or (
                    signo == signal.SIGTERM and await wants_restart()
                )
                said = "leaving the cages to another akiosd" if leaves else "stopping"
                _log.info(said, signal=signal.Signals(signo).name)
                return leaves
            systemd.notify(reloading(time.monotonic_ns()))
            service.refused = await renewer.renew(tasks)
            service.ready()
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


def _leave_cages(host: Host, supervisor: Supervisor, error: Exception) -> None:
    """akiosd cannot go on.  With a keeper its cages can: end here, as if killed, and leave them to
    the next akiosd.  Returns where nobody would watch them: they end with us.
    """
    running = len(supervisor.registry.running)
    if host.keeper is None or not running:
        return
    _log.critical("akiosd failed; its cages wait for the next one", cages=running, exc_info=error)
    if is_fault(error):
        _report(in_words(error, host.state_dir))
    os._exit(1)


def main(argv: list[str] | None = None) -> int:
    """The console script.  Exit 0 after a graceful stop, 1 when it could not start or had to give
    up.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    state = Path("/")
    try:
        handed = systemd.take_handed()
        if arguments.check:
            return check_settings(arguments.config, overrides_of(arguments))
        settings = load_settings(arguments.config, overrides_of(arguments))
        configure_log(settings.config.log_level)
        state = Path(settings.config.state_dir)
        _run(settings, arguments, handed)
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


def _run(settings: Settings, arguments: argparse.Namespace, handed: systemd.Handed) -> None:
    check_user(settings.config.policy_mode)
    harden()
    config = settings.config
    directories.make_state(Path(config.state_dir))
    refuse_exposed_keys(Path(config.state_dir))
    directories.make_runtime(Path(config.runtime_dir))
    if arguments.detach:
        arguments.ready_fd = detach(Path(config.runtime_dir, "akiosd.log"))
    early_stop.hold()
    # Threads beside the loop's (publishing hashes a million entries) hand over as soon as it has
    # something to do.
    sys.setswitchinterval(_SWITCH_S)
    niceness.take()
    trio.run(serve, settings, arguments, handed)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _report(error: AkiosError) -> int:
    if is_journal(sys.stderr):
        configure_log()
        _log.critical(
            "akiosd cannot start or go on", what=error.what, where=error.where, next=error.next
        )
        return 1
    print(f"akiosd: {error.what}", file=sys.stderr)
    if error.where:
        print(f"  where: {error.where}", file=sys.stderr)
    if error.next:
        print(f"  next: {error.next}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
