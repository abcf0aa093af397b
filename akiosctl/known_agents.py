"""Agents that are known, and programs like them: what each is to be given in a cage, one row a
program.

Most need nothing.  Some fence their own commands by ways that a cage does not hold a second time
(new namespaces: user_namespaces(7)); a few stop in a home that is fresh, or work through a service
of their vendor's.  A fence made with Landlock or seccomp works inside and has no row.

This is read while the cage is made, so it imports nothing.  :mod:`akiosctl.agent_advice` says what
a row means for a command.
"""

from __future__ import annotations

from typing import NamedTuple


class Hint(NamedTuple):
    """One line at the start of a run: ``NAME WHY: GIVE``.

    Words are written as on a command line, ``--option`` or ``--option value``, and an option that
    is given with ``=`` or joined to a single letter counts as well.

    when, when_variables, when_files: the line is said only if one of the words is given, one of
        the variables is set inside (to something other than no), or one of the files of the
        workspace matches the regular expression beside it.  All empty: it is always said.
    unless, unless_variables: never, if one of these is given or set.
    unless_home: nor if a file of the home directory that the cage shows matches.
    """

    why: str
    give: str
    unless: tuple[str, ...] = ()
    unless_variables: tuple[str, ...] = ()
    unless_home: tuple[tuple[str, str], ...] = ()
    when: tuple[str, ...] = ()
    when_variables: tuple[str, ...] = ()
    when_files: tuple[tuple[str, str], ...] = ()


class Service(NamedTuple):
    """The vendor's own service that an agent works through: ``hosts`` as the policy lists them.

    ``keys``: variables of which it needs one.  ``unless_variables``: it does without, if set.
    """

    hosts: tuple[str, ...]
    keys: tuple[str, ...]
    unless_variables: tuple[str, ...] = ()


class Agent(NamedTuple):
    """``commands`` are names of programs and Python modules, ``packages`` are npm's names or
    another part of the path of an installation.

    ``idle``: first words after which nothing is run for a model, so that nothing need be said.
    """

    name: str
    commands: tuple[str, ...]
    packages: tuple[str, ...] = ()
    hints: tuple[Hint, ...] = ()
    service: Service | None = None
    idle: tuple[str, ...] = ()


_NESTED = "which cannot be made inside a cage (the cage is the fence)"
_CONTAINER = (
    "starts itself in a container, which cannot be made inside a cage (the cage is the fence)"
)
_BUBBLEWRAP = f"fences its commands with bubblewrap, {_NESTED}"


def _sandbox_of_gemini(settings: str, *variables: str) -> Hint:
    """gemini-cli and its descendants start a container when an option, a variable or their
    ``settings`` file asks for it.
    """
    return Hint(
        _CONTAINER,
        "leave --sandbox out",
        unless=("--sandbox=false", "--no-sandbox"),
        when=("--sandbox", "-s"),
        when_variables=variables,
        when_files=((settings, r'"sandbox"\s*:\s*(?!false|\{)'),),
    )


