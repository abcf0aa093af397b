"""The zygote: imports what a gateway needs once, then forks a gateway for each cage that needs one.
It holds no secret.

akiosd starts it as ``python -I -m akiosd.gateway.process.zygote`` with a SOCK_SEQPACKET socket as
descriptor 3. It has one thread, and only the capabilities that a child needs to take a uid of its
own. It exits at end of file, and its gateways die with it: a gateway that was taken over cannot
outlive them all.

It dies with akiosd, too, until akiosd says that the keeper has a copy of its end of the socket
(``Outlive``). From then on the end of file comes when both are gone, or when the akiosd that came
after lets go of it, because no gateway of this zygote is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
from typing import NoReturn

import msgspec

from akiosd.errors import AkiosError, KernelError
from akiosd.gateway.net.error_summary import describe
from akiosd.gateway.process import main as gateway
from akiosd.gateway.process.confine import Fences, confine, give_up_privileges
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.privileges import (
    CAP_KILL,
    CAP_SETGID,
    CAP_SETUID,
    set_name,
    set_parent_death_signal,
)
from akiosd.wire.gateway import Exited, Fork, Forked, FromZygote, Outlive, ToZygote, Waiting

CONTROL = 3
_LINK, _RELINK, _RULESET = 3, 4, 5
_KEPT = frozenset((CAP_SETUID, CAP_SETGID, CAP_KILL))
"""SETUID and SETGID let a child take its uid.  KILL is needed because a parent-death signal is sent
with the parent's credentials.
"""
_MAX_PACKET = 4096
_MAX_FDS = 16

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[ToZygote] = msgspec.msgpack.Decoder(ToZygote)


def main() -> None:
    """The life of the zygote."""
    parent = os.getppid()
    os.chdir("/")
    os.setsid()
    os.umask(0o077)
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, signal.SIG_IGN)
    with socket.socket(fileno=CONTROL) as control:
        control.set_inheritable(False)
        gateway.preload()
        try:
            fences = Fences.build()
        except AkiosError as error:
            # A gateway without all of its fences is never made: cages then have no network.
            os.write(2, f"zygote: {error}\n".encode())
            sys.exit(1)
        give_up_privileges(_KEPT)
        set_name("akios-zygote")
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            return
        _check_single_threaded()
        # Objects that exist now are never collected: a child's collector would write to their
        # pages, and
        # so copy them.
        gc.collect()
        gc.freeze()
        serve(control, fences)


def _check_single_threaded() -> None:
    threads = os.listdir("/proc/self/task")
    if len(threads) != 1:
        raise KernelError(
            f"the process that makes gateways has {len(threads)} threads, and must have one",
            "gateway",
        )


def serve(control: socket.socket, fences: Fences) -> None:
    """Fork a gateway for each request and report each one that exits, until nobody holds the other
    end of ``control``.
    """
    wake, ringer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda signo, frame: None)
    signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
    poller = select.poll()
    poller.register(control, select.POLLIN)
    poller.register(wake, select.POLLIN)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _tell(control, Waiting())
        while True:
            for fd, _ in poller.poll():
                if fd == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                    _reap(control)
                elif not _answer(control, fences):
                    return


def _answer(control: socket.socket, fences: Fences) -> bool:
    """Answer one request; returns False at end of file.

    A packet carries the gateway's link, the socket beside it, and files of cgroups; they are closed
    here. The answer carries a pidfd.
    """
    data, numbers, _ = scm_rights.receive_blocking(control, _MAX_PACKET, _MAX_FDS)
    if not data:
        return False
    fds = [Fd(number) for number in numbers]
    try:
        request = _decoder.decode(data)
        if isinstance(request, Outlive):
            set_parent_death_signal(0)
            return True
        pid = os.fork()
        if pid == 0:
            _become_gateway(request, fds, fences)
    except (OSError, msgspec.MsgspecError) as error:
        _tell(control, Forked(cage="", error=str(error)))
        return True
    finally:
        close_all(fds)
    with Fd(os.pidfd_open(pid)) as process:
        scm_rights.send_blocking(
            control, _encode(Forked(cage=request.cage, pid=pid)), [process.fileno()]
        )
    return True


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(control, Exited(pid=pid, status=status))


def _tell(control: socket.socket, message: FromZygote) -> None:
    control.send(_encode(message))


def _become_gateway(request: Fork, fds: list[Fd], fences: Fences) -> NoReturn:
    """Runs in the child and never returns.  ``fds`` are its link, the socket beside it, then the
    cgroup files to join by writing "0".
    """
    code = 1
    try:
        parent = os.getppid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for group in fds[2:]:
            os.write(group.fileno(), b"0")
        _keep_only(fds[0], fds[1], fences.ruleset)
        set_name(f"gw-{request.cage}")
        with Fd(_RULESET) as ruleset:
            posture = confine(request.uid, parent, msgspec.structs.replace(fences, ruleset=ruleset))
        link, relink = (socket.socket(fileno=number) for number in (_LINK, _RELINK))
        code = gateway.run(link, relink, posture)
    except BaseException as error:
        _complain(f"gateway of {request.cage}", error)
    finally:
        os._exit(code)


def _keep_only(*kept: Fd) -> None:
    """Keep descriptors 0 to 2, and ``kept`` as 3 and the following; close all others."""
    spare = [fcntl.fcntl(fd.fileno(), fcntl.F_DUPFD_CLOEXEC, 64) for fd in kept]
    for number, fd in enumerate(spare, _LINK):
        os.dup2(fd, number, inheritable=False)
    os.closerange(_LINK + len(kept), 1 << 20)


def _complain(who: str, error: BaseException) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{who}: {describe(error)}\n".encode())


if __name__ == "__main__":
    main()
