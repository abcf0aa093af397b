"""What a reference in a workflow stands for: ``steps.NAME.outputs.key``, ``inputs.x``,
``matrix.x``, ``outputs.x``, ``previous_output`` and ``step_N_output``.

A path is taken through plain maps and lists only: there are no attributes.  The same names hold in
values (:mod:`akiosd.workflow.interpolate`) and in conditions (:mod:`akiosd.workflow.condition`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from akiosd.errors import AkiosError

Path = tuple[str | int, ...]
ROOTS = ("inputs", "steps", "matrix", "outputs", "previous_output")
NUMBERED = re.compile(r"step_([1-9][0-9]{0,3})_output\Z")
TEXT_KEYS = ("text", "content", "output", "result", "response", "stdout", "data")
"""Of a step's outputs, the first that is there is its output, as in AKIOS 1.4."""
_PART = re.compile(
    r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]{1,9})\]|\[(?:'([^'\]]*)'|\"([^\"\]]*)\"|([A-Za-z_][\w.-]*))\]"
)
_MAX_PARTS = 32
_UNQUOTED = re.compile(
    r"(?:(?:inputs|steps|matrix|outputs)[.\[]|previous_output|step_\d+_output).*"
)
_DECLARED = {
    "inputs": "at the top of the file: inputs: {NAME: {default: VALUE}}",
    "matrix": "in this step: matrix: {NAME: [one, two]}",
}
"""Root → where somebody writes what it has."""


class Done(NamedTuple):
    """How a step ended (success, failed or skipped), and what it brought: of a step with a matrix
    a list for each output.
    """

    status: str
    outputs: Mapping[str, Any]


class Scope(NamedTuple):
    """Everything that references of one step may name."""

    inputs: Mapping[str, Any] = {}
    steps: Mapping[str, Done] = {}
    matrix: Mapping[str, Any] = {}
    variables: Mapping[str, str] = {}
    previous: str = ""
    numbers: Mapping[int, str] = {}
    """Number of a step as the file has it → its name."""
    own: Mapping[str, Any] = {}
    """What the step itself brought, for its ``outputs``."""

    def names(self) -> dict[str, Any]:
        """The maps through which paths go."""
        steps = {
            name: {"status": done.status, "outputs": done.outputs, "output": pick(done.outputs)}
            for name, done in self.steps.items()
        }
        found: dict[str, Any] = {"inputs": self.inputs, "steps": steps, "matrix": self.matrix}
        found["outputs"] = self.own
        if self.previous in steps:
            found["previous_output"] = steps[self.previous]["output"]
            found["previous_outputs"] = steps[self.previous]["outputs"]
        for number, name in self.numbers.items():
            if name in steps:
                found[f"step_{number}_output"] = steps[name]["output"]
                found[f"step_{number}_outputs"] = steps[name]["outputs"]
        return found


class Known(NamedTuple):
    """What the references of one step can name, known from the file alone."""

    inputs: frozenset[str]
    steps: frozenset[str]
    """Those that are done before it."""
    later: frozenset[str]
    """All other steps of the file."""
    matrix: frozenset[str]
    numbers: Mapping[int, str]
    previous: str
    own: str = ""
    """The step itself."""


def pick(outputs: Mapping[str, Any]) -> Any:
    """A step's output as one value."""
    for key in TEXT_KEYS:
        if key in outputs:
            return outputs[key]
    return outputs


def canonical(path: Path) -> Path:
    """``step_1_output[key]`` and ``previous_output[key]`` are keys of all outputs; alone they are
    the one output.
    """
    root = str(path[0])
    is_key = len(path) > 1 and isinstance(path[1], str)
    if is_key and (NUMBERED.match(root) or root == "previous_output"):
        return (root + "s", *path[1:])
    return path


def read_path(root: str, rest: str) -> Path | None:
    """``.key``, ``[0]``, ``['key']`` and ``[key]`` after the root; None for anything else."""
    parts: list[str | int] = [root]
    at = 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if found is None or len(parts) > _MAX_PARTS:
            return None
        field, index, *quoted = found.groups()
        parts.append(int(index) if index else field or next(q for q in quoted if q is not None))
        at = found.end()
    return canonical(tuple(parts))


def look_up(path: Path, names: Mapping[str, Any]) -> Any:
    """The value at ``path``.  Raises :class:`AkiosError` where there is none."""
    value: Any = names
    for place, part in enumerate(path):
        try:
            value = step_into(value, part)
        except AkiosError as error:
            raise AkiosError(
                f"{show(path[: place + 1])} has no value: {error.what}",
                show(path),
                error.next,
            ) from None
    return value


