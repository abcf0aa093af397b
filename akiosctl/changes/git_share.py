"""What of a repository belongs to one of its work trees.  Pure.

A linked worktree shares a repository with others: git-worktree(1), gitrepository-layout(5).  An
agent in one of them sees none of the others, so ``git gc`` and ``git worktree prune`` take theirs
for abandoned.  Of what it did to the shared directory a commit writes back what belongs to its own
work tree: new objects, the references that others do not stand on, its own index and HEAD.  Nothing
is taken away but a reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from akiosctl.changes.model import Change, ChangeKind, Diff, EntryType, join
from akiosctl.changes.protect import RefusedChange
from akiosctl.changes.reached_paths import Survey

GIT = b".git"
_OBJECT = re.compile(
    rb"objects/(?:[0-9a-f]{2}/[0-9a-f]{38}(?:[0-9a-f]{24})?"
    rb"|pack/pack-[0-9a-f]{40}(?:[0-9a-f]{24})?\.(?:pack|idx|rev|bitmap|mtimes|promisor))"
)
_OBJECT_PLACE = re.compile(rb"objects/(?:[0-9a-f]{2}|pack)")
# Where the work tree is and what it is joined to: git writes it once, and follows it ever after.
_ANCHORS = frozenset((b"gitdir", b"commondir", b"config.worktree", b"locked"))
# Of the main work tree, like HEAD and index: gitrepository-layout(5).
_MAINS = re.compile(rb"[A-Z][A-Z_]*|index|sharedindex\..*|gc\.(?:log|pid)|modules|BISECT_.*")
_OWN_REFERENCES = (b"refs/bisect", b"refs/worktree", b"refs/rewritten")
PACKED = b"packed-refs"
_PACKED_LINE = re.compile(rb"(?m)^([0-9a-f]{40,64}) (refs/[^\n]+)$")


class References(msgspec.Struct, frozen=True):
    """``changed``: names whose value is another than before, wherever it is kept; ``elsewhere``:
    the branches that other work trees stand on.
    """

    changed: frozenset[bytes] = frozenset()
    elsewhere: frozenset[bytes] = frozenset()


def read_packed(data: bytes) -> dict[bytes, bytes]:
    """Name → object of a file packed-refs."""
    return {name: value for value, name in _PACKED_LINE.findall(data)}


def choose_own(
    diff: Diff, name: bytes, references: References
) -> tuple[tuple[Change, ...], tuple[RefusedChange, ...]]:
    """(the changes that belong to the work tree, those that must not be made) of a shared
    directory; the rest is the other work trees' or housekeeping, and is left as it was.

    ``name`` is the work tree's own directory in it: ``worktrees/NAME``.
    """
    own: list[Change] = []
    refused: list[RefusedChange] = []
    for change in diff.changes:
        verdict = _judge(change, name, references)
        if verdict is None:
            own.append(change)
        elif verdict:
            refused.append(RefusedChange(change.path, verdict))
    return tuple(own), tuple(refused)


def _judge(change: Change, name: bytes, references: References) -> str | None:
    """None: it belongs to the work tree; "": it does not, and nobody misses it; else why it must
    not be made.
    """
    path = change.path
    first = path.partition(b"/")[0]
    if path == name or path.startswith(name + b"/"):
        if path[len(name) + 1 :] in _ANCHORS or path == name:
            return "protected: git finds this work tree by it"
        return None
    if first == b"objects":
        return None if _is_new_object(change) else ""
    if first == b"reftable":
        return "references of this form (reftable) cannot be written back for one work tree"
    if first == b"worktrees" or _MAINS.fullmatch(first):
        return ""
    if first in (b"refs", b"logs") or path == PACKED:
        return _judge_reference(change, references)
    return None


def _is_new_object(change: Change) -> bool:
    if change.kind is not ChangeKind.ADDED:
        return False
    form = {EntryType.FILE: _OBJECT, EntryType.DIRECTORY: _OBJECT_PLACE}.get(change.type)
    return form is not None and form.fullmatch(change.path) is not None


def _judge_reference(change: Change, references: References) -> str | None:
    path = change.path
    foreign = sorted(references.changed & references.elsewhere)
    packed = f"another work tree stands on {_text(foreign[0])}" if foreign else None
    if path == PACKED:
        return packed
    name = path.removeprefix(b"logs/")
    if change.type is EntryType.DIRECTORY:
        return None if change.kind is ChangeKind.ADDED else ""
    if name in references.elsewhere and name in references.changed:
        return "another work tree stands on this branch"
    if name.startswith(_OWN_REFERENCES) or name == b"HEAD":
        return ""
    if name not in references.changed:
        # Only moved to packed-refs, or back; either file says the same.
        return ""
    # What left its own file for packed-refs needs that file.
    moved = change.kind is ChangeKind.DELETED and not path.startswith(b"logs/")
    return packed if moved else None


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def relocate(diff: Diff, changes: tuple[Change, ...]) -> Diff:
    """``changes`` of a git directory as if it stood in the workspace under its usual name, where
    the rules know it.
    """
    here = {change.path for change in changes}
    links = {
        key: kept
        for key, paths in diff.links.items()
        if len(kept := tuple(_place(path) for path in paths if path in here)) > 1
    }
    return msgspec.structs.replace(
        diff,
        changes=tuple(
            msgspec.structs.replace(change, path=_place(change.path)) for change in changes
        ),
        git_dirs=frozenset(_place(path) for path in diff.git_dirs if path),
        moved=frozenset(_place(path) for path in diff.moved),
        links=links,
        unchanged_links={},
    )


def relocate_survey(survey: Survey) -> Survey:
    """The same for what stands there."""
    return Survey(
        survey.root,
        {_place(path): _target(path, to, survey.root) for path, to in survey.links.items()},
        tuple(msgspec.structs.replace(row, base=_place(row.base)) for row in survey.rows),
        (),
        {},
        _placed(survey.contents),
        _placed(survey.configurations),
    )


def _place(path: bytes) -> bytes:
    return join(GIT, path) if path else GIT


def _placed(found: Mapping[bytes, str]) -> dict[bytes, str]:
    return {_place(path): text for path, text in found.items()}


def _target(path: bytes, target: bytes, root: bytes) -> bytes:
    """A link to a place in the git directory leads there wherever that is said to stand."""
    if not target.startswith(root + b"/"):
        return target
    return b"../" * path.count(b"/") + target[len(root) + 1 :]


def merge_diffs(workspace: Diff, git: Diff) -> Diff:
    """Both as one; the workspace has nothing below its file ``.git``."""
    return Diff(
        tuple(sorted((*workspace.changes, *git.changes), key=lambda change: change.path)),
        workspace.git_dirs | git.git_dirs,
        workspace.moved | git.moved,
        {**workspace.links, **git.links},
        workspace.unchanged_links,
        workspace.started_ns,
        workspace.put_back,
    )


def merge_surveys(workspace: Survey, git: Survey) -> Survey:
    """Both as one."""
    return msgspec.structs.replace(
        workspace,
        links={**workspace.links, **git.links},
        rows=(*workspace.rows, *git.rows),
        contents={**workspace.contents, **git.contents},
        configurations={**workspace.configurations, **git.configurations},
    )


def is_relocated(path: bytes) -> bool:
    """Whether a path of a merged comparison is in the git directory."""
    return path.startswith(GIT + b"/")


def original(path: bytes) -> bytes:
    """Where it stands in that directory."""
    return path[len(GIT) + 1 :]
