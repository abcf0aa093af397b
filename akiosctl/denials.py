"""What was denied in a cage, from its log: what, how often, and the setting that would allow it.

``collect`` reads entries, ``explain`` asks the policy of this place, ``short_lines`` is the end of
a run and ``long_lines`` is ``akiosctl why``.  Everything of the agent's is escaped and bounded.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from akiosctl.dead_ends import ADDRESS, HERE, PORT, DeadEnds
from akiosctl.render import escape
from akiosd.errors import PolicyError
from akiosd.gateway.net.remedies import UNCOUNTED, Asked, Remedy, find_remedy
from akiosd.policy.advice import ALLOWED_NOW, YOU, Advice, Edit, Place, advise
from akiosd.policy.merge import Layer, merge
from akiosd.policy.refusals import ADMINISTRATOR
from akiosd.values.model_sites import find_model_site
from akiosd.values.places import CONFIG_FILE
from akiosd.values.policy import DEFAULT_POLICY, Policy
from akiosd.values.records import NetDenied, NetRequest, SpendWarning, Syscall, decode_entry

# The kernel's own answer to a descriptor that is closed or no socket: no setting allows it.
_OWN_FAULTS = (errno.EBADF, errno.ENOTSOCK)
_MARKS = (b"net_denied", b"net_request", b"spend_warning", b"denied")
_CALLS = (b"\xa4name\xa7connect", b"\xa4name\xa4bind")
MAX_SUBJECTS = 500
"""Different ones of a kind that are told apart; the rest is counted."""
_SHORT_SUBJECTS, _SHORT_LINES, _SHOWN = 4, 6, 80

# Rule → what stands before its subjects.
_WORDS = {
    "network.allowed_domains": "names",
    "network.get_only": "writing to sites that are only read",
    "network.passthrough": "WebSockets to",
    "network.requests_per_minute": "too many requests a minute to",
    "network.llm_paths": "requests that AKIOS cannot price",
    "network.ports": "HTTP on a port of raw TCP",
    "tls.handshake": "TLS of a client that does not trust the cage's certificates, to",
    "tls.alpn": "TLS without HTTP/1.1, to",
    "tls.server_name": "TLS for another name than was resolved",
    "upstream": "names that lead to private addresses",
    UNCOUNTED: "calls to models as to mere sites: no budget holds them, and their key is inside",
    "llm.key": "calls to models of which no key is kept, at",
    "llm.login": "calls to models with a login that is no API key, at",
    "syscalls": "system calls",
    "files": "system calls on files",
    HERE: "ports on which nothing in the cage listens (the host's are not the cage's)",
    PORT: "connections to allowed names, on a port that is not allowed",
    ADDRESS: "connections to addresses",
}
_NO_SETTING = "no setting allows it"


class Group(msgspec.Struct):
    """What one rule denied: each subject with its count and what was asked for; ``words`` as the
    agent got them.
    """

    rule: str
    counts: dict[str, int] = {}
    asked: dict[str, Asked] = {}
    others: int = 0
    words: str = ""

    def add(self, subject: str, count: int, asked: Asked) -> None:
        if subject in self.counts:
            self.counts[subject] += count
            if asked.needs > self.asked[subject].needs:
                self.asked[subject] = asked
        elif len(self.counts) < MAX_SUBJECTS:
            self.counts[subject] = count
            self.asked[subject] = asked
        else:
            self.others += count


class Told(msgspec.Struct):
    """One line: some of a rule's subjects, and what would allow them."""

    rule: str
    what: str
    count: int
    subjects: list[tuple[str, int]]
    advice: str
    setting: str = ""
    files: list[str] = []
    who: str = ""


# ---- from the log --------------------------------------------------------------------------------


def collect(
    entries: Iterable[bytes],
    ends: DeadEnds | None = None,
    groups: dict[str, Group] | None = None,
) -> list[Group]:
    """The denials among a log's entries, by rule, in the order in which the rules first spoke.

    ``ends`` sees the connections that nobody denied.  ``groups``: what was collected before.
    """
    groups = {} if groups is None else groups
    for entry in entries:
        # Most entries are no denials, and a log may hold millions.
        wanted = any(mark in entry for mark in _MARKS)
        if not wanted and (ends is None or not any(mark in entry for mark in _CALLS)):
            continue
        try:
            record = decode_entry(entry)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if ends is not None and isinstance(record, Syscall) and record.verdict != "denied":
            ends.see(record)
        found = read_denial(record)
        if found is not None:
            subject, count, asked, rule = found
            group = groups.setdefault(rule, Group(rule))
            group.add(subject, count, asked)
            if isinstance(record, SpendWarning):
                group.words = record.words
    return list(groups.values())


