"""One cage without namespaces: built, taken over, and said what of it holds."""

from __future__ import annotations

import os
import stat

import trio

from akiosd.cage import domain_posture
from akiosd.cage.take_over import Ways
from akiosd.daemon.cages.build_confinement import (
    FILTER_FLAGS,
    Confinement,
    Parts,
    cage_environment,
)
from akiosd.daemon.cages.prepared_cage import STDIO
from akiosd.daemon.cages.record_calls import CallRecorder
from akiosd.daemon.cages.record_files import FileRecorder
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.gateways.gateways import Gateway
from akiosd.daemon.policy_mode.act_for_agent import Actor
from akiosd.daemon.policy_mode.host import CANARY, DomainHost
from akiosd.daemon.policy_mode.orphans import end_orphans
from akiosd.daemon.policy_mode.unprivileged_parts import Domain
from akiosd.errors import CageFailedError, DeniedError
from akiosd.gateway.net.names import capture_ports, local_ports
from akiosd.kernel import probe
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.seccomp import Compiled, compiled_for_domain
from akiosd.policy.compile.policy_mode import (
    DomainSpec,
    Grant,
    compile_domain,
    compile_domain_rlimits,
)
from akiosd.values.plan import Plan
from akiosd.values.posture import LayerState
from akiosd.values.trust import DIRECTORY as TRUST
from akiosd.wire.messages import Run

_OUR_ENDS = ("our stdin", "our stdout", "our stderr")


class DomainConfinement(Confinement):
    """The descriptors and the plan; nothing in it is mounted."""

    def __init__(self, spec: DomainSpec, fds: dict[str, Fd], compiled: Compiled) -> None:
        self.remote = ""
        self.notes = ()
        self.fds = fds
        self.stdio = [fds.pop(name) for name in _OUR_ENDS if name in fds]
        self.landlock = None
        self.filter = compiled
        self._domain = spec

    def plan(self) -> Plan:
        """The part of the plan that the waiting init has still to do."""
        return compile_domain(self._domain)


