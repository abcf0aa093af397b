"""Who may begin what: quotas of users and of the host, room for the ledger, the system policy."""

from __future__ import annotations

import msgspec

from akiosd.daemon.base.host_faults import describe_full
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages.registry import Registry
from akiosd.daemon.host import Host
from akiosd.daemon.requests.disk_use import describe_crowd
from akiosd.errors import DeniedError
from akiosd.policy.merge import check_authority, refuse_excess
from akiosd.policy.refusals import ADMINISTRATOR
from akiosd.policy.schema import validate
from akiosd.values.places import DATA
from akiosd.values.policy import Policy
from akiosd.wire.messages import Run

_MAX_ACCOUNTS = 32
"""User names and homes that one uid may run under while akiosd runs."""
_MAX_ADMITTED, _MAX_REMEMBERED = 64, 64 << 10
"""Policies that were admitted and are remembered, and the largest of them in bytes."""


class Admission:
    """Every method raises :class:`DeniedError`, saying what stands in the way and who can change
    it.
    """

    def __init__(self, host: Host, registry: Registry) -> None:
        self._host, self._registry = host, registry
        self.stopping = False
        self._admitted: set[bytes] = set()
        self._accounts: dict[int, set[tuple[str, bytes]]] = {}

    def admit_run(self, peer: Peer, run: Run) -> None:
        """May this peer start this run?"""
        if self.stopping:
            raise DeniedError("akiosd is stopping", "run", "run the command again in a moment")
        if self._host.ledger.full:
            # It would wait for its birth record before it could say a word.
            state = self._host.state_dir
            reason = describe_full(state)
            raise DeniedError(
                f"{reason}; the ledger cannot be written",
                str(state),
                "make room on the disk of this path (df); or destroy the logs of cages that ended"
                " more than 30 days ago: sudo akiosctl ledger prune --older-than 30d",
            )
        self._check_logs()
        self._check_quotas(peer, run)
        self._check_policy(run.policy)
        self._check_direct(run)
        self._check_account(peer, run)

    def admit_request(self, peer: Peer, policy: Policy, uids: list[int]) -> None:
        """May this peer make one request without an agent?  ``uids``: the callers of all such
        requests under way.
        """
        if self.stopping:
            raise DeniedError("akiosd is stopping", "http", "ask again in a moment")
        own = uids.count(peer.uid)
        self._check_running(peer, own, len(uids), "requests without an agent", "wait for one")
        self._check_policy(policy)

    def _check_logs(self) -> None:
        """Logs that may not be destroyed yet bound what is added to them."""
        crowded = describe_crowd(self._host.config.ledger, self._host.log_bytes)
        if crowded:
            next = (
                f"have {ADMINISTRATOR} make room, which destroys the logs of cages that ended more"
                " than a day ago: akiosctl ledger prune --older-than 1d"
            )
            raise DeniedError(crowded, str(self._host.state_dir), next)

    def _check_quotas(self, peer: Peer, run: Run) -> None:
        running = self._registry.running
        own = sum(cage.peer.uid == peer.uid for cage in running.values())
        self._check_running(peer, own, len(running), "cages", "stop one")
        if run.discard or run.policy.filesystem.workspace not in ("cow", "rw"):
            return  # it leaves no changes that wait
        waiting = self._registry.count_waiting(peer.uid)
        if waiting >= self._host.config.quotas.kept_per_user:
            raise self._over_quota(
                "kept_per_user",
                f"{waiting} ended cages of yours wait with changes",
                "commit or discard some: akiosctl ps, akiosctl discard --older-than 7d; or run with"
                " --ro",
            )

    def _check_running(self, peer: Peer, own: int, all_: int, what: str, do: str) -> None:
        """Root is bound by the total only."""
        quotas = self._host.config.quotas
        if peer.uid and own >= quotas.cages_per_user:
            raise self._over_quota("cages_per_user", f"you have {own} {what} running", do)
        if all_ >= quotas.cages_total:
            raise self._over_quota("cages_total", f"{all_} {what} run on this host", do)

    def _over_quota(self, key: str, what: str, do: str) -> DeniedError:
        number = getattr(self._host.config.quotas, key)
        file = self._host.settings.config_file
        return DeniedError(
            f"{what}, and quotas.{key} of {file} is {number}",
            "quotas",
            f"{do}, or have {ADMINISTRATOR} raise it there and reload akiosd",
        )

    def _check_direct(self, run: Run) -> None:
        """A system policy with which nothing is written in projects holds for data/output, too."""
        settings = self._host.settings
        if settings.policy.filesystem.workspace == "ro" and any(
            bind.kind == "output" for bind in run.binds
        ):
            raise DeniedError(
                f"{settings.system.file} forbids writing in a project"
                f" (filesystem.workspace: ro), and a standing cage writes {DATA['output']}",
                "filesystem.workspace",
                f"{ADMINISTRATOR} may write there filesystem: {{workspace: cow}}; until then start"
                " programs with akiosctl run",
            )

    def _check_account(self, peer: Peer, run: Run) -> None:
        if not peer.uid:
            return
        # Each is a directory of files that stays while akiosd runs.
        known = self._accounts.setdefault(peer.uid, set())
        if (run.user_name, run.home) not in known and len(known) >= _MAX_ACCOUNTS:
            what = (
                f"your cages have had {len(known)} different pairs of HOME and USER: no more"
                " are kept"
            )
            raise DeniedError(what, "run", "run with your own HOME and USER")
        known.add((run.user_name, run.home))

    def _check_policy(self, policy: Policy) -> None:
        """Check a policy; admitted ones are remembered with the system policy they were checked
        against.
        """
        settings = self._host.settings
        known = settings.digest + msgspec.msgpack.encode(policy)
        if known in self._admitted:
            return
        validate(policy)
        found = check_authority(settings.policy, policy)
        if found:
            system = settings.system
            error = refuse_excess(settings.merged, system.file, found, exists=system.exists)
            raise DeniedError(error.what, error.where, error.next)
        if len(self._admitted) >= _MAX_ADMITTED:
            self._admitted.clear()
        if len(known) <= _MAX_REMEMBERED:
            self._admitted.add(known)
