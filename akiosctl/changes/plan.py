"""Turns a comparison into the operations of a commit: refusals, conflicts, order.  Pure.

A conflict is a workspace entry that the user changed after the cage started, and that the commit
would replace or remove. It is recognised by ctime, which no program can set back, so nothing has to
be recorded when the cage starts. A directory's ctime changes with every entry made in it, so on its
own it is no conflict; a directory with a new ctime and an old mtime was renamed or had its mode
changed, and everything below it may be another tree than the agent saw.

A commit that was undone gave what it put back a new ctime as well. It noted that one, and as long
as an inode has exactly it, nobody has changed the inode since.

Not noticed: a file that the user *deleted* while the agent changed it comes back; and a directory
that was both moved here and filled since.

The order keeps data: everything new is in place before anything old is removed. Only where a name
changes its type must the old one go first.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from akiosctl.changes.model import (
    Change,
    ChangeKind,
    Diff,
    Entry,
    EntryType,
    ancestors,
    parent_of,
    stamp_of,
)
from akiosctl.changes.protect import RefusedChange, Rules, find_refusals, standing_protection
from akiosctl.changes.reached_paths import show
from akiosctl.changes.walk import CLOCK_GRAIN_NS

_SHOWN = 3


class Verb(StrEnum):
    """What an operation does."""

    MAKE_DIRECTORY = "make directory"
    WRITE_FILE = "write file"
    MAKE_SYMLINK = "make symlink"
    HARD_LINK = "hard link"
    REMOVE = "remove"
    REMOVE_DIRECTORY = "remove directory"
    SET_MODE = "set mode"


class Operation(msgspec.Struct, frozen=True):
    """One step.  ``old`` is what must stand at ``path`` (``None``: nothing), ``new`` what the view
    has there.

    ``anchor`` is the path in the workspace that a hard link is made from, ``anchor_entry`` what
    must stand there when the plan itself does not write it.
    """

    verb: Verb
    path: bytes
    old: Entry | None = None
    new: Entry | None = None
    anchor: bytes = b""
    anchor_entry: Entry | None = None


class Plan(msgspec.Struct, frozen=True):
    """What a commit will do.  ``blocked``: something is refused or in conflict, and nothing will be
    done.
    """

    operations: tuple[Operation, ...]
    refusals: tuple[RefusedChange, ...]
    conflicts: tuple[RefusedChange, ...]
    skipped: tuple[RefusedChange, ...] = ()
    blocked: bool = False


def explain_block(plan: Plan) -> str:
    """Why nothing of a blocked plan is done, in one line: the first few paths with
    their reasons.
    """
    held_back = (*plan.refusals, *plan.conflicts)
    shown = "; ".join(f"{show(held.path)}: {held.reason}" for held in held_back[:_SHOWN])
    more = f"; and {len(held_back) - _SHOWN} more" if len(held_back) > _SHOWN else ""
    kinds = ((len(plan.refusals), "refused"), (len(plan.conflicts), "in conflict"))
    counts = " and ".join(
        f"{n} {'change is' if n == 1 else 'changes are'} {what}" for n, what in kinds if n
    )
    return f"{counts}; nothing was written ({shown}{more})"


_REST = "akiosctl diff shows what is held back; --skip-refused commits the rest"


def what_helps_block(plan: Plan) -> str:
    """What may be done about it: --force helps against conflicts alone."""
    if not plan.conflicts:
        return _REST
    if not plan.refusals:
        return (
            f"{_REST}; --force commits all, and overwrites what you changed since the cage started"
        )
    return (
        f"{_REST}; --skip-refused --force also commits those in conflict, and overwrites what you"
        " changed"
    )


def find_conflicts(diff: Diff) -> list[RefusedChange]:
    """The changes whose workspace entry is newer than the cage's start."""
    if diff.started_ns is None:
        return []
    limit = diff.started_ns - CLOCK_GRAIN_NS
    found = []
    for change in diff.changes:
        if change.old is None:
            continue
        is_newer = change.old.ctime_ns >= limit and stamp_of(change.old) not in diff.put_back
        if change.old.type is not EntryType.DIRECTORY and is_newer:
            found.append(
                RefusedChange(change.path, "changed in the workspace since the cage started")
            )
        elif diff.moved and any(
            path in diff.moved for path in (change.path, *ancestors(change.path))
        ):
            found.append(
                RefusedChange(
                    change.path, "its directory was moved in the workspace since the cage started"
                )
            )
    return found


def make_plan(diff: Diff, rules: Rules, *, skip_refused: bool = False, force: bool = False) -> Plan:
    """The operations that make the workspace equal the view.

    Refusals and conflicts block the whole plan, unless ``skip_refused`` leaves out those paths (and
    what hangs on them).  ``force`` takes the view's side in conflicts; refusals it does not lift.
    """
    refusals = tuple(find_refusals(diff, rules))
    conflicts = tuple(find_conflicts(diff))
    held_back = (*refusals, *(() if force else conflicts))
    if held_back and not skip_refused:
        return Plan((), refusals, conflicts, blocked=True)
    skipped = _spread(diff, {refusal.path: refusal.reason for refusal in reversed(held_back)})
    changes = [change for change in diff.changes if change.path not in skipped]
    left_out = tuple(RefusedChange(path, reason) for path, reason in sorted(skipped.items()))
    return Plan(tuple(_order(changes, diff, rules)), refusals, conflicts, left_out)


