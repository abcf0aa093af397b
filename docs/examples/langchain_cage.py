"""LangChain: a tool that runs Python in a cage, for any agent or graph.

pip install akios langchain-core
"""

from langchain_core.tools import StructuredTool

from akiosctl import Cage, ProgramFailed, ProgramTimeout


def python_tool(cage: Cage, seconds: float = 60) -> StructuredTool:
    """The tool says what was printed, and what was denied: a model can change its mind by that."""

    def run_python(code: str) -> str:
        """Run Python code in a sandbox that sees the project, and return what it prints."""
        try:
            return cage.run("python3", "-c", code, timeout=seconds, check=True).text
        except ProgramTimeout as error:
            return str(error)
        except ProgramFailed as error:
            denied = [f"denied: {one.what}: {', '.join(one.subjects)}" for one in error.denials]
            return "\n".join([error.done.text, error.done.error_text, *denied])

    return StructuredTool.from_function(run_python)


if __name__ == "__main__":
    with Cage(memory="1G") as cage:
        print(python_tool(cage).invoke({"code": "print(6 * 7)"}))
