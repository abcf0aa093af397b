"""Settles a cage's changes: compared through the cage's read-only view, then written as the user,
or destroyed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from akiosctl.cages import list_cages, open_at
from akiosctl.changes import (
    CommitReport,
    Diff,
    Plan,
    Rules,
    commit,
    compare,
    make_plan,
    survey_workspace,
)
from akiosctl.client import Client, DaemonError
from akiosctl.render import escape, note
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import CageInfo, Discard, Ok, View, ViewReply


class CageView:
    """An ended cage's merged view and its workspace, both open for the caller alone; see
    :func:`open_view`.
    """

    def __init__(self, reply: ViewReply, view_fd: int, workspace_fd: int) -> None:
        self.reply = reply
        self.view_fd = view_fd
        self.workspace_fd = workspace_fd
        self.root = os.readlink(b"/proc/self/fd/%d" % workspace_fd)
        """What the workspace is called now, which nobody but the kernel says."""

    @property
    def place(self) -> str:
        """The workspace, fit to be shown."""
        return escape(self.root)

    def compare(self) -> Diff:
        """What differs, conflicts counted from the cage's start."""
        return compare(self.workspace_fd, self.view_fd, started_ns=self.reply.started_ns or None)

    def plan(self, diff: Diff, *, skip_refused: bool = False, force: bool = False) -> Plan:
        """The operations of a commit; see :func:`akiosctl.changes.plan.make_plan`."""
        return make_plan(
            diff,
            Rules(
                protected=self.reply.protect,
                root=self.root,
                survey=(
                    survey_workspace(self.workspace_fd, self.view_fd, diff)
                    if diff.changes
                    else None
                ),
            ),
            skip_refused=skip_refused,
            force=force,
        )

    def commit(self, plan: Plan) -> CommitReport:
        """Perform a plan; see :func:`akiosctl.changes.apply.commit`."""
        return commit(self.workspace_fd, self.view_fd, plan)


@contextmanager
def open_view(client: Client, cage: str, *, running: bool = False) -> Iterator[CageView]:
    """The view of an ended cage, or of one that runs; its descriptors are closed at the end.

    One that runs is paused until ``client`` is closed.
    """
    if running:
        reply, fds = client.call(View(cage=cage, running=True), ViewReply)
    else:
        reply, fds = _request_view(client, cage)
    try:
        if len(fds) != 2:
            raise AkiosError(
                "akiosd sent no view", cage, "the cage may still be running, or without changes"
            )
        yield CageView(reply, *fds)
    finally:
        close_fds(fds)


def _request_view(client: Client, cage: str) -> tuple[ViewReply, list[int]]:
    try:
        return client.call(View(cage=cage), ViewReply)
    except DaemonError as refused:
        # A restarted akiosd holds no workspaces any more: it is opened again, as the user, and
        # checked there.
        known = [
            info
            for info in list_cages(client, everyone=True)
            if info.cage == cage and info.ended_ns
        ]
        if not known or not known[0].changes:
            raise
        try:
            workspace = open_at(client, known[0])
        except OSError:
            raise refused from None
    try:
        return client.call(View(cage=cage), ViewReply, [workspace])
    finally:
        os.close(workspace)


Agrees = Callable[[CageView, Plan], None]
"""Raises :class:`AkiosError` when the plan is not to be performed."""


def commit_cage(
    client: Client,
    cage: str,
    *,
    skip_refused: bool = False,
    force: bool = False,
    agrees: Agrees | None = None,
) -> tuple[Plan, CommitReport, str]:
    """Commit, then have the changes destroyed; returns the plan, the report, and the workspace in
    words.

    What was left out is destroyed too: once the workspace has changed, names that the agent renamed
    lead nowhere, and a second comparison would call them deleted. Raises :class:`AkiosError` when
    nothing was done.
    """
    with open_view(client, cage) as view:
        plan, place = view.plan(view.compare(), skip_refused=skip_refused, force=force), view.place
        if agrees is not None and not plan.blocked:
            agrees(view, plan)
        report = view.commit(plan)
    if report.failure is None and (report.done or not plan.skipped):
        discard_cage(client, cage, committed=True, paths=len(report.done))
    return plan, report, place


def become_owner(cage: CageInfo) -> None:
    """Take on the rights of the cage's user, for good, when root settles another's cage.

    Otherwise a user could start a cage on a directory that only root may write to, and wait for
    root to commit it; and the workspace is full of that user's links. Raises :class:`AkiosError`
    when the user is not known here.
    """
    if os.geteuid() != 0 or cage.uid == 0:
        return
    import pwd

    try:
        entry = pwd.getpwuid(cage.uid)
        os.initgroups(entry.pw_name, entry.pw_gid)
        gid = entry.pw_gid
        # What runs on the host by itself, and so what a commit protects, is told by that user's
        # configuration.
        os.environ["HOME"] = entry.pw_dir
        for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
            os.environ.pop(name, None)
    except KeyError:
        os.setgroups([])
        gid = cage.gid
    if gid < 0:
        raise AkiosError(
            f"the user of this cage, {cage.uid}, is not known here", cage.cage, "let them commit it"
        )
    os.setresgid(gid, gid, gid)
    os.setresuid(cage.uid, cage.uid, cage.uid)


def discard_cage(
    client: Client, cage: str, *, committed: bool = False, paths: int = 0, wipe: bool = False
) -> str:
    """Have the changes destroyed; returns in words what was not overwritten, or ""."""
    reply, _ = client.call(Discard(cage=cage, committed=committed, paths=paths, wipe=wipe), Ok)
    return reply.note


def dispose_of_changes(path: str, cage: str, how: str, *, quiet: bool = False) -> bool:
    """At the end of a run: ``commit`` or ``discard``.  False when something was left, after saying
    what.
    """
    with Client(path) as client:
        if how == "discard":
            discard_cage(client, cage)
            return True
        try:
            _, report, place = commit_cage(client, cage)
        except AkiosError as error:
            note(f"not committed: {error.what}; akiosctl diff {cage}")
            return False
    if report.failure is not None:
        note(
            f"the commit stopped after {len(report.done)} changes: {report.failure.reason};"
            f" akiosctl diff {cage}"
        )
    elif not quiet:
        note(f"{count_changes(len(report.done))} of {cage} written to {place}")
    return report.failure is None


def count_changes(count: int) -> str:
    """The number in words."""
    return f"{count:,} change{'' if count == 1 else 's'}"