# Sources: `codex --help` (0.171), github.com/openai/codex codex-rs/linux-sandbox/README.md;
# code.claude.com/docs/en/sandboxing; geminicli.com/docs/cli/sandbox and /trusted-folders;
# `qwen --help` (0.15); cursor.com/docs/agent/tools/terminal; `copilot help sandbox`, `help
# environment` (1.0); ampcode.com/manual; docs of Augment's, Factory's, Kimi's and OpenHands' CLIs;
# chromium docs/linux/sandboxing.md.  Which of them were run is in tests/compat/README.md.
AGENTS: tuple[Agent, ...] = (
    Agent(
        "codex",
        ("codex",),
        ("@openai/codex",),
        hints=(
            Hint(
                _BUBBLEWRAP,
                "add --sandbox danger-full-access",
                unless=(
                    "--sandbox danger-full-access",
                    "-s danger-full-access",
                    "--dangerously-bypass-approvals-and-sandbox",
                    "--yolo",
                    "-c sandbox_mode=danger-full-access",
                    "--config sandbox_mode=danger-full-access",
                ),
                unless_home=(
                    (
                        ".codex/config.toml",
                        r"(?m)^\s*sandbox_mode\s*=\s*[\"']danger-full-access",
                    ),
                ),
            ),
        ),
        idle=("login", "logout", "completion", "mcp", "features", "help", "update", "doctor"),
    ),
    Agent(
        "claude",
        ("claude",),
        ("@anthropic-ai/claude-code",),
        hints=(
            Hint(
                f"has its sandbox enabled and {_BUBBLEWRAP}",
                """add --settings '{"sandbox":{"enabled":false}}'""",
                unless=("--settings {sandbox:{enabled:false}}",),
                when_files=tuple(
                    (f".claude/{name}.json", r'"sandbox"\s*:\s*\{[^}]*"enabled"\s*:\s*true')
                    for name in ("settings", "settings.local")
                ),
                when_variables=("CLAUDE_CODE_SUBPROCESS_ENV_SCRUB",),
            ),
        ),
        idle=("mcp", "config", "doctor", "update", "install", "help"),
    ),
    Agent(
        "gemini",
        ("gemini",),
        ("@google/gemini-cli",),
        hints=(
            _sandbox_of_gemini(".gemini/settings.json", "GEMINI_SANDBOX"),
            Hint(
                "trusts no directory in a fresh home, and ends",
                "add --skip-trust",
                unless=("--skip-trust",),
                unless_variables=("GEMINI_CLI_TRUST_WORKSPACE",),
                when=("-p", "--prompt"),
            ),
        ),
    ),
    Agent(
        "qwen",
        ("qwen",),
        ("@qwen-code/qwen-code",),
        hints=(
            _sandbox_of_gemini(".qwen/settings.json", "QWEN_SANDBOX", "GEMINI_SANDBOX"),
            Hint(
                "has no log-in in a fresh home, and goes to its vendor's models",
                "add --auth-type openai --openai-base-url https://api.openai.com/v1 --model MODEL",
                unless=("--openai-base-url", "--auth-type anthropic", "--auth-type gemini"),
                unless_variables=("OPENAI_BASE_URL",),
                when=("-p", "--prompt"),
            ),
        ),
    ),
    Agent(
        "cursor-agent",
        ("cursor-agent",),
        ("cursor-agent",),
        hints=(
            Hint(
                f"fences its commands in new namespaces, {_NESTED}",
                "add --sandbox disabled",
                unless=("--sandbox disabled",),
            ),
        ),
        service=Service(("*.cursor.sh",), ("CURSOR_API_KEY",)),
        idle=("login", "logout", "status", "mcp", "update", "help"),
    ),
    Agent(
        "copilot",
        ("copilot",),
        ("@github/copilot",),
        hints=(Hint(_BUBBLEWRAP, "leave --sandbox out", when=("--sandbox",)),),
        service=Service(
            ("api.github.com", "*.githubcopilot.com"),
            ("COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"),
            unless_variables=("COPILOT_PROVIDER_BASE_URL",),
        ),
        idle=("help", "update", "version", "login", "mcp"),
    ),
    Agent(
        "amp",
        ("amp",),
        ("@ampcode/cli", "@sourcegraph/amp"),
        service=Service(("ampcode.com", "*.ampcode.com"), ("AMP_API_KEY",)),
        idle=("login", "logout", "update", "mcp", "help"),
    ),
    Agent(
        "auggie",
        ("auggie",),
        ("@augmentcode/auggie",),
        service=Service(
            ("*.augmentcode.com",), ("AUGMENT_SESSION_AUTH", "AUGMENT_API_TOKEN")
        ),
        idle=("login", "logout", "help"),
    ),
    Agent(
        "droid",
        ("droid",),
        ("/droid",),
        service=Service(("*.factory.ai",), ("FACTORY_API_KEY",)),
        idle=("help", "update"),
    ),
    Agent(
        "kimi",
        ("kimi",),
        service=Service(
            ("api.moonshot.ai", "api.kimi.com"),
            ("KIMI_API_KEY", "MOONSHOT_API_KEY"),
            unless_variables=("OPENAI_BASE_URL", "KIMI_BASE_URL"),
        ),
        idle=("login", "logout", "info", "mcp"),
    ),
    Agent(
        "pi",
        ("pi",),
        ("@mariozechner/pi-coding-agent", "@earendil-works/pi-coding-agent"),
        hints=(
            Hint(
                "chooses Bedrock, whose key variables are set like those of every provider",
                "add --provider NAME --model MODEL",
                unless=("--provider", "--model", "-m"),
            ),
        ),
        idle=("install", "remove", "list", "update", "config"),
    ),
    Agent(
        "openhands",
        ("openhands",),
        hints=(
            Hint(
                _CONTAINER,
                "use openhands --headless without serve",
                when=("serve", "--mount-cwd"),
            ),
        ),
    ),
    Agent(
        "mini",
        ("mini", "mini-swe-agent"),
        hints=(
            Hint(
                _CONTAINER.replace("itself", "its commands"),
                "leave --environment-class out",
                when=(
                    "--environment-class docker",
                    "--environment-class singularity",
                    "--environment-class bubblewrap",
                ),
            ),
        ),
    ),
    Agent(
        "srt",
        ("srt",),
        ("@anthropic-ai/sandbox-runtime",),
        hints=(Hint(_BUBBLEWRAP, "leave srt out and run the command itself"),),
    ),
    Agent(
        "chromium",
        ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
         "chrome-headless-shell", "headless_shell", "electron", "brave-browser", "microsoft-edge"),
        hints=(
            Hint(
                f"fences its pages in new namespaces, {_NESTED}",
                "add --no-sandbox",
                unless=("--no-sandbox",),
            ),
        ),
    ),
    *(
        Agent(
            name,
            (name,),
            hints=(
                Hint(
                    f"makes new namespaces, {_NESTED.partition(' (')[0]}",
                    f"leave {name} out and run the command itself: the cage is the fence",
                ),
            ),
        )
        for name in ("bwrap", "firejail", "nsjail", "minijail0", "unshare")
    ),
    *(
        Agent(
            name,
            (name,),
            hints=(
                Hint(
                    f"starts containers, {_NESTED}",
                    "run in the cage what the container was for, or run it outside",
                ),
            ),
            idle=("version", "help", "--version"),
        )
        for name in ("docker", "podman", "nerdctl", "buildah", "apptainer")
    ),
)  # fmt: skip
