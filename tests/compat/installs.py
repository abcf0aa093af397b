"""What the rows need that Debian does not have: environments of Python's packages and projects of
npm's, each made once for a machine in a temporary directory.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.e2e.test_coding_agents import PACKAGES
from tests.e2e.test_sdks import SDKS

BASE = Path(tempfile.gettempdir()) / f"akios-compat-{os.getuid()}"
NODE = f"node-linux-{'arm64' if platform.machine() == 'aarch64' else 'x64'}"

# Name → packages.  What pins others' versions has an environment of its own.
VENVS: dict[str, tuple[str, ...]] = {
    "uv": ("uv",),
    "tools": (
        *("uv", "pip", "pytest", "coverage", "tox", "nox", "ruff", "mypy", "black", "isort"),
        *("flake8", "pylint", "poetry", "pdm", "pre-commit", "sphinx", "ipython"),
        *("cython", "setuptools", "numpy", "pandas", "scipy", "matplotlib", "pillow"),
        *("cryptography", "sqlalchemy", "django", "flask", "fastapi", "uvicorn", "gunicorn"),
        *("aiohttp", "scrapy", "playwright"),
    ),
    "sdks": (
        *SDKS,
        *("litellm", "openai-agents", "langchain", "langchain-openai", "langchain-anthropic"),
        *("langgraph", "pydantic-ai-slim[openai,anthropic]", "instructor", "llm"),
    ),
    "more": (
        *("smolagents[openai]", "llama-index-core", "llama-index-llms-openai", "dspy", "agno"),
        *("autogen-agentchat", "autogen-ext[openai]", "haystack-ai"),
    ),
    "strands": ("strands-agents[openai]>=1",),
    "crewai": ("crewai",),
    "adk": ("google-adk",),
    "claude": ("claude-agent-sdk",),
    "aider": ("aider-chat",),
    "mini": ("mini-swe-agent",),
    "gptme": ("gptme",),
    "oi": ("open-interpreter", "setuptools<80"),
}
PROJECTS: dict[str, tuple[str, ...]] = {
    # Debian 12's node is older than what many ask for.
    "node": (f"{NODE}@22",),
    "tools": (
        *("jest", "vitest", "mocha", "typescript", "tsx", "esbuild", "webpack", "webpack-cli"),
        *("vite", "eslint", "prettier", "pnpm", "yarn@1"),
    ),
    "sdks": (
        *("openai", "@anthropic-ai/sdk", "@google/genai", "@mistralai/mistralai", "ollama", "ai"),
        *("@ai-sdk/openai", "@ai-sdk/anthropic", "@ai-sdk/google", "@langchain/openai"),
        *("@langchain/core", "@openai/agents", "zod"),
    ),
    "agents": (
        *PACKAGES.values(),
        *("@google/gemini-cli", "@qwen-code/qwen-code", "opencode-ai", "cline"),
        *("@github/copilot", "@mariozechner/pi-coding-agent", "@continuedev/cli"),
        "@kilocode/cli-linux-x64",
    ),
}
UNPACKS = dict.fromkeys((PACKAGES["claude"], "opencode-ai", "esbuild"), True)


class MissingError(Exception):
    """What a row needs is not here; says what."""


_FAILED: dict[Path, MissingError] = {}
"""What could not be made in this run of the tests: it is not tried again for each row."""


@functools.cache
def venv(name: str) -> Path:
    """The directory of an environment.  Raises :class:`MissingError`."""
    return _made_once(BASE / "venvs" / name, VENVS[name], functools.partial(_make_venv, name))


@functools.cache
def project(name: str) -> Path:
    """The ``node_modules`` of a project.  Raises :class:`MissingError`."""
    packages = PROJECTS[name]
    return _made_once(BASE / "npm" / name, packages, _make_project) / "node_modules"


def _made_once(
    home: Path, packages: Sequence[str], make: Callable[[Path, Sequence[str]], None]
) -> Path:
    home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    wanted = hashlib.sha256(repr(packages).encode()).hexdigest()
    done = home.with_suffix(".done")
    if home in _FAILED:
        raise _FAILED[home]
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != wanted or not home.exists():
            try:
                make(home, packages)
            except MissingError as error:
                _FAILED[home] = error
                raise
            done.write_text(wanted)
    return home


def _make_venv(name: str, home: Path, packages: Sequence[str]) -> None:
    python = "/usr/bin/python3"
    if name == "uv":
        _run(python, "-m", "venv", "--clear", home)
        _run(home / "bin" / "python", "-m", "pip", "install", "-q", *packages)
        return
    uv = venv("uv") / "bin" / "uv"
    _run(uv, "venv", "-q", "--clear", "-p", python, home)
    _run(uv, "pip", "install", "-q", "-p", home / "bin" / "python", *packages)


def _make_project(home: Path, packages: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingError("npm is not installed")
    home.mkdir(mode=0o755, exist_ok=True)
    # npm that asks before it runs a package's script is told whose may unpack themselves.
    about = {"name": "compat", "version": "1.0.0", "private": True, "allowScripts": UNPACKS}
    (home / "package.json").write_text(json.dumps(about))
    options = ("--no-audit", "--no-fund", "--foreground-scripts")
    _run(npm, "install", *options, *packages, cwd=home)


def _run(*words: str | os.PathLike[str], cwd: Path | None = None) -> None:
    done = subprocess.run(
        words, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd, timeout=900
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no words").splitlines()
        # npm ends with the name of its log file, which is of no use in a table.
        last = next((line for line in reversed(said) if "complete log" not in line), said[-1])
        raise MissingError(f"{Path(words[0]).name} could not install: {last[:100]}")


# ---- one row's source ----------------------------------------------------------------------------


class Had(str):
    """A version; ``path`` is what stands before the system's PATH, ``modules`` node_modules."""

    path: tuple[Path, ...] = ()
    modules: Path | None = None


def find(source: str) -> Had:
    """The version of a row's program.  Raises :class:`MissingError`, which says what is missing."""
    kind, _, name = source.partition(":")
    if kind == "debian":
        return Had(_debian_version(name))
    if kind == "host":
        return Had(_host_version(name))
    place, _, package = name.partition("/")
    if kind == "pypi":
        home = venv(place)
        had = Had(_python_version(home, package))
        had.path = (home / "bin",)
        return had
    modules = project(place)
    had = Had(json.loads((modules / package / "package.json").read_text())["version"])
    had.path, had.modules = (modules / ".bin", project("node") / NODE / "bin"), modules
    return had


@functools.cache
def _debian_version(package: str) -> str:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", package],
        capture_output=True,
        text=True,
    )
    if not done.stdout.startswith("ii "):
        raise MissingError(f"the package {package} is not installed")
    return re.sub(r"^\d+:|[-+~].*", "", done.stdout[3:].strip())


@functools.cache
def _host_version(command: str) -> str:
    path = shutil.which(command)
    if path is None:
        raise MissingError(f"{command} is not installed")
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else "?"


def _python_version(home: Path, package: str) -> str:
    name = re.sub(r"[-_.]+", "[-_.]", package)
    for info in home.glob("lib/python3*/site-packages/*.dist-info"):
        found = re.fullmatch(rf"{name}-(.+)\.dist-info", info.name, re.IGNORECASE)
        if found:
            return found[1]
    raise MissingError(f"{package} is not in {home}")