def read_denial(record: object) -> tuple[str, int, Asked, str] | None:
    """Subject, count, what was asked for, and the rule of the group; None for what is no denial."""
    if isinstance(record, NetDenied):
        host = record.host.decode("utf-8", "surrogateescape")
        port = 0 if record.protocol == "dns" else record.port
        path = record.path.decode("utf-8", "surrogateescape")
        asked = Asked(record.rule, host, port, path)
        if record.rule == "network.passthrough" and not record.hint.startswith("network:"):
            asked = msgspec.structs.replace(asked, tls=False)
        subject = host if port in (0, 80, 443) else f"{host}:{port}"
        if record.rule == "network.llm_paths":
            subject = f"{record.method} {host}{path}"
        return subject or record.protocol, record.count, asked, record.rule
    if isinstance(record, Syscall) and record.verdict == "denied":
        if record.errno in _OWN_FAULTS:
            return None
        asked = Asked("syscalls", call=record.name)
        if record.path is None:
            return record.name, record.count, asked, "syscalls"
        path = record.path.decode("utf-8", "surrogateescape")
        return f"{record.name} {path}", record.count, asked, "files"
    if isinstance(record, NetRequest) and record.mode in ("inspect", "passthrough"):
        path = record.path.decode("utf-8", "surrogateescape")
        if find_model_site(record.host, record.method, path) is None:
            return None
        asked = Asked(UNCOUNTED, record.host, record.port, path, method=record.method)
        return record.host, 1, asked, UNCOUNTED
    if isinstance(record, SpendWarning):
        return (
            record.model or record.provider,
            1,
            Asked(record.rule, needs=record.needs),
            record.rule,
        )
    return None


# ---- against the policy --------------------------------------------------------------------------


def places(workspace: str, system: str, user: str, explicit: str | None = None) -> list[Place]:
    """The policy files of a run from here, those of the project first; a profile is nobody's
    file.
    """
    from akiosctl.policy_files import PROFILES, PROJECT_POLICY

    root = YOU if os.geteuid() == 0 else ADMINISTRATOR
    found = [Place("user", user, YOU), Place("system", system, root)]
    if explicit is None:
        return [Place("project", f"{workspace}/{PROJECT_POLICY}", YOU), *found]
    return found if explicit in PROFILES else [Place("project", explicit, YOU), *found]


def explain(
    groups: Sequence[Group],
    layers: Sequence[Layer],
    where: Sequence[Place],
    ends: DeadEnds | None = None,
    config_file: str = CONFIG_FILE,
) -> list[Told]:
    """One :class:`Told` for all subjects that the same setting would allow; ``ends`` come last;
    ``config_file`` is akiosd's own.
    """
    try:
        policy = merge(layers)
    except PolicyError:
        layers, policy = [], DEFAULT_POLICY
    told: list[Told] = []
    for group in (*groups, *(_dead_ends(ends, policy) if ends is not None else ())):
        parts: dict[object, list[tuple[str, Remedy]]] = {}
        # One number is told for all of them.
        needs = max((asked.needs for asked in group.asked.values()), default=0)
        for subject, asked in group.asked.items():
            asked = msgspec.structs.replace(asked, needs=needs, config_file=config_file)
            remedy = find_remedy(asked, policy)
            keys = tuple((edit.key, edit.action) for edit in remedy.edits)
            alike = (keys, remedy.instead, subject if keys else "")
            key = (keys, remedy.besides) if len(keys) == 1 else alike
            parts.setdefault(key, []).append((subject, remedy))
        for part in parts.values():
            told += _explain_part(group, part, layers, where)
        if group.others and told:
            told[-1].count += group.others
    return told


def _dead_ends(ends: DeadEnds, policy: Policy) -> Iterable[Group]:
    groups: dict[str, Group] = {}
    for subject, count, asked in ends.list_all(policy):
        groups.setdefault(asked.rule, Group(asked.rule)).add(subject, count, asked)
    return groups.values()


