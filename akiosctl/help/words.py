"""The words that may be typed, read from the table of verbs and their options, for shells to
complete.

Nothing is described a second time: an option or argument is what click and the table of ``run`` say
of it.  Of cages this only says which kind of them is meant; a shell asks for their names
(``cage_words``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from akiosctl.run_options import FLAG, OPTIONS, SHORT

FILE, DIRECTORY, COMMAND, TEXT = "file", "directory", "command", "text"
CAGES, RUNNING, CHANGES = "cages", "running", "changes"
"""What a word stands for; besides these there is ``one:A,B``, one of several words."""
ONE = "one:"

# verb → the cages that it can be about; a verb that is not here takes any.
CAGES_OF = {
    **dict.fromkeys(("attach", "stop", "budget", "http"), RUNNING),
    **dict.fromkeys(("commit", "discard"), CHANGES),
}
_NAMES_OF_CAGES = ("cage", "cages", "names")
# The placeholder of a value of run → what it stands for; others are text.
_PLACEHOLDERS = {"FILE": FILE, "PATH": FILE, "DIR": DIRECTORY}
_WORDS_OF_RUN = {
    "mode": "cow,rw,ro,rw-direct",
    "trace": "none,security,files,all",
    "policy": "default,strict,permissive-dev",
}


@dataclass(frozen=True)
class Option:
    """``takes``: what its value stands for; "" where it has none."""

    names: tuple[str, ...]
    takes: str
    help: str


@dataclass(frozen=True)
class Verb:
    """``path`` is its words, ("ledger", "verify"); ``arguments`` its operands in their order, of
    which the last may be given again where ``repeats``.
    """

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...] = ()
    arguments: tuple[str, ...] = ()
    repeats: bool = False
    verbs: tuple[Verb, ...] = field(default=())

    def walk(self) -> Iterator[Verb]:
        """This one and all below it."""
        yield self
        for verb in self.verbs:
            yield from verb.walk()


def read_words(root: click.Group, helps: dict[str, str]) -> Verb:
    """The whole table; ``helps``: what each verb of the top does."""
    verbs: list[Verb] = []
    context = click.Context(root)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        verbs.append(
            _read(command, (name,), helps[name]) if command is not None else _run(helps[name])
        )
    return Verb((), "", _options(root, ()), verbs=tuple(verbs))


def _run(text: str) -> Verb:
    shorts = {long: short for short, long in SHORT.items()}
    options = []
    for option, (name, takes, placeholder, said) in OPTIONS.items():
        names = (option, shorts[option]) if option in shorts else (option,)
        value = "" if takes == FLAG else _PLACEHOLDERS.get(placeholder, TEXT)
        if name in _WORDS_OF_RUN:
            value = ONE + _WORDS_OF_RUN[name]
        options.append(Option(names, value, said))
    return Verb(("run",), text, tuple(options), (COMMAND,), repeats=True)


def _read(command: click.Command, path: tuple[str, ...], text: str = "") -> Verb:
    text = text or command.get_short_help_str(80)
    if isinstance(command, click.Group):
        below = tuple(_read(one, (*path, name)) for name, one in sorted(command.commands.items()))
        return Verb(path, text, _options(command, path), verbs=below)
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    return Verb(
        path,
        text,
        _options(command, path),
        tuple(_stands_for(param, path) for param in arguments),
        repeats=bool(arguments) and arguments[-1].nargs != 1,
    )


def _options(command: click.Command, path: tuple[str, ...]) -> tuple[Option, ...]:
    found = []
    for param in command.get_params(click.Context(command)):
        if isinstance(param, click.Option):
            takes = "" if param.is_flag else _stands_for(param, path)
            names = sorted(param.opts, key=len, reverse=True)
            found.append(Option(tuple(names), takes, " ".join((param.help or "").split())))
    return tuple(found)


def _stands_for(param: click.Parameter, path: tuple[str, ...]) -> str:
    kind, name = param.type, str(param.name)
    if isinstance(kind, click.Choice):
        return ONE + ",".join(map(str, kind.choices))
    if name in _NAMES_OF_CAGES:
        return CAGES_OF.get(path[0], CAGES)
    if isinstance(kind, click.Path):
        return DIRECTORY if name == "directory" and not path else FILE
    if (param.metavar and "FILE" in param.metavar) or name in ("file", "output", "vkey"):
        return FILE
    if name == "wanted":
        from akiosctl.records_text import kinds

        return ONE + ",".join(kinds())
    if name == "socket":
        return FILE
    if path == ("schema",):
        return TEXT
    return TEXT
