"""What a service manager says and is told, as values: descriptors that it hands over, its watchdog,
the lines that it shows.

Sources: sd_listen_fds(3), sd_watchdog_enabled(3), sd_notify(3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from akiosd.errors import AkiosError

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""
_MOST_FDS = 1 << 16
_UNNAMED = "unknown"

EXTENSION_S = 30
"""A start or stop that goes on asks for so many seconds more, each ``EXTENSION_S / 3``."""


class Pulse(msgspec.Struct, frozen=True):
    """One of the parts that everything waits for.  ``seen_s``: when it last made progress, or had
    nothing to do; ``bound_s``: how long it may make none.
    """

    name: str
    seen_s: float
    bound_s: float
    waits_for_disk: bool = False
    """The kernel says that it waits for a disk: an end of akiosd would not end that."""


class ServiceFacts(msgspec.Struct, frozen=True):
    """What the line in ``systemctl status`` tells."""

    cages: int = 0
    kept: int = 0
    full: bool = False
    state_dir: str = ""
    refused: str = ""
    """Where the settings are wrong that were not taken; "" when all were."""
    slow: str = ""
    """As :func:`describe_pulses` has it."""


def handed_over(environment: Mapping[str, str], pid: int) -> tuple[tuple[int, str], ...]:
    """(descriptor, name) of each that the manager handed to the process ``pid``.

    None without a manager, or when they were meant for another process. Raises AkiosError for
    variables that contradict each other.
    """
    if environment.get("LISTEN_PID", "") != str(pid):
        return ()
    number = environment.get("LISTEN_FDS", "")
    if not (number.isascii() and number.isdigit() and int(number) <= _MOST_FDS):
        raise AkiosError(
            f"LISTEN_FDS={number!r} is not a number of descriptors",
            "environment",
            "start akiosd by its service: systemctl start akiosd",
        )
    count = int(number)
    names = environment.get("LISTEN_FDNAMES")
    given = [_UNNAMED] * count if names is None else names.split(":") if count else []
    if len(given) != count:
        raise AkiosError(
            f"LISTEN_FDNAMES names {len(given)} descriptors, LISTEN_FDS={count}",
            "environment",
            "start akiosd by its service: systemctl start akiosd",
        )
    return tuple((FIRST_FD + position, name) for position, name in enumerate(given))


def watchdog_period(environment: Mapping[str, str], pid: int) -> float | None:
    """Seconds after which the manager ends a process that says nothing; None when it does not
    wait for this one.
    """
    text = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(text) / 1e6 if text.isascii() and text.isdigit() and int(text) > 0 else None


def find_stall(pulses: Iterable[Pulse], now_s: float) -> str:
    """Which part makes no progress, so that the watchdog is to end akiosd; "" for none.

    A part that waits for a disk is none: a new akiosd would wait for the same disk.
    """
    return next(
        (
            f"{pulse.name} has made no progress for {now_s - pulse.seen_s:.0f} s"
            for pulse in pulses
            if now_s - pulse.seen_s > pulse.bound_s and not pulse.waits_for_disk
        ),
        "",
    )


def describe_pulses(pulses: Iterable[Pulse], now_s: float, from_s: float) -> str:
    """What an administrator should know of parts that are slow for ``from_s`` or longer."""
    return "; ".join(
        f"{pulse.name} waits for {'the disk' if pulse.waits_for_disk else 'an answer'}"
        f" since {now_s - pulse.seen_s:.0f} s"
        for pulse in pulses
        if now_s - pulse.seen_s >= from_s
    )


def describe_service(facts: ServiceFacts) -> str:
    """One line for ``systemctl status``."""
    cages = "1 cage runs" if facts.cages == 1 else f"{facts.cages or 'no'} cages run"
    kept = f"; changes of {facts.kept} wait to be committed" if facts.kept else ""
    parts = [cages[0].upper() + cages[1:] + kept]
    if facts.full:
        parts = [f"The disk of {facts.state_dir} is full: {cages}, and all are paused"]
    if facts.slow:
        parts.append(facts.slow)
    if facts.refused:
        parts.append(f"the settings are those of before, for {facts.refused} is not taken")
    return "; ".join(parts)


def describe_stop(cages: int) -> str:
    """The same while akiosd stops and ``cages`` have not ended yet."""
    if not cages:
        return "Stopping: the logs are being published"
    return f"Stopping: {cages} cage{' is' if cages == 1 else 's are'} being ended"


def extension(words: str) -> str:
    """A message that asks for more time and says for what."""
    return f"EXTEND_TIMEOUT_USEC={EXTENSION_S * 1_000_000}\nSTATUS={words}"


def reloading(monotonic_ns: int) -> str:
    """The message before the settings are read again; ``READY=1`` follows it."""
    return f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns // 1000}"
