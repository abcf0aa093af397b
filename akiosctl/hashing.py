"""The batch hasher of the ledger's verbs: the native one, or plain Python where that is not built;
the same bytes.
"""

from __future__ import annotations

from akiosd.ledger.merkle import PYTHON, Hasher

HASHER: Hasher
try:
    from akiosd.kernel.hashing import NATIVE
except ImportError:
    HASHER = PYTHON
else:
    HASHER = NATIVE
