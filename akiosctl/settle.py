"""What becomes of a cage's changes: compared through the cage's read-only view, written as the user, or destroyed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from akiosctl.cages import list_cages
from akiosctl.changes import Diff, Plan, Report, Rules, commit, compare, make_plan, survey_workspace
from akiosctl.client import Client, DaemonError, close_fds
from akiosctl.render import note
from akiosd.errors import AkiosError
from akiosd.wire.messages import Discard, Ok, View, ViewReply


class CageView:
    """An ended cage's merged view and its workspace, both open for the caller alone; see :func:`open_view`."""

    def __init__(self, reply: ViewReply, view_fd: int, workspace_fd: int) -> None:
        self.reply = reply
        self.view_fd = view_fd
        self.workspace_fd = workspace_fd

    def compare(self) -> Diff:
        """What differs, conflicts counted from the cage's start."""
        return compare(self.workspace_fd, self.view_fd, started_ns=self.reply.started_ns or None)

    def plan(self, diff: Diff, *, skip_refused: bool = False, force: bool = False) -> Plan:
        return make_plan(
            diff,
            Rules(
                protected=self.reply.protect,
                root=self.reply.workspace,
                survey=survey_workspace(self.workspace_fd, self.view_fd, diff) if diff.changes else None,
            ),
            skip_refused=skip_refused,
            force=force,
        )

    def commit(self, plan: Plan) -> Report:
        return commit(self.workspace_fd, self.view_fd, plan)


@contextmanager
def open_view(client: Client, cage: str) -> Iterator[CageView]:
    """The view of an ended cage; its descriptors are closed at the end."""
    reply, fds = _request_view(client, cage)
    try:
        if len(fds) != 2:
            raise AkiosError("akiosd sent no view", cage, "the cage may still be running, or without changes")
        yield CageView(reply, *fds)
    finally:
        close_fds(fds)


def _request_view(client: Client, cage: str) -> tuple[ViewReply, list[int]]:
    try:
        return client.call(View(cage=cage), ViewReply)
    except DaemonError as refused:
        # A restarted akiosd holds no workspaces any more: it is opened again, as the user, and checked there.
        known = [info for info in list_cages(client, everyone=True) if info.cage == cage and info.ended_ns]
        if not known:
            raise
        try:
            workspace = os.open(known[0].workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise refused from None
    try:
        return client.call(View(cage=cage), ViewReply, [workspace])
    finally:
        os.close(workspace)


def commit_cage(client: Client, cage: str, *, skip_refused: bool = False, force: bool = False) -> tuple[Plan, Report]:
    """Commit, then have the changes destroyed.  Raises :class:`AkiosError` when nothing was done.

    What was left out is destroyed too: once the workspace has changed, what the agent renamed leads nowhere, and a
    second comparison would call it deleted.
    """
    with open_view(client, cage) as view:
        plan = view.plan(view.compare(), skip_refused=skip_refused, force=force)
        report = view.commit(plan)
    if report.failure is None and (report.done or not plan.skipped):
        discard_cage(client, cage, committed=True, paths=len(report.done))
    return plan, report


def discard_cage(client: Client, cage: str, *, committed: bool = False, paths: int = 0) -> None:
    client.call(Discard(cage=cage, committed=committed, paths=paths), Ok)


def settle_changes(path: str, cage: str, how: str) -> bool:
    """At the end of a run: ``commit`` or ``discard``.  False when something was left, after saying what."""
    with Client(path) as client:
        if how == "discard":
            discard_cage(client, cage)
            return True
        try:
            _, report = commit_cage(client, cage)
        except AkiosError as error:
            note(f"not committed: {error.what}; akiosctl diff {cage}")
            return False
    if report.failure is not None:
        note(f"the commit stopped after {len(report.done)} changes: {report.failure.reason}; akiosctl diff {cage}")
    return report.failure is None
