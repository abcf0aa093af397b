"""Coding agents, each in a home that is fresh, as a person types them first.

There is no run outside to compare with: what shows that one works is the stand-in's answer, which
says the question back, or the file that it was told to write.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.compat.row import NOTHING, Row

WRITE = "echo to ada > letter.txt; cat letter.txt"


def _agent(
    name: str,
    source: str,
    script: str,
    shows: str = "You said: .*hello",
    files: Mapping[str, str] = NOTHING,
    **more: object,
) -> Row:
    return Row(
        name, "agents", source, script, files, shows=shows, control="the answer is the stand-in's",
        **{"models": True, "seconds": 120, **more},  # type: ignore[arg-type]
    )  # fmt: skip


CODEX = "codex exec --skip-git-repo-check -m gpt-5.4"
ROWS = (
    _agent("Codex", "npm:agents/@openai/codex", f"{CODEX} --sandbox danger-full-access hello; cat letter.txt", "to ada", plan=("exec_command", {"cmd": WRITE}), how="with `--sandbox danger-full-access`, which is said at the start of the run"),
    _agent("Codex, no flag", "npm:agents/@openai/codex", f"{CODEX} hello; test -e letter.txt", "", plan=("exec_command", {"cmd": WRITE}), refused="codex fences its commands with bubblewrap, which cannot be made inside", how="answers; its commands fail, and the first line of the run says the flag"),
    _agent("Claude Code", "npm:agents/@anthropic-ai/claude-code", "claude -p hello --allowedTools Bash --model claude-sonnet-4-5; cat letter.txt", "to ada", plan=("Bash", {"command": WRITE, "description": "write"})),
    _agent("Claude Code, skipping permissions", "npm:agents/@anthropic-ai/claude-code", "claude -p hello --dangerously-skip-permissions --model claude-sonnet-4-5", how="inside it is not root, whoever calls"),
    _agent("Claude Code, sandbox enabled", "npm:agents/@anthropic-ai/claude-code", "claude -p hello --allowedTools Bash --model claude-sonnet-4-5; test -e letter.txt", "", {".claude/settings.json": '{"sandbox": {"enabled": true}}\n'}, plan=("Bash", {"command": WRITE, "description": "write"}), refused="claude has its sandbox enabled and fences its commands", needs=("bubblewrap", "socat"), how="the first line of the run says `--settings` with the sandbox off"),
    _agent("gemini-cli", "npm:agents/@google/gemini-cli", "gemini --skip-trust -m gemini-2.5-flash -p hello", how="with `--skip-trust`, which is said at the start of the run"),
    _agent("gemini-cli, no flag", "npm:agents/@google/gemini-cli", "gemini -m gemini-2.5-flash -p hello", "", refused="gemini trusts no directory in a fresh home, and ends: add --skip-trust", models=False, how="the first line of the run says `--skip-trust`"),
    _agent("qwen-code", "npm:agents/@qwen-code/qwen-code", "qwen --auth-type openai --openai-base-url https://api.openai.com/v1 --openai-api-key $OPENAI_API_KEY -m gpt-5.4 -p hello", how="with OpenAI's address; said at the start of the run"),
    _agent("opencode", "npm:agents/opencode-ai", "opencode run -m anthropic/claude-sonnet-4-5 hello"),
    _agent("cline", "npm:agents/cline", "cline auth -p openai -k $OPENAI_API_KEY -m gpt-5.4 && cline 'say hello'", how="`cline auth` and the task in one run: the cage's home starts empty"),
    _agent("cline, Anthropic's own web search", "npm:agents/cline", "cline auth -p anthropic -k $ANTHROPIC_API_KEY -m claude-sonnet-4-5 && cline 'say hello'", "", refused="the provider itself would run", models=False, how="it offers a search that the provider runs, which no budget counts; `-p openai` does not"),
    _agent("Copilot CLI", "npm:agents/@github/copilot", "COPILOT_OFFLINE=true COPILOT_PROVIDER_API_KEY=$OPENAI_API_KEY COPILOT_PROVIDER_BASE_URL=https://api.openai.com/v1 COPILOT_MODEL=gpt-5.4 copilot -p hello", how="with OpenAI as its provider"),
    _agent("Copilot CLI, GitHub's models", "npm:agents/@github/copilot", "copilot -p hello", "", refused="copilot works through api.github.com", models=False, how="needs `allowed_domains` and `--keep-env COPILOT_GITHUB_TOKEN`; said at the start"),
    _agent("pi", "npm:agents/@mariozechner/pi-coding-agent", "pi --provider anthropic --model claude-sonnet-4-5 -p hello", how="with `--provider`: it would choose Bedrock; said at the start of the run"),
    _agent("Continue CLI", "npm:agents/@continuedev/cli", "cn -p hello"),
    _agent("Kilo Code", "npm:agents/@kilocode/cli-linux-x64", "$NODE_MODULES/@kilocode/cli-linux-x64/bin/kilo run -m anthropic/claude-sonnet-4-5 hello"),
    _agent("aider", "pypi:aider/aider-chat", "aider --model gpt-4o --no-git --edit-format ask --yes-always --message hello", "You said: "),
    _agent("mini-swe-agent", "pypi:mini/mini-swe-agent", "MSWEA_CONFIGURED=true mini -m openai/gpt-4o -y --exit-immediately -t hello; cat letter.txt", "to ada", plan=("bash", {"command": WRITE + "; echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"})),
    _agent("gptme", "pypi:gptme/gptme", "gptme -n -m openai/gpt-4o hello"),
    _agent("open-interpreter", "pypi:oi/open-interpreter", "interpreter -y --model gpt-4o --plain < /dev/null hello || printf hello | interpreter -y --model gpt-4o --plain --stdin"),
)  # fmt: skip

NOT_HAD = {
    "Cursor Agent": "is in no registry; `--sandbox disabled` is said at the start of its run",
    "amp": "its npm package fetches a program from elsewhere; its service and key are said at the start of its run",
    "goose": "is in no registry",
    "crush": "its npm package fetches a program from elsewhere",
}
