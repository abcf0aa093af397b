"""YAML text → plain data, and the line of every key and item; the only importer of the parser.

Policies and ``akiosd.yaml`` are read by one rule: no aliases, because nested ones grow without end;
no key twice, because readers disagree on which holds; bounded depth and length.  Workflows are read
by a stricter one: no anchors and tags either, and no value that YAML 1.1 and YAML 1.2 (which
editors know) read differently.  Imported only where a file must be parsed.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from akiosd.errors import PolicyError
from akiosd.policy.schema import Path, Position

MAX_DEPTH = 16
MAX_NODES = 20_000
MAX_DIGITS = 64
"""Characters of a number.  Of those with colons (60 to the power of each) time would be squared."""

Mark = tuple[int, int]
"""Line and column, from 1 on."""
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)\Z")
_FRACTION = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\Z")


class _Source:
    """What errors say of a text: ``name`` is the file as they show it, ``noun`` what it should
    be.
    """

    def __init__(self, name: str, noun: str, depth: int = MAX_DEPTH, *, strict: bool = False):
        self.name, self.noun, self.depth, self.strict = name, noun, depth, strict
        self.marks: dict[Path, Mark] = {}
        self.nodes = self.open = 0
        # Keys are nodes too, and count for a policy as they always did: not at all.
        self.most = MAX_NODES if strict else 2 * MAX_NODES

    def position(self, mark: yaml.Mark) -> Position:
        return self.name, mark.line + 1

    def error(self, what: str, mark: yaml.Mark | None, next: str) -> PolicyError:
        if mark is None:
            return PolicyError(what, self.name, next)
        place = f"{self.name}, line {mark.line + 1}"
        return PolicyError(
            what, f"{place}, column {mark.column + 1}" if self.strict else place, next
        )


class _Loader(yaml.SafeLoader):
    """SafeLoader, which meets an alias before it stands for anything."""

    akios_source: _Source

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        source = self.akios_source
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            what = f"aliases (*name) are not part of {source.noun} language"
            raise source.error(what, event.start_mark, "write out what the alias stands for")
        source.nodes += 1
        source.open += 1
        # Now, and not once all is read: time and depth are bounded by what was read so far.
        if source.open - 1 > source.depth or source.nodes > source.most:
            what = f"{source.noun} is nested too deeply or too long"
            raise source.error(what, event.start_mark, "make it flatter")
        if source.strict:
            for kind, word in (("anchor", "anchors (&name)"), ("tag", "tags (!name)")):
                if getattr(event, kind, None) is not None:
                    what = f"{word} are not part of {source.noun} language"
                    raise source.error(what, event.start_mark, "remove it")
        node = super().compose_node(parent, index)
        source.open -= 1
        return node


def load_positions(
    data: bytes, name: str, *, noun: str = "the policy"
) -> tuple[Any, dict[Path, Position]]:
    """Plain data, None for an empty text; and path of each key and item → (``name``, line).

    ``name`` is the file as errors show it, ``noun`` what it holds.  Raises :class:`PolicyError`.
    """
    source = _Source(name, noun)
    data_of, marks = _load(data, source)
    return data_of, {path: (name, line) for path, (line, _) in marks.items()}


def load_strict(data: bytes, name: str, *, noun: str, depth: int) -> tuple[Any, dict[Path, Mark]]:
    """The same by the stricter rule, with line and column; errors have both."""
    return _load(data, _Source(name, noun, depth, strict=True))


def _load(data: bytes, source: _Source) -> tuple[Any, dict[Path, Mark]]:
    noun = source.noun
    try:
        loader = _Loader(data.decode())
        loader.akios_source = source
        node = loader.get_single_node()
        if node is None:
            return None, {}
        _walk(node, (), source)
        return loader.construct_document(node), source.marks
    except UnicodeDecodeError:
        raise source.error(f"{noun} is not UTF-8 text", None, "save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        next = "check the indentation and quotes there"
        raise source.error(f"not valid YAML: {error.problem}", mark, next) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise source.error(f"not valid YAML: {error}", None, "check the file") from None


def _walk(node: yaml.Node, path: Path, source: _Source) -> None:
    if len(path) > source.depth or len(source.marks) > MAX_NODES:
        raise source.error(
            f"{source.noun} is nested too deeply or too long", node.start_mark, "make it flatter"
        )
    source.marks.setdefault(path, _mark(node.start_mark))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if source.strict:
                _check_key(key, source)
            inner = (*path, str(key.value))
            if inner in source.marks:
                raise source.error(
                    f"the key {key.value!r} stands twice", key.start_mark, "keep one of the two"
                )
            source.marks[inner] = _mark(key.start_mark)
            _walk(value, inner, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), source)
    elif isinstance(node, yaml.ScalarNode):
        _check_scalar(node, source)


def _mark(mark: yaml.Mark) -> Mark:
    return mark.line + 1, mark.column + 1


def _check_key(key: yaml.Node, source: _Source) -> None:
    if not isinstance(key, yaml.ScalarNode):
        raise source.error("a key is not text", key.start_mark, "write a word before the colon")
    _check_scalar(key, source)
    if key.tag != _TAG + "str":
        raise source.error(f"the key {key.value!r} is not text", key.start_mark, "put it in quotes")


def _check_scalar(node: yaml.ScalarNode, source: _Source) -> None:
    """Numbers are short; by the strict rule what only YAML 1.1 takes for something else is text."""
    kind = node.tag.removeprefix(_TAG)
    if source.strict and any("\ud800" <= letter <= "\udfff" for letter in node.value):
        what = "the text has half a character of UTF-16"
        raise source.error(what, node.start_mark, "write the whole character")
    if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
        what = f"a number has {len(node.value):,} characters"
        raise source.error(what, node.start_mark, "put it in quotes, if it is text")
    if not source.strict or kind in ("str", "null"):
        return
    if kind == "bool" and node.value.lower() in ("true", "false"):
        return
    if kind == "int" and _INTEGER.match(node.value):
        return
    if kind == "float" and _FRACTION.match(node.value):
        return
    if kind == "float" and node.value.lower().lstrip("+-") in (".inf", ".nan"):
        raise source.error(f"{node.value} is no finite number", node.start_mark, "write a number")
    if kind == "int" and node.value.lstrip("+-").isdecimal():
        what = f"{node.value} is octal to one reader and decimal to another"
        raise source.error(what, node.start_mark, "put it in quotes, or leave out the zeros")
    node.tag = _TAG + "str"
