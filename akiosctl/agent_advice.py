"""What to give a known agent, said at the start of its run, before anything fails.

Pure but for the files that a row names, which are read as the user and bounded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from akiosctl.known_agents import AGENTS, Agent, Hint, Service
from akiosctl.open_regular import read_head
from akiosctl.plain_msgpack import unpack
from akiosctl.version_managers import is_below

# Programs that start what is named after them and after their own options.
_LAUNCHERS = frozenset(
    (
        *("env", "nice", "ionice", "timeout", "stdbuf", "nohup", "setsid", "time", "command"),
        *("exec", "sudo", "doas", "xvfb-run", "dbus-run-session"),
        *("npx", "npm", "pnpm", "pnpx", "yarn", "bun", "bunx", "deno", "node", "nodejs", "tsx"),
        *("uv", "uvx", "pipx", "poetry", "pdm", "hatch", "rye", "python", "pypy"),
        *("run", "tool", "dlx", "x"),
    )
)
_SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "fish", "ash"))
_MAX_WORDS = 12
_MAX_SETTINGS = 1 << 16
_NO = frozenset(("", "0", "false", "no", "off"))
_ASIDE = ("--help", "-h", "--version", "-V")
_VERSIONED = re.compile(r"(.)(@|==|~=|>=).*", re.DOTALL)


def start_lines(request: Mapping[str, Any], shown: Sequence[str] = ()) -> list[str]:
    """The lines for a ``Run`` as it is sent; none for a program that has no row.

    ``shown``: trees and files outside the workspace that the policy shows.
    """
    words = [os.fsdecode(word) for word in request["argv"]]
    found = find_agent(words, os.path.realpath(os.fsdecode(request["command"])))
    if found is None:
        return []
    agent, arguments = found
    if any(word in _ASIDE for word in arguments) or first_word(arguments) in agent.idle:
        return []
    variables = {os.fsdecode(name): os.fsdecode(text) for name, text in request["env"].items()}
    home, workspace = os.fsdecode(request["home"]), os.fsdecode(request["workspace"])
    lines = [
        f"{agent.name} {hint.why}: {hint.give}"
        for hint in agent.hints
        if _is_wanted(hint, arguments, variables, workspace)
        and not _is_given(hint, arguments, variables, home, shown)
    ]
    if agent.service is not None:
        policy: Any = unpack(request["policy"])
        lines += _of_service(agent.name, agent.service, variables, policy["network"])
    return lines


def find_agent(command: Sequence[str], real: str = "") -> tuple[Agent, list[str]] | None:
    """The known agent that a command starts, and the words after it.

    ``real``: where the command's first word leads to, for a name of the user's own.
    """
    for words in _simple_commands(command):
        for index, word in enumerate(words[:_MAX_WORDS]):
            places = (word, real) if word is command[0] else (word,)
            agent = _named(_VERSIONED.sub(r"\1", word), places)
            if agent is not None:
                return agent, list(words[index + 1 :])
            if not _is_launcher(word):
                break
    return None


def _simple_commands(command: Sequence[str]) -> Iterator[Sequence[str]]:
    """The command itself, or those in the text that a shell is given (sh(1), ``-c``)."""
    yield command
    if command and os.path.basename(command[0]) in _SHELLS:
        for index, word in enumerate(command[1:-1], 1):
            if re.fullmatch(r"-[a-z]*c", word):
                for text in re.split(r"&&|\|\||[;|&\n(]", command[index + 1]):
                    yield text.split()
                return


def _is_launcher(word: str) -> bool:
    """Whether what comes next may be the program: launchers, options, NAME=VALUE, durations."""
    name = re.sub(r"[\d.]+\Z", "", os.path.basename(word))
    return name in _LAUNCHERS or word[:1] == "-" or "=" in word or word[:1].isdigit()


def _named(word: str, places: Sequence[str]) -> Agent | None:
    """The agent of which this is a program or a package, or in whose installation a place lies."""
    name = os.path.basename(word)
    for agent in AGENTS:
        if name in agent.commands or word in agent.packages:
            return agent
    for agent in AGENTS:
        for package in agent.packages:
            if any(f"/{package.strip('/')}/" in place for place in places):
                return agent
    return None


def first_word(arguments: Iterable[str]) -> str:
    return next((word for word in arguments if word[:1] != "-"), "")


def says(arguments: Sequence[str], form: str) -> bool:
    """Whether ``--option`` or ``--option value`` is among the arguments, in any way to write it."""
    option, _, value = form.partition(" ")
    for index, word in enumerate(arguments):
        if word == "--":
            return False
        if word == option and not value:
            return True
        if word == option:
            given = arguments[index + 1] if index + 1 < len(arguments) else ""
        elif option[:2] == "--" and word.startswith(f"{option}="):
            given = word[len(option) + 1 :]
        elif option[:2] != "--" and word[:2] == option and len(word) > 2:
            given = word[2:].removeprefix("=")
        else:
            continue
        if not value or given.replace('"', "").replace("'", "").replace(" ", "") == value:
            return True
    return False


def _is_wanted(
    hint: Hint, arguments: Sequence[str], variables: Mapping[str, str], workspace: str
) -> bool:
    if not (hint.when or hint.when_variables or hint.when_files):
        return True
    return (
        any(says(arguments, form) for form in hint.when)
        or any(variables.get(name, "").lower() not in _NO for name in hint.when_variables)
        or any(_matches(f"{workspace}/{file}", text) for file, text in hint.when_files)
    )


def _is_given(
    hint: Hint,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    home: str,
    shown: Sequence[str],
) -> bool:
    return (
        any(says(arguments, form) for form in hint.unless)
        or any(variables.get(name, "").lower() not in _NO for name in hint.unless_variables)
        or any(
            any(is_below(f"{home}/{file}", tree) for tree in shown)
            and _matches(f"{home}/{file}", text)
            for file, text in hint.unless_home
        )
    )


def _matches(path: str, text: str) -> bool:
    head = read_head(path, _MAX_SETTINGS)
    return bool(head) and re.search(text, head.decode("utf-8", "replace")) is not None


def _of_service(
    name: str, service: Service, variables: Mapping[str, str], network: Mapping[str, Any]
) -> Iterator[str]:
    """Names that the policy lacks, and a key that is not passed on."""
    if any(variable in variables for variable in service.unless_variables):
        return
    named = [*network["allowed_domains"], *network["passthrough"]]
    missing = [host for host in service.hosts if not _is_listed(host, named)]
    todo = (
        [f"network: {{allowed_domains: [{', '.join(missing)}]}} in the policy"] if missing else []
    )
    if not any(key in variables for key in service.keys):
        todo.append(f"--keep-env {service.keys[0]}")
    if todo:
        yield (
            f"{name} works through {service.hosts[0]}, with a key that it holds itself and at a"
            f" price that is not counted; it needs {' and '.join(todo)}"
        )


def _is_listed(host: str, named: Iterable[str]) -> bool:
    bare = host.removeprefix("*.")
    return any(bare == entry.removeprefix("*.") for entry in named)
