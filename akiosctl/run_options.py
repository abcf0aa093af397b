"""The options of ``akiosctl run`` as a table, and its parser: the run path imports no argument
library.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from akiosd.errors import AkiosError

FLAG, VALUE, MANY = "flag", "value", "many"

# option → (name, what it takes, placeholder, help)
OPTIONS: dict[str, tuple[str, str, str, str]] = {
    "--policy": (
        "policy",
        VALUE,
        "FILE",
        "a policy file or profile (default, strict, permissive-dev)",
    ),
    "--workspace": (
        "workspace",
        VALUE,
        "DIR",
        "the directory the agent works in (default: the project here)",
    ),
    "--mode": (
        "mode",
        VALUE,
        "MODE",
        "what becomes of changes in the workspace: cow, rw, ro or rw-direct",
    ),
    "--cow": ("cow", FLAG, "", "changes wait for diff, commit or discard (the default)"),
    "--rw": ("rw", FLAG, "", "changes are committed at the end"),
    "--ro": ("ro", FLAG, "", "the workspace cannot be changed"),
    "--commit": ("commit", FLAG, "", "commit the changes at the end"),
    "--discard": ("discard", FLAG, "", "discard the changes at the end"),
    "--memory": ("memory", VALUE, "SIZE", "memory limit, as in 512M"),
    "--pids": ("pids", VALUE, "N", "how many processes and threads"),
    "--cpu": ("cpu", VALUE, "PERCENT", "share of one CPU, as in 50%"),
    "--disk": ("disk", VALUE, "SIZE", "disk budget, as in 1G"),
    "--budget": ("budget", VALUE, "MONEY", "dollars that calls to models may cost, as in 0.50"),
    "--timeout": ("timeout", VALUE, "TIME", "wall-clock limit, as in 90s or 1h"),
    "--trace": ("trace", VALUE, "LEVEL", "what goes into the log: none, security, files or all"),
    "--env": ("env", MANY, "NAME=VALUE", "set a variable inside"),
    "--keep-env": ("keep_env", MANY, "NAME", "pass a variable of yours"),
    "--tty": (
        "tty",
        FLAG,
        "",
        "give the agent a terminal (the default when stdin and stdout are one)",
    ),
    "--no-tty": ("no_tty", FLAG, "", "give the agent pipes"),
    "--name": ("name", VALUE, "NAME", "what other verbs may call the cage"),
    "--cage": ("cage", VALUE, "NAME", "in a standing cage (akiosctl cage up), by its limits"),
    "--detach": ("detach", FLAG, "", "leave it running; print its cage"),
    "--detach-keys": (
        "detach_keys",
        VALUE,
        "KEYS",
        "keys that leave a terminal running (ctrl-p,ctrl-q)",
    ),
    "--no-logs": ("no_logs", FLAG, "", "keep nothing of what it prints for akiosctl logs"),
    "--allow-degraded": (
        "allow_degraded",
        FLAG,
        "",
        "run although a layer cannot be enforced here",
    ),
    "--standalone": ("standalone", FLAG, "", "as root: a private akiosd for this run"),
    "--socket": ("socket", VALUE, "PATH", "the control socket of akiosd"),
    "--json": (
        "json",
        FLAG,
        "",
        "the report as one JSON line on stderr; with -d the cage",
    ),
    "--verbose": ("verbose", FLAG, "", "say what is shown inside"),
    "--quiet": ("quiet", FLAG, "", "say nothing but errors"),
    "--help": ("help", FLAG, "", "this text"),
}
SHORT = {
    "-t": "--tty",
    "-T": "--no-tty",
    "-d": "--detach",
    "-v": "--verbose",
    "-q": "--quiet",
    "-h": "--help",
}
_EXCLUSIVE = (
    ("cow", "rw", "ro", "mode"),
    ("tty", "no_tty"),
    ("commit", "discard"),
    ("verbose", "quiet"),
)


class RunOptions:
    """What was given: ``has(name)``, ``value(name)``, ``values(name)``, and the command after the
    options.
    """

    def __init__(self, command: list[str], given: dict[str, list[str]]) -> None:
        self.command = command
        self._given = given

    def has(self, name: str) -> bool:
        """Whether the option was given."""
        return name in self._given

    def value(self, name: str) -> str | None:
        """The value of an option that was given, the last one; None for none."""
        return self._given[name][-1] if name in self._given else None

    def others(self, names: Sequence[str]) -> list[str]:
        """What was given besides ``names``."""
        return [name for name in self._given if name not in names]

    def values(self, name: str) -> list[str]:
        """All values of an option."""
        return self._given.get(name, [])


def parse_run(arguments: list[str]) -> RunOptions:
    """Options up to ``--`` or the first word that is none; the rest is the command.  Raises
    :class:`AkiosError`.
    """
    given: dict[str, list[str]] = {}
    words = list(arguments)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        option, equals, value = word.partition("=")
        option = SHORT.get(option, option)
        if option in ("--exec", "--shell"):
            from akiosctl.shell_trap import ShellTrapError

            raise ShellTrapError(option, given["socket"][-1] if "socket" in given else None)
        if option not in OPTIONS:
            raise _unknown(option)
        name, takes, placeholder, _ = OPTIONS[option]
        if takes == FLAG:
            if equals:
                raise AkiosError(f"{option} takes no value", "command line", f"write only {option}")
            given[name] = []
            continue
        if not equals:
            if not words:
                raise AkiosError(
                    f"{option} needs a value", "command line", f"write {option} {placeholder}"
                )
            value = words.pop(0)
        given.setdefault(name, []).append(value)
    for group in _EXCLUSIVE:
        both = [name for name in group if name in given]
        if len(both) > 1:
            options = " and ".join("--" + name.replace("_", "-") for name in both)
            raise AkiosError(f"{options} contradict each other", "command line", "give one of them")
    return RunOptions(words, given)


def _unknown(option: str) -> AkiosError:
    import difflib

    near = difflib.get_close_matches(option, [*OPTIONS, *SHORT], 1)
    hint = f"did you mean {near[0]}?" if near else "see akiosctl run --help"
    return AkiosError(
        f"unknown option {option}",
        "akiosctl run",
        f"{hint} (the agent's own options come after --)",
    )


# Option → where the policy language has it.
POLICY_OPTIONS: dict[str, tuple[str, str]] = {
    "memory": ("limits", "memory"),
    "pids": ("limits", "pids"),
    "cpu": ("limits", "cpu"),
    "disk": ("limits", "disk"),
    "budget": ("budget", "usd"),
    "timeout": ("limits", "wall_clock"),
    "trace": ("syscalls", "trace"),
    "mode": ("filesystem", "workspace"),
}


LEFT_OUT: dict[str, dict[str, dict[str, object]]] = {
    "no_pii": {"redact": {"models": "off", "sites": "off"}},
    "no_audit": {"syscalls": {"trace": "none"}},
    "no_budget": {
        "budget": {"usd": 0, "tokens": 0, "calls": 0, "usd_per_minute": 0},
    },
}
"""Options of ``cage up`` for runs that are compared: each is policy, and more than most system
policies allow.
"""


def policy_flags(options: RunOptions) -> dict[str, dict[str, object]]:
    """The options that are policy, in the words of the policy language."""
    flags: dict[str, dict[str, object]] = {}
    for name, (section, key) in POLICY_OPTIONS.items():
        value = options.value(name)
        if value is not None:
            flags.setdefault(section, {})[key] = (
                int(value) if name == "pids" and value.isdecimal() else value
            )
    for name, sections in LEFT_OUT.items():
        if options.has(name):
            for section, keys in sections.items():
                flags.setdefault(section, {}).update(keys)
    for mode in ("cow", "rw", "ro"):
        if options.has(mode):
            flags.setdefault("filesystem", {})["workspace"] = mode
    return flags


def help_text() -> str:
    """What ``akiosctl run --help`` prints."""
    from akiosctl.help.examples import example_lines

    lines = [
        "Usage: akiosctl run [OPTIONS] -- COMMAND [ARGUMENTS]",
        "",
        "Run a command in a cage.",
        "",
    ]
    shorts = {long: short for short, long in SHORT.items()}
    for option, (_, _, placeholder, text) in OPTIONS.items():
        left = (
            f"{shorts[option] + ',' if option in shorts else '   '}"
            f" {option}{' ' + placeholder if placeholder else ''}"
        )
        lines.append(f"  {left:<28} {text}")
    lines += [
        "",
        (
            "Exit status: the command's own; 125 when AKIOS failed, 126 when the command cannot be"
            " executed,"
        ),
        (
            "127 when it is not found, 128+n when signal n ended it, 137 at a limit (the reason"
            " line says which)."
        ),
        "",
        *example_lines("run"),
    ]
    return "\n".join(lines)


def wants_tty(options: RunOptions) -> bool:
    """``--tty``, ``--no-tty``, else whether both ends are terminals."""
    if options.has("tty") or options.has("no_tty"):
        return options.has("tty")
    return not options.has("detach") and os.isatty(0) and os.isatty(1)
