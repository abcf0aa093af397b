"""What a tool gave back, without what differs each time though nothing changed.

Left out are times, durations, rates, ids and counts of attempts.  Percentages, ``45/120`` and all
other numbers stay: a progress bar that moves is a change, one that stands under a ticking clock is
none.  Pure; every pattern is linear in the length of its text.
"""

from __future__ import annotations

import hashlib
import re

MAX_READ = 16 << 10
"""Characters of a line; a longer one is compared as it is."""
MAX_SAID = 4 << 10
"""Characters of an answer in which sentences are looked for."""

_MONTHS = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?:\s?[AP]M\b)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|CES?T|[ECMP][SD]T|[+-]\d\d:?\d\d)\b)?"
_UNITS = "(?:ns|µs|us|ms|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)"

_TIMES = re.compile(
    rf"\d{{4}}[-/]\d\d[-/]\d\d(?:[T ]{_CLOCK}{_ZONE})?"  # ISO 8601
    rf"|\b{_DAYS},? (?:{_MONTHS} {{1,2}}\d{{1,2}}|\d{{1,2}} {_MONTHS})[ ,]"  # date(1), RFC 9110
    rf"(?:\d{{4}} )?{_CLOCK}{_ZONE}(?: \d{{4}})?"
    rf"|\b{_MONTHS} {{1,2}}\d{{1,2}} {_CLOCK}"  # syslog
    rf"|\b{_CLOCK}{_ZONE}"
    r"|\b1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d{1,9})?\b"  # seconds since the epoch, and finer
    rf"|\b(?:\d{{1,12}}(?:\.\d{{1,9}})?\s?{_UNITS}){{1,4}}\b"
    r"|\b\d{1,9}(?:\.\d{1,6})?\s?(?:it|[kKMG]?i?B|files|rows|req|ops)/s(?:ec)?\b"
)
_IDS = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"
    # Longer ones are digests of what something holds.
    r"|\b(?=[0-9a-f]{0,31}[0-9])(?=[0-9a-f]{0,31}[a-f])[0-9a-f]{8,32}\b"
    r"|\b0x[0-9a-f]{6,16}\b"
    r"|\b(?:req|call|toolu|msg|run|resp|chatcmpl|trace|span|sess|item)[_-][A-Za-z0-9_-]{8,64}\b"
    r"|\b(?:pid|port|chunk id|session id|request[ -]id|thread)[ =:#]{1,3}[0-9a-zA-Z]{1,40}\b"
    r"|\b\d{1,7} (?=(?:critical|debug|error|fatal|info|notice|warn|warning)\b)"
    r"|(?<=\w)\[\d{1,7}\](?=:)"
    r"|/tmp/(?:tmp[\w.-]{4,40}|pytest-of-\w{1,40}/pytest-\d{1,6})",
    re.IGNORECASE,
)
_COUNTS = re.compile(
    r"\b(?:attempt|retry|try|request|poll)[ #:]{1,3}\d{1,9}(?:\s?(?:/|of)\s?\d{1,9})?"
    r"|\b\d{1,9}(?:st|nd|rd|th) (?:attempt|retry|try|time)\b"
    r"|\b\d{1,9} (?:attempts|retries|requests|polls|calls) (?:so far|left|remaining|made)\b",
    re.IGNORECASE,
)
_TURNS = re.compile(
    r"\b(?:turn|step|round|iteration|message|attempt)[ #:]{1,3}\d{1,9}(?:\s?(?:/|of)\s?\d{1,9})?"
    r"|\b\d{1,9} (?:more )?(?:turns|steps|rounds|iterations|messages|attempts|tokens)"
    r"(?: (?:left|remaining|used|so far))?",
    re.IGNORECASE,
)
_DRAWN = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]|[⠀-⣿◐◓◑◒]")
_WORDS = re.compile(r"\w+")
_SENTENCES = re.compile(r"[.!?\n]+(?:\s+|$)")
_REMINDER = ("<system-reminder>", "</system-reminder>")

_COURTESY = """
    a again all always am and any anytime are as at be bye can care cheers day enjoy everything
    farewell fantastic feel for forward free further glad good goodbye great have help helpful
    helping here hesitate hope i if in is it just kind kindness know let ll look looking lot luck
    m me more much my need nice no not of okay ok on out pleasure please questions re reach ready
    really s so soon support t take talk thank thanks that the then there this time to too
    truly until very ve was welcome well were will wish with wonderful words work working would
    you your yours yourself don happy appreciate appreciated appreciation assist assistance best
    collaboration collaborating conversation delightful gratitude grateful kindly likewise
"""
COURTESY = frozenset(_COURTESY.split())
"""Words of which thanks and farewells are made: a sentence of nothing else says nothing."""


def same_results(one: str, other: str) -> bool:
    """Whether two results differ in times, ids and counts only; the first other difference
    decides.
    """
    if one == other:
        return True
    lines, others = (_without_reminders(text).rstrip().split("\n") for text in (one, other))
    return len(lines) == len(others) and all(
        a == b or plain_result(a) == plain_result(b) for a, b in zip(lines, others, strict=True)
    )


def plain_result(text: str) -> str:
    """``text`` without times, ids and counts of attempts; of one too long to read, its SHA-256."""
    if len(text) > MAX_READ:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    text = _DRAWN.sub("", _without_reminders(text))
    return _COUNTS.sub("#", _IDS.sub("#", _TIMES.sub("#", text))).strip()


def plain_words(text: str) -> str:
    """What was said, in small letters, without punctuation, times, ids and numbers of turns."""
    return " ".join(_WORDS.findall(_TURNS.sub("#", plain_result(text)).casefold()))


def sentences(text: str) -> frozenset[str]:
    """The sentences of ``text``, as :func:`plain_words` has them, but for those that say
    nothing.
    """
    found = (plain_words(sentence) for sentence in _SENTENCES.split(text[:MAX_SAID]))
    return frozenset(words for words in found if not COURTESY.issuperset(words.split()))


def _without_reminders(text: str) -> str:
    """What a client adds to the end of results for its model; a state of its own, no result."""
    begin, end = _REMINDER
    kept, at = [], 0
    while (start := text.find(begin, at)) >= 0 and (stop := text.find(end, start)) >= 0:
        kept.append(text[at:start])
        at = stop + len(end)
    return "".join((*kept, text[at:]))
