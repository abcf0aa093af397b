"""What people of AKIOS 1.4 type, where that is called otherwise now: one line that says how.

What has kept its name is not here.  docs/from-1.4.md is written from it.
"""

from __future__ import annotations

from akiosd.errors import AkiosError

# What was typed, longest first → what took its place.
OLD: dict[tuple[str, ...], str] = {
    ("setup",): "nothing has to be set up: akiosctl doctor looks at this host, sudo akiosctl keys "
    "set PROVIDER keeps a key",
    ("audit", "export"): "akiosctl ledger export last --out FILE",
    ("audit", "log"): "akiosctl ledger show last, or akiosctl events",
    ("audit", "verify"): "akiosctl ledger verify last",
    ("audit", "rotate"): "sudo akiosctl ledger rotate-key; logs themselves need no rotation",
    ("audit", "stats"): "akiosctl ledger stats last",
    ("audit", "prune"): "sudo akiosctl ledger prune --older-than 30d --dry-run",
    ("audit",): "akiosctl ledger: show, verify, export, stats, prune",
    ("files",): "akiosctl diff names the files that a run changed",
    ("clean",): "to destroy a run's changes: akiosctl discard; old logs: sudo akiosctl ledger"
    " prune",
    ("security", "up"): "akiosctl cage up",
    ("security", "down"): "akiosctl cage down",
    ("security", "status"): "akiosctl status --security",
    ("security",): "akiosctl cage: up, down, status; akiosctl status --security",
    ("compliance", "report"): "akiosctl report last --out report.html",
    ("compliance",): "akiosctl report last --out report.html; akiosctl ledger verify last",
    ("output", "latest"): "akiosctl output show",
    ("output", "archive"): "akiosctl output export --out run.json",
    ("output", "clean"): "akiosctl cage down destroys data/output with its cage; the files of a run"
    " of a workflow are yours to delete, in data/output",
    ("serve", "--host"): "akiosctl serve --listen ADDRESS:PORT",
    ("serve", "--port"): "akiosctl serve --listen 127.0.0.1:PORT",
    ("docs",): "man akiosctl, or akiosctl VERB --help",
}


def look_up(arguments: list[str]) -> AkiosError | None:
    """What took the place of these words; None where AKIOS 1.4 had no such verb."""
    for length in (2, 1):
        words = tuple(arguments[:length])
        if len(words) == length and words in OLD:
            return AkiosError(
                f"{' '.join(words)} was a command of AKIOS 1.4",
                "command line",
                f"now: {OLD[words]}",
            )
    return None
