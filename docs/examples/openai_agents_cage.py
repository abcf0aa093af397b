"""OpenAI Agents SDK: an agent whose shell is a cage.

pip install 'akios[async]' openai-agents
OPENAI_API_KEY=… python openai_agents_cage.py
"""

import asyncio

from agents import Agent, FunctionTool, Runner, function_tool

from akiosctl import AsyncCage, ProgramFailed, ProgramTimeout


def shell_tool(cage: AsyncCage, seconds: float = 60) -> FunctionTool:
    """The tool says what was printed, and what was denied: a model can change its mind by that."""

    @function_tool
    async def shell(command: str) -> str:
        """Run a shell command in a sandbox that sees the project, and return what it prints."""
        try:
            done = await cage.run("sh", "-c", command, timeout=seconds, check=True)
        except ProgramTimeout as error:
            return str(error)
        except ProgramFailed as error:
            denied = [f"denied: {one.what}: {', '.join(one.subjects)}" for one in error.denials]
            return "\n".join([error.done.text, error.done.error_text, error.what, *denied])
        return done.text

    return shell


async def main() -> None:
    async with AsyncCage(memory="1G") as cage:
        agent = Agent(name="developer", tools=[shell_tool(cage)])
        print((await Runner.run(agent, "How many lines of Python are here?")).final_output)
        for change in await cage.diff():
            print(change.kind, change.path)  # the project is unchanged until: await cage.commit()


if __name__ == "__main__":
    asyncio.run(main())