def _explain_part(
    group: Group, part: list[tuple[str, Remedy]], layers: Sequence[Layer], where: Sequence[Place]
) -> Iterator[Told]:
    """Together, if one setting allows all of them; else each by itself, those without one
    together.
    """
    remedies = [remedy for _, remedy in part]
    advice = advise(layers, where, _together(remedies), lambda policy: _all_allow(remedies, policy))
    if advice is not None or len(part) == 1:
        yield _tell(group, [subject for subject, _ in part], advice, remedies[0])
        return
    rest: list[str] = []
    for subject, remedy in part:
        alone = advise(layers, where, remedy.edits, remedy.allows)
        if alone is None:
            rest.append(subject)
        else:
            yield _tell(group, [subject], alone, remedy)
    if rest:
        yield _tell(group, rest, None, remedies[0])


def _all_allow(remedies: Sequence[Remedy], policy: Policy) -> bool:
    return all(remedy.allows(policy) for remedy in remedies)


def _together(remedies: Sequence[Remedy]) -> tuple[Edit, ...]:
    """The edits of one; of several, which all have one of the same key, that with all their
    values.
    """
    first = remedies[0].edits
    if len(remedies) == 1 or not first or first[0].action == "set":
        return first
    items = dict.fromkeys(item for remedy in remedies for item in remedy.edits[0].value)
    return (msgspec.structs.replace(first[0], value=tuple(items)),)


def _tell(group: Group, subjects: list[str], advice: Advice | None, remedy: Remedy) -> Told:
    counted = sorted(((name, group.counts[name]) for name in subjects), key=lambda pair: -pair[1])
    told = Told(
        group.rule,
        group.words or describe_rule(group.rule),
        sum(count for _, count in counted),
        counted,
        remedy.instead or _NO_SETTING,
    )
    if advice is not None:
        told.advice, told.setting, told.who = advice.words, advice.setting, advice.who
        if advice is ALLOWED_NOW:
            told.advice = remedy.now or advice.words
        told.advice += f"; {remedy.besides}" if remedy.besides else ""
        told.files = list(advice.files)
    return told


# ---- in words ------------------------------------------------------------------------------------


def describe_rule(rule: str) -> str:
    """What a rule denies, in words that stand before its subjects."""
    return _WORDS.get(rule, rule)


def short_lines(told: Sequence[Told], cage: str) -> list[str]:
    """One line a kind, as many as fit at the end of a run; the last says where the rest is."""
    lines = [_short(one) for one in told[:_SHORT_LINES]]
    cut = len(told) > _SHORT_LINES or any(len(one.subjects) > _SHORT_SUBJECTS for one in told)
    return [*lines, f"akiosctl why {cage} tells all of it"] if cut else lines


def _short(told: Told) -> str:
    named = [f"{_cut(name)} ({count:,})" for name, count in told.subjects[:_SHORT_SUBJECTS]]
    more = len(told.subjects) - len(named)
    rest = f" and {more:,} more" if more > 0 else ""
    verb = _verb(told)
    return f"{verb} {_times(told.count)}: {told.what}: {', '.join(named)}{rest}; {told.advice}"


def _verb(told: Told) -> str:
    if told.rule == UNCOUNTED:
        return "passed"
    return "failed" if told.rule in (HERE, PORT, ADDRESS) else "denied"


def long_lines(told: Sequence[Told]) -> Iterator[str]:
    for one in told:
        yield f"{one.what} ({one.rule}), {_verb(one)} {_times(one.count)}:"
        for name, count in islice(one.subjects, MAX_SUBJECTS):
            yield f"  {count:>7,}  {escape(name)}"
        yield f"  {one.advice}"


def report(told: Sequence[Told]) -> list[dict[str, Any]]:
    """For ``--json``: plain values, text of the agent's escaped."""
    return [
        {
            "rule": one.rule,
            "what": one.what,
            "count": one.count,
            "subjects": [{"name": escape(name), "count": count} for name, count in one.subjects],
            "advice": one.advice,
            "setting": one.setting,
            "files": one.files,
            "who": one.who,
        }
        for one in told
    ]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _cut(text: str) -> str:
    shown = escape(text)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
