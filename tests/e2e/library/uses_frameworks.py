"""Runs the examples of docs/examples, named by the first word, with a stand-in model."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from akiosctl import Cage

EXAMPLES = Path(sys.argv[2])


def smolagents(cage: Cage) -> None:
    from smolagents import ChatMessage, CodeAgent, Model

    steps = [
        "import os\nseen = [os.getpid()]\nprint('pid', seen[0])",
        "1 / 0",
        "final_answer([len(seen), os.path.exists('here'), 6 * 7])",
    ]

    class StandIn(Model):
        def generate(self, messages: Any, **_: Any) -> ChatMessage:
            said = str(messages[-1].content)
            assert len(steps) > 1 or "division by zero" in said, said
            return ChatMessage(role="assistant", content=f"<code>\n{steps.pop(0)}\n</code>")

    executor = runpy.run_path(str(EXAMPLES / "smolagents_cage.py"))["CageExecutor"]
    agent = CodeAgent(tools=[], model=StandIn(), executor=executor(cage), verbosity_level=0)
    cage.write("here", b"")
    assert agent.run("x") == [1, True, 42]
    assert not os.path.exists("here")  # it ran in the cage


def langchain(cage: Cage) -> None:
    tool = runpy.run_path(str(EXAMPLES / "langchain_cage.py"))["python_tool"](cage, 10)
    assert tool.invoke({"code": "print(6 * 7)"}) == "42\n"
    code = "import urllib.request as u; u.urlopen('http://evil.example/')"
    assert "denied: names: evil.example" in tool.invoke({"code": code})
    assert "was killed" in tool.invoke({"code": "while True: pass"})


with Cage() as cage:
    {"smolagents": smolagents, "langchain": langchain}[sys.argv[1]](cage)
sys.stdout.write("done")
