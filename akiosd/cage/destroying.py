"""Who may destroy what a cage left: the one table that every door asks (cage down, discard, ledger
destroy, ledger prune).

Changes that nobody committed are their user's work, and a log is the host's evidence.  An
administrator cares for the host, so logs are theirs and the work of others is not; who made a
standing cage takes it down with its log, because that is what ``cage down`` is for, and a tombstone
stays in the host's log that says who did it.
"""

from __future__ import annotations

from typing import Literal

Data = Literal["changes", "log", "log of a standing cage"]
Who = Literal["root", "admin", "owner"]
MAY_DESTROY: dict[Data, frozenset[Who]] = {
    "changes": frozenset({"root", "owner"}),
    "log": frozenset({"root", "admin"}),
    "log of a standing cage": frozenset({"root", "admin", "owner"}),
}


def may_destroy(data: Data, role: str, *, owns: bool) -> bool:
    """Whether a client in this role, whose cage it is or is not, may destroy ``data`` for ever."""
    return role in MAY_DESTROY[data] or (owns and "owner" in MAY_DESTROY[data])
