"""The YAML of AKIOS: one rule for policies as the client and akiosd read them, and for the
configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from akiosctl import policy_files
from akiosd.daemon.base.config import parse_config
from akiosd.daemon.base.settings import load_system_policy
from akiosd.errors import PolicyError
from akiosd.policy.yaml_lines import MAX_DEPTH, MAX_NODES, load_positions

NAME = "f.yaml"
BAD: dict[str, tuple[bytes, int, str]] = {
    "an alias": (b"a: &x [1]\nb: *x\n", 2, "aliases (*name) are not part of"),
    "an alias to what it stands in": (b"a: &x\n  b: [*x]\n", 2, "aliases (*name) are not part of"),
    "an alias in a merged key": (b"a: &x {b: 1}\nc:\n  <<: *x\n", 3, "aliases (*name) are not part of"),
    "aliases that grow": (
        b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 122)), 2,
        "aliases (*name) are not part of",
    ),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands twice"),
    "a key twice, deeper": (b"a:\n  b: 1\n  b: 1\n", 3, "the key 'b' stands twice"),
    "a key twice, as text and as number": (b"a:\n  1: x\n  '1': y\n", 3, "the key '1' stands twice"),
    "too deep": (b"a: " + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), 1, "nested too deeply or too long"),
    "too long": (b"a:\n" + b"- x\n" * (MAX_NODES + 2), MAX_NODES + 1, "nested too deeply or too long"),
    "no YAML": (b"a: 1\nb: [\n", 3, "not valid YAML"),
    "an object": (b"a: !!python/object:os.system {}\n", 1, "not valid YAML"),
    "not UTF-8": (b"\xff\xfe", 0, "is not UTF-8 text"),
}  # fmt: skip


def read_as_system_policy(data: bytes, name: str) -> Any:
    """As akiosd does; the file has to be one that only its owner can write."""
    path = Path(name)
    path.write_bytes(data)
    path.chmod(0o600)
    return load_system_policy(path)


READERS: dict[str, Callable[[bytes, str], Any]] = {
    "client": policy_files.parse, "akiosd": read_as_system_policy, "configuration": parse_config,
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", BAD)
def test_one_rule_for_every_reader(
    case: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, line, what = BAD[case]
    with pytest.raises(PolicyError) as caught:
        READERS[reader](data, NAME)
    assert what in caught.value.what
    assert caught.value.where == (f"{NAME}, line {line}" if line else NAME)
    assert caught.value.next


def test_lines_are_those_of_keys_and_items() -> None:
    data, positions = load_positions(b"a: &unused\n  b:\n  - x\n  - {c: 1}\n# end\n", NAME)
    assert data == {"a": {"b": ["x", {"c": 1}]}}
    lines = {path: line for path, (name, line) in positions.items() if name == NAME}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 3,
        ("a", "b", 1): 4,
        ("a", "b", 1, "c"): 4,
    }
    assert load_positions(b"# nothing\n", NAME) == (None, {})
    deepest = b"a: " + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert load_positions(deepest, NAME)[0], "the control"
