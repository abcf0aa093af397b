"""smolagents: an agent whose code runs in a cage, not in this process.

    pip install akios smolagents
    python smolagents_cage.py

Variables live on from step to step, in one Python inside the cage.
"""

import json

from smolagents import CodeAgent, InferenceClientModel, PythonExecutor
from smolagents.local_python_executor import CodeOutput

from akiosctl import Cage

INSIDE = """
import contextlib, io, json, sys, traceback
class Final(BaseException): pass
def final_answer(answer): raise Final(answer)
names = {"final_answer": final_answer}
reply = sys.stdout
for line in sys.stdin:
    printed, answer, is_final, error = io.StringIO(), None, False, ""
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(json.loads(line), "<step>", "exec"), names)
        except Final as final:
            answer, is_final = final.args[0], True
        except BaseException:
            error = traceback.format_exc(limit=-1)
    print(json.dumps([printed.getvalue(), answer, is_final, error], default=str), file=reply, flush=True)
"""


class CageExecutor(PythonExecutor):
    def __init__(self, cage: Cage) -> None:
        self.program = cage.start("python3", "-u", "-c", INSIDE)
        self.output = self.program.pieces()

    def __call__(self, code_action: str) -> CodeOutput:
        self.program.write(json.dumps(code_action).encode() + b"\n")
        printed, answer, is_final, error = json.loads(self._read_line())
        if error:
            raise RuntimeError(printed + error)
        return CodeOutput(output=answer, logs=printed, is_final_answer=is_final)

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            stream, data = next(self.output)
            line += data if stream == "stdout" else b""
        return line

    def send_variables(self, variables: dict) -> None:
        for name, value in variables.items():
            self(f"{name} = {value!r}")

    def send_tools(self, tools: dict) -> None:
        others = set(tools) - {"final_answer"}
        if others:
            raise ValueError(f"these would run in the cage, where they are not: {others}")


if __name__ == "__main__":
    with Cage(memory="1G", budget="0") as cage:
        agent = CodeAgent(tools=[], model=InferenceClientModel(), executor=CageExecutor(cage))
        print(agent.run("How many primes are there below 1000?"))
