"""Runs the examples of docs/examples, named by the first word, with a stand-in model: its address
is the third word, where the framework asks one over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from akiosctl import AsyncCage, Cage

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


def pydantic_ai(cage: Cage) -> None:
    """The model asks for ``run_python``, and says what the tool told it."""
    from pydantic_ai import Agent

    tools = runpy.run_path(str(EXAMPLES / "pydantic_ai_cage.py"))["cage_tools"](cage, 10)
    os.environ |= {"OPENAI_BASE_URL": f"{sys.argv[3]}/v1", "OPENAI_API_KEY": "none"}
    said = Agent("openai:gpt-4o", toolsets=[tools]).run_sync("hello").output
    assert said == f"You said: {SEEN}", said
    assert cage.read("made") == b"42\n" and not os.path.exists("made")
    # What is denied, and what is not there, goes back to the model in words.
    from pydantic_ai import ModelRetry

    def told(name: str, *given: str) -> str:
        try:
            return str(tools.tools[name].function(*given))
        except ModelRetry as retry:
            return f"again: {retry.message}"

    asks = "import urllib.request as u; u.urlopen('http://evil.example/')"
    assert "denied: names: evil.example" in told("run_python", asks)
    assert "was killed" in told("run_python", "while True: pass")
    assert told("write_file", "b", "x") == "b is written" and told("read_file", "b") == "x"
    assert told("write_file", "b/c", "x").startswith("again: ")
    assert told("read_file", "nothing").startswith("again: ")


async def openai_agents() -> None:
    """As :func:`pydantic_ai`, by the tool ``shell`` and the API of responses."""
    os.environ |= {
        "OPENAI_BASE_URL": f"{sys.argv[3]}/v1",
        "OPENAI_API_KEY": "none",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }
    from agents import Agent, Runner
    from agents.tool_context import ToolContext

    shell_tool = runpy.run_path(str(EXAMPLES / "openai_agents_cage.py"))["shell_tool"]
    async with AsyncCage() as cage:
        shell = shell_tool(cage, 10)
        agent = Agent(name="developer", tools=[shell])
        said = (await Runner.run(agent, "hello")).final_output
        assert SEEN in said, said
        assert await cage.read("made") == b"42\n" and not os.path.exists("made")

        async def told(command: str) -> str:
            given = json.dumps({"command": command})
            context = ToolContext(None, tool_name="shell", tool_call_id="1", tool_arguments=given)
            return str(await shell.on_invoke_tool(context, given))

        assert "denied: names: evil.example" in await told("curl -sf http://evil.example/")
        assert "was killed" in await told("sleep 1000")
        assert "ended with exit code 3" in await told("echo own words >&2; exit 3")


SEEN = "42 in the cage"
if sys.argv[1] == "openai_agents":
    asyncio.run(openai_agents())
else:
    with Cage() as cage:
        frameworks = {"smolagents": smolagents, "langchain": langchain, "pydantic_ai": pydantic_ai}
        frameworks[sys.argv[1]](cage)
sys.stdout.write("done")