class DomainCage(Cage):
    """Differs from :class:`Cage` in what it is made of, not in its life."""

    _actor: Actor | None = None
    _writable: tuple[bytes, ...] = ()

    async def _build(self, parts: Parts, user_name: str) -> Confinement:
        self._cgroup_is_domain().ask_to_end = self._ask_to_end
        check_request(parts.run)
        directory = os.fsencode(self.prepared.slot.directory)
        trees = self._trees(parts)
        for what, fd in trees:
            self._check_place(what, fd)
        fds = dict[str, Fd]()
        grants = self._grants(parts, directory, fds)
        writable = [name for name in grants if name.writable and name.is_directory]
        self._writable = tuple(_real(fds[one.fd]) for one in writable)
        for name, ours, pipe in zip(STDIO, _OUR_ENDS, self.prepared.pipes, strict=True):
            fds[name], fds[ours] = pipe.theirs, pipe.ours
        self.prepared.pipes = []
        if parts.run.one_output:
            close_all((fds.pop("stderr"), fds.pop("our stderr")))
            fds["stderr"] = fds["stdout"].dup()
        run = parts.run
        found = compiled_for_domain(run.policy.syscalls)
        spec = DomainSpec(
            command=run.command,
            argv=run.argv,
            env=_environment(parts, user_name, directory),
            cwd=run.cwd,
            canary=os.fsencode(self.host.state_dir / CANARY),
            grants=tuple(grants),
            rlimits=compile_domain_rlimits(run.policy.limits, self.host.facts.pools),
            filter=found.bpf,
            filter_flags=FILTER_FLAGS,
            abi=self.host.facts.landlock_abi,
        )
        return DomainConfinement(spec, fds, found)

    def _cgroup_is_domain(self) -> Domain:
        assert isinstance(self._cgroup, Domain)
        return self._cgroup

    def _trees(self, parts: Parts) -> list[tuple[str, Fd]]:
        binds = [(os.fsdecode(bind.path), parts.opened(bind)) for bind in parts.run.binds]
        return [("the workspace", parts.workspace_fd), *binds]

    def _check_place(self, what: str, tree: Fd) -> None:
        """Nothing that leads to akiosd's own files is for an agent, which has akiosd's uid."""
        name = _real(tree)
        for own in (self.host.config.state_dir, self.host.config.runtime_dir):
            path = os.fsencode(os.path.realpath(own))
            if path == name or path.startswith(name.rstrip(b"/") + b"/") or name.startswith(path):
                raise DeniedError(
                    f"{what} ({os.fsdecode(name)}) and {own}, where akiosd keeps its own files, lie"
                    " one inside the other",
                    what,
                    "choose another directory: in policy mode the agent has akiosd's uid",
                )

    def _grants(self, parts: Parts, directory: bytes, fds: dict[str, Fd]) -> list[Grant]:
        """What the agent may use of files; fills ``fds``."""
        found = []
        for name in ("home", "tmp", "trust"):
            path = directory + b"/" + name.encode()
            fds[name] = Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            found.append(Grant(name, f"its own {name}", name != "trust", True))
        fds["workspace"] = parts.workspace_fd.dup()
        writes = parts.run.policy.filesystem.workspace == "rw-direct"
        found.append(Grant("workspace", "the workspace", writes, True))
        for number, bind in enumerate(parts.run.binds):
            fds[f"bind:{number}"] = parts.opened(bind).dup()
            mode = os.fstat(parts.opened(bind).fileno()).st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise DeniedError(
                    f"{os.fsdecode(bind.path)} is neither a directory nor a file",
                    os.fsdecode(bind.path),
                    "leave it out of the section filesystem of the policy",
                )
            found.append(Grant(f"bind:{number}", os.fsdecode(bind.path), False, stat.S_ISDIR(mode)))
        return found

    async def _collect(self) -> None:
        """Init has ended everything, unless it was killed itself."""
        if self._pidfd is not None:
            with trio.move_on_after(self._patience_s):
                await trio.lowlevel.wait_readable(self._pidfd.fileno())
        await self._end_orphans()
        await super()._collect()

    async def _end_orphans(self) -> None:
        assert isinstance(self.host, DomainHost)
        self.host.inits.discard(self.pid)
        await end_orphans(self.host.inits)

    def _adopt(self) -> None:
        super()._adopt()
        assert isinstance(self.host, DomainHost)
        self.host.inits.add(self.pid)

    def _ask_to_end(self) -> None:
        if self._status is not None and not self._status.tell("kill"):
            self._cgroup_is_domain().end_init()

    def _make_file_recorder(self) -> FileRecorder | None:
        return None  # fanotify needs a privilege; the posture says so

    def _take_listener(self) -> Fd:
        """Init has sent it; the actor answers by a copy."""
        assert self._said is not None and self._gateway is not None
        listener, self._said.listener = self._said.listener, None
        if listener is None:
            raise CageFailedError("akiosd cannot watch the system calls of the cage", "seccomp")
        return listener

    def _make_call_recorder(self, values: Confinement) -> CallRecorder:
        return DomainRecorder(self, values)

    def _make_gateway(self) -> Gateway:
        """It has no socket of its own: what it serves is brought to it."""
        assert self.prepared.authority is not None
        return Gateway(self.host, self.id, self.policy, self.prepared.authority, (), self.spend)

    def act_by(self, listener: Fd, pipe: Fd) -> None:
        """Answer the calls that come through ``pipe``, by ``listener``; both are owned then."""
        assert self._gateway is not None
        network = self.policy.network
        ways = Ways(frozenset(capture_ports(network)), frozenset(local_ports(network)))
        self._actor = Actor(
            listener,
            pipe,
            self.host.ledger,
            self.log,
            ways,
            self._writable,
            self._gateway.capture,
        )
        self._nursery.start_soon(self._actor.run)

    @property
    def acted_denials(self) -> int:
        """How many calls were refused after the pump had recorded them."""
        return self._actor.denials if self._actor is not None else 0

    def _read_posture(self) -> tuple[LayerState, ...]:
        assert self._calls is not None and self._said is not None
        status, *_ = probe.read_process(self.pid)
        evidence = domain_posture.Evidence(
            status=status,
            proved=self._said.landlock_proved,
            abi=self.host.facts.landlock_abi,
            pump_running=self._calls.running,
            workspace_mode=self.policy.filesystem.workspace,
            stores=len(self.request.stores),
        )
        return domain_posture.check(evidence)

    def _missing_layers(self) -> list[LayerState]:
        """What the mode never holds was agreed to by whoever started akiosd in it."""
        return [layer for layer in self.posture if layer.status == "unavailable"]

    def _close_descriptors(self) -> None:
        super()._close_descriptors()
        if self._actor is not None:
            self._actor.close()


