"""``akiosctl logs``: what a cage wrote, while it runs and for a while after."""

from __future__ import annotations

import base64
import json
import sys

import click

from akiosctl.cages import find_log
from akiosctl.commands import wants_json
from akiosctl.kept_output import KeptOutput
from akiosctl.render import is_screen, note
from akiosctl.since import since_option
from akiosctl.terminal_filter import Tamer
from akiosd.errors import AkiosError
from akiosd.wire.output import Frame, behind


@click.command("logs")
@click.argument("cage", default="last")
@click.option("--follow", "-f", is_flag=True, help="Go on until the cage has ended.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@since_option("Only what was written in the last 10m, 2h, 3d …, or from a time on.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each piece of output.")
@click.pass_context
def command(
    ctx: click.Context, cage: str, follow: bool, tail: int | None, since: int, as_json: bool
) -> int:
    """Print what CAGE, the last of this directory when left out, wrote; also when it has ended.

    The first and the last of it are kept, and what is missing between is said.  It is printed as it
    was written; on a terminal without what would drive the terminal, colours excepted.
    """
    printer = _Printer(wants_json(ctx, as_json))
    with ctx.obj.connect() as client:
        name = find_log(client, cage)
        source = KeptOutput(client, name)
    try:
        frames = [frame for frame in source.read() if frame.time_ns >= since]
        if not frames and not source.running and not since:
            raise AkiosError(
                f"nothing that {name} wrote is kept: it wrote nothing, ran with --no-logs, or it"
                " is too long ago",
                "output",
                "see when it ran: akiosctl ps --all",
            )
        printer.write(last_lines(frames, tail) if tail is not None else frames)
        printer.next = max(printer.next, source.end)
        while follow and source.running:
            source.wait(ctx.obj.path)
            printer.write(behind(source.read(), printer.next))
        printer.finish()
    finally:
        source.close()
    return 0


def last_lines(frames: list[Frame], count: int) -> list[Frame]:
    """The last ``count`` lines of them; a last line may lack its end."""
    found: list[Frame] = []
    for number, frame in enumerate(reversed(frames)):
        data = frame.data
        wanted = count + (number == 0 and data.endswith(b"\n"))
        ends = data.count(b"\n")
        if not count or ends >= wanted:
            at = len(data)
            for _ in range(wanted):
                at = data.rindex(b"\n", 0, at)
            skip = at + 1 if wanted else len(data)
            found.append(Frame(frame.offset + skip, frame.time_ns, data[skip:]))
            break
        count -= ends - (number == 0 and data.endswith(b"\n"))
        found.append(frame)
    return [frame for frame in reversed(found) if frame.data]


class _Printer:
    """Prints pieces of output, and where some between them is missing.  ``next``: what is wanted
    next.
    """

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._tamer = Tamer() if not as_json and is_screen(1) else None
        self._printed = False
        self.next = 0

    def write(self, frames: list[Frame]) -> None:
        for frame in frames:
            missing = frame.offset - self.next
            # What --tail and --since leave out before the first piece is not missing.
            if missing > 0 and self._printed:
                self._say_missing(missing)
            self._printed = True
            self.next = frame.offset + len(frame.data)
            if self._json:
                text = frame.data.decode("utf-8", "backslashreplace")
                line = {
                    "time_ns": frame.time_ns,
                    "offset": frame.offset,
                    "text": text,
                    "text_base64": base64.b64encode(frame.data).decode("ascii"),
                }
                sys.stdout.write(json.dumps(line) + "\n")
            else:
                tamed = self._tamer.feed(frame.data) if self._tamer is not None else frame.data
                sys.stdout.buffer.write(tamed)
        sys.stdout.flush()

    def _say_missing(self, count: int) -> None:
        if self._json:
            sys.stdout.write(json.dumps({"missing": count, "offset": self.next}) + "\n")
            return
        sys.stdout.flush()
        note(f"here {count:,} bytes of output are missing: only the first and the last are kept")

    def finish(self) -> None:
        if self._tamer is not None:
            sys.stdout.buffer.write(self._tamer.finish())
        sys.stdout.flush()
