"""Compare a cage's view with the workspace, and commit the difference with the caller's own
credentials.
"""

from akiosctl.changes.apply import CommitReport, Committer, Failure, commit, count_steps
from akiosctl.changes.model import Change, ChangeKind, Diff, Entry, EntryType
from akiosctl.changes.plan import Operation, Plan, Verb, find_conflicts, make_plan
from akiosctl.changes.protect import DEFAULT_PROTECTED, RefusedChange, Rules, find_refusals
from akiosctl.changes.survey import survey_workspace
from akiosctl.changes.walk import MAX_CHANGES, MAX_PATH, compare

__all__ = [
    "DEFAULT_PROTECTED",
    "MAX_CHANGES",
    "MAX_PATH",
    "Change",
    "ChangeKind",
    "CommitReport",
    "Committer",
    "Diff",
    "Entry",
    "EntryType",
    "Failure",
    "Operation",
    "Plan",
    "RefusedChange",
    "Rules",
    "Verb",
    "commit",
    "compare",
    "count_steps",
    "find_conflicts",
    "find_refusals",
    "make_plan",
    "survey_workspace",
]