class DomainRecorder(CallRecorder):
    """Gives some calls to the cage's actor."""

    def __init__(self, cage: DomainCage, values: Confinement) -> None:
        super().__init__(
            cage.host.ledger, cage.log, values.filter, cage.policy.limits, cage.bulk, cage.peer.uid
        )
        self._cage = cage
        self._pipe: Fd | None = None

    @property
    def denials(self) -> int:
        """Those of the table, and those of the actor."""
        return super().denials + self._cage.acted_denials

    def start(self, listener: Fd, leaf: object, pools: object, deferred: int = -1) -> None:
        """Serve ``listener``, and have the actor answer what is handed on."""
        copy = listener.dup()
        theirs, ours = (Fd(n) for n in os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
        self._pipe = ours
        super().start(listener, None, self._cage.host.facts.pools, ours.fileno())
        self._cage.act_by(copy, theirs)

    def _close(self) -> None:
        super()._close()
        close_all((self._pipe,))


def _real(tree: Fd) -> bytes:
    return os.readlink(f"/proc/self/fd/{tree.fileno()}".encode())


def check_request(run: Run) -> None:
    """Raise DeniedError for what a cage without namespaces cannot be."""
    files = run.policy.filesystem
    if files.workspace not in ("rw-direct", "ro"):
        what = f"a workspace of mode {files.workspace} needs an overlay"
        raise _refuse(
            what, "write filesystem: {workspace: rw-direct}, which writes to it at once, or ro"
        )
    if files.hide:
        raise _refuse("filesystem.hide needs mounts", "leave it out, and name less to read")
    if files.write:
        raise _refuse("filesystem.write needs an overlay", "leave it out")
    if run.standing:
        what = "a standing cage needs namespaces that end with it"
        raise _refuse(what, "start each program with: akiosctl run")
    if run.tty is not None:
        raise _refuse("a terminal of its own needs a mount", "run it without one: -T")
    if run.policy.identity.mode == "root":
        what = "identity.mode: root needs a user namespace"
        raise _refuse(what, "write identity: {mode: agent}")


def _refuse(what: str, next: str) -> DeniedError:
    return DeniedError(f"{what}, and this akiosd runs in policy mode", "policy mode", next)


def _environment(parts: Parts, user_name: str, directory: bytes) -> tuple[bytes, ...]:
    """As natively, with the places that are elsewhere here: home, temporary files, trust."""
    home, etc = directory + b"/home", os.fsencode(TRUST) + b"/"
    found = cage_environment(parts, user_name, home)
    moved = {
        name: value.replace(etc, directory + b"/trust/") if value.startswith(etc) else value
        for name, value in found.items()
    }
    moved |= dict.fromkeys((b"TMPDIR", b"TMP", b"TEMP"), directory + b"/tmp")
    # git takes a configuration that it may not read for a fault; a cage with a view has none there.
    moved.setdefault(b"GIT_CONFIG_NOSYSTEM", b"1")
    return tuple(name + b"=" + value for name, value in moved.items())