def _spread(diff: Diff, skipped: dict[bytes, str]) -> dict[bytes, str]:
    """Add what cannot be done without a skipped path: its removed ancestors, then all below an
    unmade directory.
    """
    by_path = {change.path: change for change in diff.changes}
    result = dict(skipped)
    for path in skipped:
        if by_path[path].old is None:
            continue
        for ancestor in ancestors(path):
            if ancestor in result:
                break
            above = by_path.get(ancestor)
            if above and above.kind in (ChangeKind.DELETED, ChangeKind.TYPE):
                result[ancestor] = "something in it is not committed"
    unmade = {path for path in result if by_path[path].kind in (ChangeKind.ADDED, ChangeKind.TYPE)}
    for change in diff.changes:
        if change.old is None and parent_of(change.path) in unmade:
            unmade.add(change.path)
            result.setdefault(change.path, "its directory is not committed")
    return result


def _order(changes: list[Change], diff: Diff, rules: Rules) -> list[Operation]:
    late_paths: set[bytes] = set()
    linked = _hard_links(changes, diff, rules)
    first: list[Operation] = []
    early: list[Operation] = []
    removals: list[Operation] = []
    late: list[Operation] = []
    links: list[Operation] = []
    modes: list[Operation] = []
    for change in changes:
        old, new = change.old, change.new
        if change.kind is ChangeKind.TYPE or parent_of(change.path) in late_paths:
            late_paths.add(change.path)
        if change.kind in (ChangeKind.DELETED, ChangeKind.TYPE):
            removals.append(_removal(change))
            if old is not None and old.type is EntryType.DIRECTORY and old.mode & 0o300 != 0o300:
                first.append(_opening(change.path, old))
            old = None
        if new is None:
            continue
        if new.type is EntryType.DIRECTORY and change.kind is ChangeKind.MODE:
            opens = old is not None and new.mode & ~old.mode & 0o300
            (first if opens else modes).append(Operation(Verb.SET_MODE, change.path, old, new))
            continue
        if new.type is EntryType.DIRECTORY and new.mode & 0o700 != 0o700:
            modes.append(Operation(Verb.SET_MODE, change.path, None, new))
        operation = linked.get(change.path) or _creation(change.kind, change.path, old, new)
        (links if change.path in linked else late if change.path in late_paths else early).append(
            operation
        )
    # Paths are sorted, so a parent comes before what is in it, and after it in reverse.
    return [*first, *early, *reversed(removals), *late, *links, *reversed(modes)]


def _opening(path: bytes, old: Entry) -> Operation:
    """Nothing can be taken out of a directory that its owner may not write."""
    return Operation(Verb.SET_MODE, path, old, msgspec.structs.replace(old, mode=old.mode | 0o700))


def _removal(change: Change) -> Operation:
    assert change.old is not None
    is_directory = change.old.type is EntryType.DIRECTORY
    return Operation(
        Verb.REMOVE_DIRECTORY if is_directory else Verb.REMOVE, change.path, change.old
    )


def _creation(kind: ChangeKind, path: bytes, old: Entry | None, new: Entry) -> Operation:
    if new.type is EntryType.DIRECTORY:
        return Operation(Verb.MAKE_DIRECTORY, path, old, new)
    if new.type is EntryType.SYMLINK:
        return Operation(Verb.MAKE_SYMLINK, path, old, new)
    # chmod on an inode with several names would reach the others, in the workspace or out of it.
    if kind is ChangeKind.MODE and old is not None and old.nlink == 1:
        return Operation(Verb.SET_MODE, path, old, new)
    return Operation(Verb.WRITE_FILE, path, old, new)


def _hard_links(changes: list[Change], diff: Diff, rules: Rules) -> dict[bytes, Operation]:
    """For each file with several names in the view: one name is written, the others are linked to
    it.
    """
    if not diff.links:
        return {}
    written = {
        change.path: change
        for change in changes
        if change.new and change.new.type is EntryType.FILE
    }
    links: dict[bytes, Operation] = {}
    is_protected = standing_protection(rules)
    for paths in diff.links.values():
        names = [path for path in paths if path in written]
        # A protected file is never an anchor: a second name for it would be a way round its
        # protection.
        standing = [
            path for path in paths if path in diff.unchanged_links and not is_protected(path)
        ]
        anchors = standing or names
        for path in names:
            if path != anchors[0]:
                change = written[path]
                old = None if change.kind is ChangeKind.TYPE else change.old
                standing_entry = diff.unchanged_links.get(anchors[0])
                links[path] = Operation(
                    Verb.HARD_LINK, path, old, change.new, anchors[0], standing_entry
                )
    return links
