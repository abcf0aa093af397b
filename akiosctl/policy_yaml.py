"""YAML text → plain data and the line of every key and item.  Imported only where a policy must be parsed."""

from __future__ import annotations

from typing import Any

import yaml

from akiosd.errors import PolicyError
from akiosd.policy.schema import Path, Position

MAX_DEPTH = 16
MAX_NODES = 20_000


class _Loader(yaml.SafeLoader):
    """SafeLoader, without aliases: a policy has no use for them, and nested ones grow without end."""

    akios_name = ""
    """The file as errors show it."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            what = "aliases (*name) are not part of the policy language"
            raise PolicyError(what, f"{self.akios_name}, line {line}", "write out what the alias stands for")
        return super().compose_node(parent, index)


def load_positions(data: bytes, name: str) -> tuple[Any, dict[Path, Position]]:
    """``name``: the file as errors show it.  Duplicate keys and aliases are refused.  Raises :class:`PolicyError`."""
    try:
        loader = _Loader(data.decode())
        loader.akios_name = name
        node = loader.get_single_node()
        if node is None:
            return None, {}
        positions: dict[Path, Position] = {}
        _walk(node, (), name, positions)
        return loader.construct_document(node), positions
    except UnicodeDecodeError:
        raise PolicyError("the policy is not UTF-8 text", name, "save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise PolicyError(f"not valid YAML: {error.problem}", where, "check the indentation and quotes there") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PolicyError(f"not valid YAML: {error}", name, "check the file") from None


def _walk(node: yaml.Node, path: Path, name: str, positions: dict[Path, Position]) -> None:
    if len(path) > MAX_DEPTH or len(positions) > MAX_NODES:
        raise PolicyError("the policy is nested too deeply or too long", _place(node, name), "make it flatter")
    positions.setdefault(path, (name, node.start_mark.line + 1))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in positions:
                raise PolicyError(f"the key {key.value!r} stands twice", _place(key, name), "keep one of the two")
            positions[inner] = (name, key.start_mark.line + 1)
            _walk(value, inner, name, positions)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), name, positions)


def _place(node: yaml.Node, name: str) -> str:
    return f"{name}, line {node.start_mark.line + 1}"
