"""Texts for properties: examples of every pattern, whole and in pieces, put together with and
without glue.
"""

from __future__ import annotations

from akiosd.redact.patterns import PATTERNS
from hypothesis import strategies as st

EXAMPLES = sorted({text for pattern in PATTERNS for text in pattern.yes + pattern.no})
WORDS = sorted({word for pattern in PATTERNS for word in pattern.context})
GLUE = [
    " ", "\n", ", ", " and ", ": ", "-", ".", "/", ":", "(", ")", "_", "=", '"', "'", "[", "]", "@", "0", "1", "a", "A",
    "é", "ﬁ", "日", "\0", "\u200b", "\\", "\\n", "\\u0040", "%4", "%20", "&#6", "&#64;", "[EMAIL]", "[US_SSN]",
    "password: ", "token: ", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
]  # fmt: skip
SLICES = st.tuples(st.sampled_from(EXAMPLES), st.integers(0, 60), st.integers(1, 60)).map(
    lambda of: of[0][of[1] : of[1] + of[2]]
)
PIECES = st.one_of(
    st.sampled_from(EXAMPLES),
    st.sampled_from(GLUE),
    SLICES,
    st.sampled_from(WORDS),
    st.text("0123456789 -.@:/aZé", max_size=12),
    st.text(max_size=10),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)
VALUES = [
    "a@b.org",
    "4012888888881881",
    "+1 415 555 0132",
    "078-05-1123",
    "192.168.3.4",
    "DE89370400440532013000",
    "ssn",
    "card",
]
LISTS = st.tuples(
    st.sampled_from([" ", "-", ", ", ".", "\n", "/", ""]),
    st.lists(
        st.one_of(st.sampled_from(VALUES), st.text("0123456789", min_size=1, max_size=16)),
        max_size=40,
    ),
).map(lambda of: of[0].join(of[1]))
"""Many things with little between them."""
