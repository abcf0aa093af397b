"""Settles a cage's changes: compared through the cage's read-only view, then written as the user,
or destroyed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from akiosctl.cages import list_cages, open_at
from akiosctl.changes import (
    Change,
    CommitReport,
    Diff,
    Plan,
    Rules,
    commit,
    compare,
    count_steps,
    make_plan,
    survey_workspace,
)
from akiosctl.changes.git_share import is_relocated, merge_diffs, merge_surveys, original
from akiosctl.changes.git_views import GitChanges, GitDirectory
from akiosctl.changes.reached_paths import Survey
from akiosctl.client import Client, DaemonError
from akiosctl.end_signals import held_back
from akiosctl.git_place import find_git
from akiosctl.progress import Progress
from akiosctl.put_back import forget_put_back, keep_put_back, read_put_back
from akiosctl.render import escape, note
from akiosctl.writings import WRITINGS
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import CageInfo, Discard, Ok, View, ViewReply


class CageView:
    """An ended cage's merged view and its workspace, both open for the caller alone; see
    :func:`open_view`.
    """

    def __init__(
        self,
        reply: ViewReply,
        view_fd: int,
        workspace_fd: int,
        git_fds: tuple[int, ...] = (),
        wanted: bool | None = None,
        cage: str = "",
    ) -> None:
        self.reply = reply
        self.cage = cage
        self.wanted = wanted
        self.view_fd = view_fd
        self.workspace_fd = workspace_fd
        self.root = os.readlink(b"/proc/self/fd/%d" % workspace_fd)
        """What the workspace is called now, which nobody but the kernel says."""
        self.git: GitDirectory | None = None
        if git_fds:
            git_view_fd, git_fd = git_fds
            self.git = GitDirectory(self.root, git_fd, git_view_fd)
        self._git_changes: GitChanges | None = None

    @property
    def place(self) -> str:
        """The workspace, fit to be shown."""
        return escape(self.root)

    def compare(self) -> Diff:
        """What differs, conflicts counted from the cage's start; what the cage did to a git
        directory beside the workspace stands below ``.git``.
        """
        started_ns = self.reply.started_ns or None
        with Progress("comparing", "directories", wanted=self.wanted) as progress:
            put_back = read_put_back(self.cage)
            diff = compare(
                self.workspace_fd,
                self.view_fd,
                started_ns=started_ns,
                step=progress.advance,
                put_back=put_back,
            )
            if self.git is None:
                return diff
            self._git_changes = self.git.compare(started_ns, progress.advance, put_back)
        return merge_diffs(diff, self._git_changes.diff)

    def open_for(self, change: Change) -> tuple[int, int, Change]:
        """(workspace, view, change): the directories that a change is about, and its path there."""
        if self.git is None or not is_relocated(change.path):
            return self.workspace_fd, self.view_fd, change
        there = msgspec.structs.replace(change, path=original(change.path))
        return self.git.fd, self.git.view_fd, there

    def plan(self, diff: Diff, *, skip_refused: bool = False, force: bool = False) -> Plan:
        """The operations of a commit; see :func:`akiosctl.changes.plan.make_plan`."""
        return make_plan(
            diff,
            Rules(
                protected=self.reply.protect,
                root=self.root,
                survey=self._survey(diff) if diff.changes else None,
                refused=self._git_changes.refused if self._git_changes is not None else (),
            ),
            skip_refused=skip_refused,
            force=force,
        )

    def _survey(self, diff: Diff) -> Survey:
        if self.git is None or self._git_changes is None:
            return survey_workspace(self.workspace_fd, self.view_fd, diff)
        own = tuple(change for change in diff.changes if not is_relocated(change.path))
        ours = survey_workspace(
            self.workspace_fd, self.view_fd, msgspec.structs.replace(diff, changes=own)
        )
        return merge_surveys(ours, self.git.survey(self._git_changes))

    def commit(self, plan: Plan) -> CommitReport:
        """Perform a plan; see :func:`akiosctl.changes.apply.commit`."""
        git_fds = (self.git.fd, self.git.view_fd) if self.git is not None else None
        steps = count_steps(plan)
        with Progress("committing", "steps", steps, wanted=self.wanted) as progress:
            return commit(
                self.workspace_fd,
                self.view_fd,
                plan,
                progress.advance,
                git_fds=git_fds,
                put_back=lambda stamps: keep_put_back(self.cage, stamps),
            )


@contextmanager
def open_view(
    client: Client, cage: str, *, running: bool = False, watched: bool | None = None
) -> Iterator[CageView]:
    """The view of an ended cage, or of one that runs; its descriptors are closed at the end.

    One that runs is paused until ``client`` is closed.  ``watched``: somebody wants to see how far
    it is (None: as the verb was asked).
    """
    if running:
        reply, fds = client.call(View(cage=cage, running=True), ViewReply)
    else:
        reply, fds = _request_view(client, cage)
    try:
        if len(fds) not in (2, 4):
            raise AkiosError(
                f"akiosd's answer lacks what the cage changed (it came with {len(fds)} open files)",
                cage,
                "see whether it still has changes: akiosctl ps --all; if it has, ask again, and if"
                " that fails too, see journalctl -u akiosd",
            )
        yield CageView(reply, fds[0], fds[1], tuple(fds[2:]), watched, cage)
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
    fds = [workspace]
    try:
        place = find_git(os.readlink(f"/proc/self/fd/{workspace}"))
        if place is not None and place.outside and not place.problem:
            fds.append(os.open(place.common, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return client.call(View(cage=cage), ViewReply, fds)
    finally:
        close_fds(fds)


Agrees = Callable[[CageView, Plan], None]
"""Raises :class:`AkiosError` when the plan is not to be performed."""


def commit_cage(
    client: Client,
    cage: str,
    *,
    skip_refused: bool = False,
    force: bool = False,
    agrees: Agrees | None = None,
    watched: bool | None = None,
    part: Callable[[Diff], Diff] | None = None,
) -> tuple[Plan, CommitReport, str]:
    """Commit, then have the changes destroyed; returns the plan, the report, and the workspace in
    words.  ``part`` says what of them is committed.

    What was left out is destroyed too: once the workspace has changed, names that the agent renamed
    lead nowhere, and a second comparison would call them deleted. So no signal comes between the
    two. Raises :class:`AkiosError` when nothing was done.
    """
    told = ""
    try:
        with ExitStack() as writing:
            with open_view(client, cage, watched=watched) as view:
                diff, place = view.compare(), view.place
                diff = part(diff) if part is not None else diff
                plan = view.plan(diff, skip_refused=skip_refused, force=force)
                if agrees is not None and not plan.blocked:
                    agrees(view, plan)
                writing.enter_context(WRITINGS.one())
                writing.enter_context(held_back())
                told = "the commit was ended, and what it had done is undone"
                report = view.commit(plan)
            if report.failure is None and (report.done or not plan.skipped):
                is_some = part is None or bool(report.done)
                discard_cage(client, cage, committed=is_some, paths=len(report.done))
            told = f"{count_changes(len(report.done))} of {cage} written to {place} before it ended"
    except KeyboardInterrupt as error:
        notes: list[str] = getattr(error, "__notes__", [])
        if watched is not False:
            for text in notes or [told] * bool(told):
                note(text)
        raise
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
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
            os.environ.pop(name, None)
    except KeyError:
        os.setgroups([])
        gid = cage.gid
    if gid < 0:
        raise AkiosError(
            f"the user of this cage, {cage.uid}, is not known here",
            cage.cage,
            f"create an account with the uid {cage.uid}, or discard the cage's changes as root:"
            f" sudo akiosctl discard {cage.cage}",
        )
    os.setresgid(gid, gid, gid)
    os.setresuid(cage.uid, cage.uid, cage.uid)


def discard_cage(
    client: Client, cage: str, *, committed: bool = False, paths: int = 0, wipe: bool = False
) -> str:
    """Have the changes destroyed; returns in words what was not overwritten, or ""."""
    reply, _ = client.call(Discard(cage=cage, committed=committed, paths=paths, wipe=wipe), Ok)
    forget_put_back(cage)
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
            watched = False if quiet else None
            _, report, place = commit_cage(client, cage, watched=watched)
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
