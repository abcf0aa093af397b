"""A denial: what a rule refuses to an agent, in one form for the agent, for its log and
for people.
"""

from __future__ import annotations

import msgspec

BAD_REQUEST = 400
PAYMENT_REQUIRED = 402
FORBIDDEN = 403
TOO_MANY = 429
"""HTTP statuses (RFC 9110, 15.5; RFC 6585)."""


class Denial(msgspec.Struct, frozen=True, omit_defaults=True, tag="denial"):
    """One refusal.

    ``rule`` is the policy key that refuses (``budget.usd``), ``words`` a sentence for the agent and
    for people, ``hint`` what would help. ``status`` is the HTTP status of the answer, ``host`` what
    was asked for, ``retry_after`` seconds (0 for none).

    ``final``: the cage ends with it. ``failed``: nothing was refused; an upstream did not do its
    part, and the client may try again.  ``needs``: a value of ``rule`` that would have allowed
    it, in the unit of a merged policy; 0 where no number would.
    """

    rule: str
    words: str
    hint: str = ""
    status: int = FORBIDDEN
    final: bool = False
    host: str = ""
    retry_after: int = 0
    failed: bool = False
    needs: int = 0
