"""Pydantic AI: tools that run Python and move files in a cage, for any agent.

pip install akios 'pydantic-ai-slim[openai]'
OPENAI_API_KEY=… python pydantic_ai_cage.py
"""

from pydantic_ai import Agent, FunctionToolset, ModelRetry

from akiosctl import AkiosError, Cage, ProgramFailed


def cage_tools(cage: Cage, seconds: float = 60) -> FunctionToolset:
    """What fails comes back to the model with what was denied, and it may try again."""
    tools = FunctionToolset(max_retries=3)

    @tools.tool_plain
    def run_python(code: str) -> str:
        """Run Python code in a sandbox that sees the project, and return what it prints."""
        try:
            return cage.run("python3", "-c", code, timeout=seconds, check=True).text
        except ProgramFailed as error:
            denied = [f"denied: {one.what}: {', '.join(one.subjects)}" for one in error.denials]
            raise ModelRetry("\n".join([error.done.text, error.done.error_text, *denied])) from None
        except AkiosError as error:
            raise ModelRetry(str(error)) from None

    @tools.tool_plain
    def read_file(path: str) -> str:
        """Read a text file of the project."""
        try:
            return cage.read(path, most=100_000).decode("utf-8", "replace")
        except AkiosError as error:
            raise ModelRetry(str(error)) from None

    @tools.tool_plain
    def write_file(path: str, text: str) -> str:
        """Write a text file of the project, where the sandbox has it."""
        try:
            cage.write(path, text)
        except AkiosError as error:
            raise ModelRetry(str(error)) from None
        return f"{path} is written"

    return tools


if __name__ == "__main__":
    with Cage(memory="1G") as cage:
        agent = Agent("openai:gpt-4o", toolsets=[cage_tools(cage)])
        print(agent.run_sync("How many primes are there below 1000?").output)
        print(cage.diff())  # the project is unchanged until: cage.commit()
