"""What a tool gave back, without what differs each time though nothing changed.

Left out are times, durations, rates, ids and counts of attempts.  Percentages, ``45/120`` and all
other numbers stay: a progress bar that moves is a change, one that stands under a ticking clock is
none.  Pure; every pattern is linear in the length of its text.
"""

from __future__ import annotations

import re
from itertools import groupby

MAX_READ = 6 << 10
"""Characters of a result; what comes behind them is compared as it is."""
MAX_LINE = 512
"""Characters of a line."""
MAX_SAID = 4 << 10
"""Characters of an answer in which sentences are looked for."""
_BEGIN, _FIRST_WORDS = 96, 4
"""Characters, of which the first words are whole ones."""

_MONTHS = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?:\s?[AP]M\b)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|CES?T|[ECMP][SD]T|[+-]\d\d:?\d\d)\b)?"
_UUID = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
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
    # Longer ones are digests of what something holds.
    rf"\b(?=[0-9a-fA-F]{{8}})(?:{_UUID}|(?=[0-9]{{0,31}}[a-fA-F])(?=[a-fA-F]{{0,31}}[0-9])[0-9a-fA-F]{{8,32}})\b"
    r"|\b0[xX][0-9a-fA-F]{6,16}\b"
    r"|\b(?=[RCTMScrtmsIi])(?i:req|call|toolu|msg|run|resp|chatcmpl|trace|span|sess|item)"
    r"[_-][A-Za-z0-9_-]{8,64}\b"
    r"|\b(?=[PCSRTpcsrt])(?i:pid|port|chunk id|session id|request[ -]id|thread)"
    r"[ =:#]{1,3}[0-9a-zA-Z]{1,40}\b"
    r"|\b\d{1,7} (?=(?i:critical|debug|error|fatal|info|notice|warn|warning)\b)"
    r"|(?<=\w)\[\d{1,7}\](?=:)"
    r"|/tmp/(?:tmp[\w.-]{4,40}|pytest-of-\w{1,40}/pytest-\d{1,6})"
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
_MOVES = re.compile(r"[0-9\x1b⠀-⣿◐◓◑◒]|<system|/tmp/")
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


def differ_at_once(one: str, other: str) -> bool:
    """Whether two results differ surely: they have not as many lines, or the first line in which
    they differ is another one, as nearly always.  A long line is not read for that.
    """
    lines, others = (_without_reminders(text).rstrip().split("\n") for text in (one, other))
    if len(lines) != len(others):
        return True
    first = next((pair for pair in zip(lines, others, strict=True) if pair[0] != pair[1]), None)
    if first is None or max(map(len, first)) > MAX_LINE:
        return False
    return plain_result(first[0]) != plain_result(first[1])


def plain_result(text: str) -> str:
    """``text`` without times, ids and counts of attempts; what stands behind ``MAX_READ``
    characters of lines that have such stays as it is.
    """
    plain, left = list[str](), MAX_READ
    for moves, lines in groupby(_without_reminders(text).rstrip().split("\n"), _moves):
        block = "\n".join(lines)
        if moves and left > 0:
            plain.append(_plain(block[:left]) + block[left:])
            left -= len(block)
        else:
            plain.append(block)
    return "\n".join(plain).strip()


def _moves(line: str) -> bool:
    """Whether anything in a line may differ that is no difference; of most lines nothing can."""
    return _MOVES.search(line) is not None


def _plain(text: str) -> str:
    return _COUNTS.sub("#", _IDS.sub("#", _TIMES.sub("#", _DRAWN.sub("", text))))


def plain_words(text: str) -> str:
    """What was said, in small letters, without punctuation, times, ids and numbers of turns; what
    stands behind ``MAX_SAID`` characters stays as it is.
    """
    return _words(_plain_said(text)) + text[MAX_SAID:]


def begin_otherwise(one: str, other: str) -> bool:
    """Whether two texts differ surely, in their first words."""
    if min(len(one), len(other)) <= _BEGIN:
        return False
    begins = (plain_words(text[:_BEGIN].rpartition(" ")[0]).split() for text in (one, other))
    return next(begins)[:_FIRST_WORDS] != next(begins)[:_FIRST_WORDS]


def _plain_said(text: str) -> str:
    text = text[:MAX_SAID]
    return (_TURNS.sub("#", plain_result(text)) if _moves(text) else text).casefold()


def _words(text: str) -> str:
    return " ".join(_WORDS.findall(text))


def sentences(text: str) -> frozenset[str]:
    """The sentences at the beginning of ``text``, as :func:`plain_words` has them, but for those
    that say nothing.
    """
    found = map(_words, _SENTENCES.split(_plain_said(text)))
    return frozenset(words for words in found if not COURTESY.issuperset(words.split()))


def _without_reminders(text: str) -> str:
    """What a client adds to the end of results for its model; a state of its own, no result."""
    begin, end = _REMINDER
    kept, at = [], 0
    while (start := text.find(begin, at)) >= 0 and (stop := text.find(end, start)) >= 0:
        kept.append(text[at:start])
        at = stop + len(end)
    return "".join((*kept, text[at:]))