def step_into(value: Any, part: Any) -> Any:
    """One key of a map, or one item of a list.  Raises :class:`AkiosError`."""
    if isinstance(value, Mapping) and isinstance(part, str):
        if part in value:
            return value[part]
        near = difflib.get_close_matches(part, [str(key) for key in list(value)[:1000]], 1)
        hint = f"did you mean {near[0]}?" if near else f"there is {_some(value)}"
        raise AkiosError(f"there is no {part!r}", next=hint)
    if isinstance(value, list | tuple) and isinstance(part, int) and not isinstance(part, bool):
        if -len(value) <= part < len(value):
            return value[part]
        raise AkiosError(
            f"the list has {len(value)} items", next="name one of them; they are counted from 0"
        )
    raise AkiosError(
        f"{describe(value)} has no {'item' if isinstance(part, int) else 'key'} {part!r}",
        next="only maps have keys, and lists items that are counted from 0",
    )


def check_path(path: Path, known: Known) -> AkiosError | None:
    """What is wrong with a reference, as far as the file alone tells it."""
    root = str(path[0])
    number = NUMBERED.match(root.removesuffix("s") if root.endswith("_outputs") else root)
    if number is not None:
        name = known.numbers.get(int(number[1]))
        if name is None:
            return AkiosError(f"there is no step {number[1]}", show(path), _of(known.numbers))
        return _check_step(name, path, known)
    if root in ("previous_output", "previous_outputs") and not known.previous:
        return AkiosError(
            "it is not clear which step comes before this one",
            show(path),
            "name it, as in {steps.NAME.outputs.key}",
        )
    names = {"inputs": known.inputs, "matrix": known.matrix}.get(root)
    if len(path) < 2 and (names is not None or root == "steps"):
        ending = ".outputs.KEY" if root == "steps" else ""
        return AkiosError(f"{root} alone is not a value", root, f"write {root}.NAME{ending}")
    if names is not None and path[1] not in names:
        asked = str(path[1])
        hint = _near(asked, names) if names else f"declare it {_DECLARED[root]}"
        return AkiosError(f"{root} has no {asked!r}", show(path), hint)
    if root == "steps":
        return _check_step(str(path[1]), path, known)
    return None


def _check_step(name: str, path: Path, known: Known) -> AkiosError | None:
    if name == known.own:
        hint = "name an earlier step; or, in the outputs of this step, write {outputs.KEY}"
        return AkiosError("a step cannot refer to itself", show(path), hint)
    if name in known.later:
        return AkiosError(
            f"step {name} is not done before this one", show(path), f"write needs: [{name}]"
        )
    if name not in known.steps:
        none = "no step is done before this one; move this step below the one that it refers to"
        hint = _near(name, known.steps) if known.steps else none
        return AkiosError(f"there is no step {name!r}", show(path), hint)
    instead = f"write steps.{name}.outputs.KEY"
    if path[0] == "steps" and len(path) < 3:
        return AkiosError("a step alone is not a value", show(path), instead)
    if path[0] == "steps" and path[2] not in ("outputs", "output", "status"):
        what = f"a step has outputs, output and status, and no {show(path[2:])!r}"
        return AkiosError(what, show(path), instead)
    return None


def show(path: Path) -> str:
    """A path as somebody would write it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def find_unquoted(value: Any, at: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where a reference stands as YAML's ``{a.b}``, which is a table with the key ``a.b`` and no
    value, and what it is called.
    """
    if isinstance(value, Mapping):
        if len(value) == 1 and (name := _unquoted_name(value)):
            yield at, name
            return
        for key, inner in value.items():
            yield from find_unquoted(inner, (*at, str(key)))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from find_unquoted(inner, (*at, place))


def _unquoted_name(value: Mapping[Any, Any]) -> str:
    ((key, inner),) = value.items()
    found = _UNQUOTED.fullmatch(key) if isinstance(key, str) and inner is None else None
    return found[0] if found else ""


def describe(value: Any) -> str:
    """The type of a value, for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for types, word in ((str, "text"), (int | float, "a number"), (list | tuple, "a list")):
        if isinstance(value, types):
            return word
    return "a map"


def _near(word: str, names: frozenset[str]) -> str:
    near = difflib.get_close_matches(word, sorted(names), 1)
    return f"did you mean {near[0]}?" if near else f"there is {_some(dict.fromkeys(names))}"


def _of(numbers: Mapping[int, str]) -> str:
    return f"steps have the numbers {', '.join(map(str, numbers))}" if numbers else "name the step"


def _some(names: Mapping[Any, Any]) -> str:
    return ", ".join(sorted(map(str, names))[:10]) or "nothing there"
