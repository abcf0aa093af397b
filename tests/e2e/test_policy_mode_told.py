"""Each behaviour of the ``test_attack_*`` files is run in policy mode, or said to be otherwise."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.e2e import test_policy_mode_behaviours as behaviours


@pytest.mark.parametrize("name", behaviours.OTHERWISE)
def test_each_behaviour_is_run_or_said_to_be_otherwise(name: str) -> None:
    tree = ast.parse((Path(__file__).parent / f"test_attack_{name}.py").read_text())
    tests = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
    tests = {one for one in tests if one.startswith("test_")}
    assert tests - vars(behaviours).keys() == behaviours.OTHERWISE[name].keys()
