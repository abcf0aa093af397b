"""YAML text → plain data, and the line of every key and item; the only importer of the parser.

Policies and ``akiosd.yaml`` are read by one rule: no aliases, because nested ones grow without end;
no key twice, because readers disagree on which holds; bounded depth and length.  Imported only
where a file must be parsed.
"""

from __future__ import annotations

from typing import Any

import yaml

from akiosd.errors import PolicyError
from akiosd.policy.schema import Path, Position

MAX_DEPTH = 16
MAX_NODES = 20_000


class _Source:
    """What errors say of a text: ``name`` is the file as they show it, ``noun`` what it should
    be.
    """

    def __init__(self, name: str, noun: str) -> None:
        self.name, self.noun = name, noun

    def position(self, mark: yaml.Mark) -> Position:
        return self.name, mark.line + 1

    def error(self, what: str, mark: yaml.Mark | None, next: str) -> PolicyError:
        return PolicyError(what, f"{self.name}, line {mark.line + 1}" if mark else self.name, next)


class _Loader(yaml.SafeLoader):
    """SafeLoader, which meets an alias before it stands for anything."""

    akios_source: _Source

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            what = f"aliases (*name) are not part of {self.akios_source.noun} language"
            raise self.akios_source.error(what, mark, "write out what the alias stands for")
        return super().compose_node(parent, index)


def load_positions(
    data: bytes, name: str, *, noun: str = "the policy"
) -> tuple[Any, dict[Path, Position]]:
    """Plain data, None for an empty text; and path of each key and item → (``name``, line).

    ``name`` is the file as errors show it, ``noun`` what it holds.  Raises :class:`PolicyError`.
    """
    source = _Source(name, noun)
    try:
        loader = _Loader(data.decode())
        loader.akios_source = source
        node = loader.get_single_node()
        if node is None:
            return None, {}
        positions: dict[Path, Position] = {}
        _walk(node, (), source, positions)
        return loader.construct_document(node), positions
    except UnicodeDecodeError:
        raise source.error(f"{noun} is not UTF-8 text", None, "save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        next = "check the indentation and quotes there"
        raise source.error(f"not valid YAML: {error.problem}", mark, next) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise source.error(f"not valid YAML: {error}", None, "check the file") from None


def _walk(node: yaml.Node, path: Path, source: _Source, positions: dict[Path, Position]) -> None:
    if len(path) > MAX_DEPTH or len(positions) > MAX_NODES:
        raise source.error(
            f"{source.noun} is nested too deeply or too long", node.start_mark, "make it flatter"
        )
    positions.setdefault(path, source.position(node.start_mark))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in positions:
                raise source.error(
                    f"the key {key.value!r} stands twice", key.start_mark, "keep one of the two"
                )
            positions[inner] = source.position(key.start_mark)
            _walk(value, inner, source, positions)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), source, positions)
