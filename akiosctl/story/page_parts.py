"""The sections of a report, each as lines of HTML; a section without anything to say says so."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

from akiosctl.denials import describe_rule
from akiosctl.story.drawing import describe, offset
from akiosctl.story.lanes import in_order
from akiosctl.story.reading import Read
from akiosctl.story.telling import Story
from akiosctl.story.words import Words
from akiosd.ledger.report import Report, describe_anchors
from akiosd.values.units import format_duration, format_size, format_usd

_MOST_SUBJECTS = 40
_SHORT = 999_999_999
_NOT_IN_THE_TABLE = ("call",)
_MEANINGS = {
    "OK": "The log is whole: every record is as it was written.",
    "OK-RECOVERED": "The log is whole; akiosd once ended uncleanly, and recorded what it found.",
    "DESTROYED": "The log was destroyed on purpose, as the host's log proves.",
    "TAMPERED": "The log was changed after it was written: do not rely on this page.",
    "ROLLBACK": "The log is older than one that was seen before: do not rely on this page.",
    "FORK": "There are two versions of this log: do not rely on this page.",
    "INCOMPLETE": "Something that is needed for the proof could not be checked.",
    "UNTRUSTED": "Nobody vouches for the key that signed the log.",
}


def badge(verdict: Report) -> str:
    """The verdict as a mark."""
    kind = "good" if verdict.exit_code == 0 else "bad"
    return f"<span class='verdict {kind}'>{html.escape(str(verdict.verdict))}</span>"


def meaning(verdict: Report) -> str:
    """The verdict as a sentence."""
    return _MEANINGS[str(verdict.verdict)]


def _table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int, kind: str = ""
) -> Iterator[str]:
    """Cells are HTML; the last ``numbers`` columns are numbers; ``kind`` is for the style."""
    first = len(header) - numbers
    yield f"<div class='wide'><table{f' class={kind}' if kind else ''}>\n<thead><tr>"
    yield "".join(
        f"<th{' class=n' if place >= first else ''}>{name}</th>"
        for place, name in enumerate(header)
    )
    yield "</tr></thead>\n<tbody>"
    for row in rows:
        cells = (
            f"<td{' class=n' if place >= first else ''}>{cell}</td>"
            for place, cell in enumerate(row)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table></div>"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"<section>\n<h2>{title}</h2>"
    yield from lines
    yield "</section>"


def _nothing(words: str) -> Iterator[str]:
    yield f"<p class='dim'>{words}</p>"


# ---- what happened -------------------------------------------------------------------------------


def timeline(read: Read, drawing: str, words: Words) -> Iterator[str]:
    """The drawing, and the rows behind it."""
    story = read.story

    def lines() -> Iterator[str]:
        yield f"<figure class='wide'>{drawing}</figure>"
        yield "<div class='wide'><table>\n<thead><tr><th class=n>After</th><th></th>"
        yield "<th>What</th><th class=n>Cost</th></tr></thead>\n<tbody>"
        for row in in_order(story.lanes.items()):
            if row.lane in _NOT_IN_THE_TABLE:
                continue
            group = row.group
            took = group.last - group.first
            within = f"within {format_duration(took)}" if took > _SHORT else ""
            cost = format_usd(group.usd_micro) if row.lane == "model" else ""
            yield (
                f"<tr><td class=n>{offset(max(group.first - story.first, 0))}</td>"
                f"<td class='k {row.lane}'>{row.lane}</td>"
                f"<td>{words.say(describe(group))} <span class='dim'>{within}</span></td>"
                f"<td class=n>{cost}</td></tr>"
            )
        yield "</tbody>\n</table></div>"
        yield (
            "<p class='dim'>What was near in time is one row. System calls that were let through"
            " are in the drawing alone.</p>"
        )

    yield from _section("What happened", lines())


def programs(story: Story, words: Words) -> Iterator[str]:
    """The programs of a standing cage."""
    if not story.programs:
        return
    rows = [
        (
            str(one.number),
            f"<code>{words.command(one.shown)}</code>",
            words.say(one.reason) if one.ended else "no end is recorded",
            format_duration(one.ended - one.started) if one.ended and one.started else "",
            str(one.exit_code) if one.ended else "",
        )
        for one in story.programs.values()
    ]
    lines = [*_table(("", "Command", "How it ended", "Ran for", "Exit status"), rows, 2)]
    if story.programs_before:
        lines += _nothing(f"{story.programs_before:,} earlier programs are not listed.")
    yield from _section("Programs", lines)


def costs(story: Story, words: Words) -> Iterator[str]:
    """Calls to models, by model."""
    if not story.models:
        yield from _section("Costs", _nothing("No model was called."))
        return
    ranked = sorted(story.models.items(), key=lambda pair: -pair[1].usd_micro)
    rows: list[tuple[str, ...]] = [
        (
            words.say(name),
            f"{one.calls:,}",
            f"{one.unfinished:,}",
            f"{one.input_tokens:,}",
            f"{one.output_tokens:,}",
            format_usd(one.usd_micro),
        )
        for name, one in ranked
    ]
    total = [sum(getattr(one, name) for _, one in ranked) for name in
             ("calls", "unfinished", "input_tokens", "output_tokens")]  # fmt: skip
    rows.append(("In all", *(f"{one:,}" for one in total), format_usd(story.usd_micro)))
    header = ("Model", "Calls", "Failed or cut", "Tokens in", "Tokens out", "Cost")
    lines = [*_table(header, rows, 5)]
    estimated = sum(one.estimated for _, one in ranked)
    if estimated:
        lines += _nothing(
            f"Of {estimated:,} calls the usage was not seen to the end: what was reserved for them"
            " is counted."
        )
    yield from _section("Costs", lines)


def redactions(story: Story, words: Words) -> Iterator[str]:
    """What did not leave, by type and receiver."""
    if not story.redacted.counts:
        yield from _section("Redactions", _nothing("No personal data was found on its way out."))
        return
    rows = []
    for name, count in story.redacted.ranked():
        kind, _, towards = name.partition(" → ")
        rows.append((words.say(kind), words.say(towards), f"{count:,}"))
    if story.redacted.others:
        rows.append(("others", "", f"{story.redacted.others:,}"))
    lines = [*_table(("Kind", "On its way to", "Times"), rows, 1)]
    yield from _section("Redactions", lines)


def denials(story: Story, words: Words) -> Iterator[str]:
    """What was denied, by rule."""
    rows = []
    for group in story.denied.values():
        ranked = sorted(group.counts.items(), key=lambda pair: -pair[1])
        for name, count in ranked[:_MOST_SUBJECTS]:
            rows.append((words.say(describe_rule(group.rule)), words.say(name), f"{count:,}"))
        more = sum(count for _, count in ranked[_MOST_SUBJECTS:]) + group.others
        if more:
            rows.append((words.say(describe_rule(group.rule)), "others", f"{more:,}"))
    if not rows:
        yield from _section("Denials", _nothing("Nothing was denied."))
        return
    yield from _section("Denials", _table(("What", "Which", "Times"), rows, 1))


def reached(story: Story, words: Words) -> Iterator[str]:
    """Sites and files."""
    if story.sites:
        rows = [
            (
                words.say(name),
                f"{one.requests:,}",
                format_size(one.bytes_out),
                format_size(one.bytes_in),
            )
            for name, one in sorted(story.sites.items(), key=lambda pair: -pair[1].requests)
        ]
        yield from _section("Sites", _table(("Host", "Requests", "Sent", "Received"), rows, 3))
    ranked = story.written.ranked()
    if ranked:
        files = [(f"<code>{words.say(name)}</code>", f"{n:,}") for name, n in ranked]
        if story.written.others:
            files.append(("others", f"{story.written.others:,}"))
        yield from _section("Files written", _table(("File", "Times"), files, 1))


# ---- what held -----------------------------------------------------------------------------------


def posture(story: Story, words: Words) -> Iterator[str]:
    """The layers of the cage, as they were read back when it was made."""
    birth = story.birth
    if birth is None:
        yield from _section("Posture", _nothing("The log does not tell of the cage's beginning."))
        return
    colours = {"enforced": "good", "degraded": "warn"}
    rows = [
        (
            words.say(one.layer),
            f"<span class='{colours.get(one.status, 'bad')}'>{words.say(one.status)}</span>",
            words.say(one.detail),
        )
        for one in birth.posture
    ]
    yield from _section(
        "Posture", _table(("Layer", "State", "As it was read back"), rows, 0, "posture")
    )


def policy(
    story: Story, settings: Sequence[tuple[str, str, str]] | None, why: str, words: Words
) -> Iterator[str]:
    """The policy of the cage, where it is known in words, and its hash."""

    def lines() -> Iterator[str]:
        if story.birth is not None:
            yield f"<p>SHA-256 <code>{story.birth.policy_sha256.hex()}</code></p>"
        if settings is None:
            yield from _nothing(html.escape(why))
            return
        rows = [(f"<code>{words.say(key)}</code>", words.say(value), words.say(origin))
                for key, value, origin in settings]  # fmt: skip
        yield from _table(("Setting", "Value", "Given by"), rows, 0, "policy")

    yield from _section("Policy", lines())


def proof(read: Read, verdict: Report, words: Words) -> Iterator[str]:
    """The verdict, what it rests on, and how to come to it oneself."""

    def lines() -> Iterator[str]:
        yield f"<p>{badge(verdict)} {html.escape(meaning(verdict))}</p>"
        rows = [
            ("Log", f"<code>{words.say(read.origin)}</code>"),
            ("Records", f"{read.size:,}"),
            ("Root", f"<code>{read.root.hex()}</code>"),
            ("Anchored to", words.say(describe_anchors(verdict))),
            ("Key", f"<code>{words.say(verdict.vkey)}</code>"),
            ("First bad", words.say(verdict.first_bad)),
            ("Why", words.say(verdict.detail)),
            *(("Note", words.say(one)) for one in verdict.notes),
        ]
        yield from _table(("", ""), [row for row in rows if row[1]], 0, "proof")
        yield (
            "<p>To check it: <code>akiosctl ledger verify "
            f"{words.say(read.log)}</code>, or with the log's files and the key above any tool that"
            " reads C2SP tlog-tiles.</p>"
        )

    yield from _section("Proof", lines())
