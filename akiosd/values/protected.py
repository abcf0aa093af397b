"""The table of protected names: what a program of the developer's runs or obeys although nobody
names it.

A row belongs here when a file of this name acts on the host by itself: on entering the directory,
at the prompt, at the next ``git status``, on opening an editor, a debugger, a package manager or
another agent there.  What a person runs by name (a Makefile, the scripts of package.json, a build
file) is theirs to review and stays out, and so do documents that people read too (CLAUDE.md,
AGENTS.md).  How names are compared is in ``akiosctl/changes/names.py``: a row of components
protects wherever it stands, with all below it; ``*`` and ``?`` work within a component.
"""

from __future__ import annotations

import msgspec


class Protected(msgspec.Struct, frozen=True):
    """Names, who acts on them and when, and where that is written."""

    names: tuple[str, ...]
    why: str
    source: str


TABLE: tuple[Protected, ...] = (
    Protected(
        (".git/hooks", ".git/config", ".git/config.worktree", ".git/commondir", ".git/modules/*/hooks",
         ".git/modules/*/config", ".git/worktrees/*/config.worktree", ".git/worktrees/*/commondir"),
        "git runs or obeys it at the next command, as git status",
        "githooks(5), git-config(1), gitrepository-layout(5)",
    ),
    Protected(
        (".git/info/attributes", ".git/modules/*/info/attributes", ".git/objects/info/alternates",
         ".git/modules/*/objects/info/alternates", ".gitmodules", ".lfsconfig", ".git/remotes/*", ".git/branches/*"),
        "git chooses filters, objects or repositories by it",
        "gitattributes(5), gitmodules(5), git-lfs-config(5), gitrepository-layout(5)",
    ),
    Protected(
        (".git/rebase-merge", ".git/rebase-apply", ".git/sequencer"),
        "git goes on with what it says, and that can be commands", "git-rebase(1), exec in the list of steps",
    ),
    Protected(
        (".gitconfig", ".config/git"), "git reads it in every directory, when this is a home", "git-config(1), FILES"
    ),
    Protected(
        (".husky", ".githooks", ".pre-commit-config.yaml", ".lefthook", ".lefthook.*", ".lefthook-local.*",
         "lefthook.yml", "lefthook.yaml", "lefthook.toml", "lefthook.json", "lefthook.jsonc", "lefthook-local.*",
         ".config/lefthook*", ".overcommit.yml", ".git-hooks", "captainhook.json", "grumphp.yml", "grumphp.yml.dist",
         "hk.pkl", "prek.toml"),
        "git hooks that are installed run what it says",
        "typicode.github.io/husky, pre-commit.com, lefthook.dev, sds/overcommit, captainhook, grumphp, hk, prek",
    ),
    Protected(
        (".hg/hgrc", ".hg/hgrc-not-shared", ".hg/sharedpath", ".sl/config", ".sl/sharedpath", ".git/sl/config",
         ".jj/repo/config.toml", ".jj/workspace-config.toml", ".bzr/branch/branch.conf", "_darcs/prefs",
         ".pijul/config"),
        "hooks, pagers and merge tools of another version control are in it",
        "hgrc(5), sapling-scm.com, jj-vcs.github.io, bzr and darcs manuals, pijul.org",
    ),
    Protected(
        (".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile", ".zshrc", ".zshenv",
         ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".login", ".inputrc", ".config/fish",
         ".pam_environment", ".xprofile", ".xinitrc", ".xsession", ".xsessionrc", ".config/autostart",
         ".config/systemd", ".config/environment.d", ".ssh", ".gnupg"),
        "shells and sessions load it, when this is a home",
        "bash(1), zsh(1), ksh(1), tcsh(1), fish(1), readline(3), systemd.unit(5), environment.d(5), ssh_config(5)",
    ),
    Protected(
        (".envrc", ".direnvrc", ".direnv", ".config/direnv", ".autoenv.zsh", ".autoenv_leave.zsh", ".rvmrc"),
        "the shell runs it on entering the directory",
        "direnv(1), github.com/nix-community/nix-direnv (it keeps what .envrc says), github.com/Tarrasch/zsh-autoenv, "
        "rvm.io",
    ),
    Protected(
        ("mise.toml", "mise.*.toml", ".mise.toml", ".mise.*.toml", "mise/config.toml", "mise/config.*.toml", ".mise",
         ".config/mise", ".config/mise.toml", ".config/mise.*.toml", ".miserc.toml", ".rtx.toml", ".tool-versions"),
        "mise or asdf takes commands and programs from it on entering the directory",
        "mise.jdx.dev/configuration.html, asdf-vm.com/manage/configuration.html (path: versions)",
    ),
    Protected(
        (".vscode/tasks.json", ".vscode/launch.json", ".vscode/settings.json", ".vscode/mcp.json",
         ".vscode/c_cpp_properties.json", ".vscode/cmake-kits.json", "*.code-workspace", ".bsp", ".ropeproject",
         ".ycm_extra_conf.py", ".theia", ".fleet", ".idea", "*.ipr", "*.iws", ".vs", ".zed", ".helix", ".nova",
         "*.sublime-project", ".externaltoolbuilders", ".devcontainer", ".devcontainer.json"),
        "an editor runs what it names when the folder is opened",
        "code.visualstudio.com/docs (tasks: runOn folderOpen; settings with paths of programs, compilerPath), "
        "build-server-protocol.github.io (argv), rope and YouCompleteMe (Python that they run), jetbrains.com/help, "
        "zed.dev/docs, docs.helix-editor.com, containers.dev (initializeCommand)",
    ),
    Protected(
        (".vimrc", ".gvimrc", "_vimrc", ".exrc", "_exrc", ".nvimrc", ".nvim.lua", ".lvimrc", ".local.vimrc", ".vim",
         ".config/nvim", ".dir-locals.el", ".dir-locals-2.el", ".emacs", ".emacs.d", ".kakrc"),
        "an editor loads it when a file is opened here",
        "vim and nvim :help exrc, github.com/embear/vim-localvimrc, Emacs manual: Directory Variables",
    ),
    Protected(
        (".gdbinit", ".lldbinit", ".pdbrc", ".rprofile", ".renviron", ".irbrc", ".pryrc", ".byebugrc",
         ".rdbgrc", ".perldb", ".ghci", ".ocamlinit",
         ".iex.exs", ".erlang", ".octaverc", ".psqlrc", ".sqliterc", ".radare2rc"),
        "a debugger or interactive interpreter runs it when started here",
        "gdb manual: Init File in the Current Directory, Python library: pdb, R help: Startup, irb, pry, byebug, "
        "debug.gem, perldebug(1), ghci, utop, iex, erl(1), octave manuals",
    ),
    Protected(
        (".npmrc", ".yarnrc", ".yarnrc.yml", ".yarn/releases", ".yarn/plugins", ".pnpmfile.cjs", ".pnpmfile.mjs",
         "node_modules/.hooks", "bunfig.toml", ".bundle/config", ".mvn", ".cargo/config", ".cargo/config.toml",
         "rust-toolchain", "rust-toolchain.toml"),
        "a package manager takes programs from it, also when an editor calls it",
        "npm: config (script-shell, git), yarnpkg.com/configuration/yarnrc (yarnPath, plugins), pnpm.io/pnpmfile, "
        "bun.sh, bundle-config(1), maven.apache.org/configure.html, doc.rust-lang.org/cargo/reference/config.html "
        "(rustc-wrapper), rust-lang.github.io/rustup/overrides.html (path)",
    ),
    Protected(
        (".mcp.json", ".claude", ".claude.json", ".cursor", ".cursorrules", ".codex", ".gemini",
         ".windsurf", ".windsurfrules", ".continue", ".continuerc.json",
         ".aider.conf.yml", ".aider.model.settings.yml", ".opencode",
         "opencode.json", "opencode.jsonc", ".crush.json", "crush.json", ".crush", ".qwen", ".roo",
         ".roorules*", ".roomodes",
         ".kilocode", ".kilocodemodes", ".clinerules", ".kiro", ".amazonq", ".junie", ".augment", ".trae", ".factory",
         ".goose", ".goosehints", ".agents", ".agent", ".amp", ".openhands", ".antigravity",
         ".github/copilot-instructions.md", ".github/hooks", ".github/mcp.json", ".github/agents"),
        "another agent takes its hooks, servers or rules from it",
        "docs of Claude Code, Cursor, Codex (trusted projects), Gemini CLI, Windsurf, Continue, aider, opencode, "
        "Crush, Qwen Code, Roo, Kilo, Cline, Kiro, Amazon Q, Junie, Augment, Trae, Factory, goose, Amp, OpenHands, "
        "Copilot",
    ),
    Protected(("akios.yaml", "akios.yml", ".akios"), "it is the policy of the next run here", "akios-policy(5)"),
)  # fmt: skip

PROTECTED_NAMES: tuple[str, ...] = tuple(name for row in TABLE for name in row.names)
_WHY = {name: row.why for row in TABLE for name in row.names}

GIT_OBEYS: tuple[tuple[str, ...], ...] = (
    ("config",), ("config.worktree",), ("hooks",), ("commondir",), ("info", "attributes"),
    ("objects", "info", "alternates"), ("rebase-merge",), ("rebase-apply",), ("sequencer",),
)  # fmt: skip
"""What git runs or obeys inside a repository's own directory, whatever that directory is called."""


NAMING_PROGRAMS: tuple[str, ...] = (
    ".git/hooks/*", ".husky/*", ".githooks/*", ".git-hooks/*", ".lefthook/*/*", ".lefthook.yml", "lefthook.yml",
    "lefthook.yaml", "lefthook.toml", "lefthook.json", "lefthook-local.yml", ".pre-commit-config.yaml",
    ".overcommit.yml", "captainhook.json", "prek.toml", ".envrc", ".autoenv.zsh", ".rvmrc", ".bashrc",
    ".bash_profile", ".profile", ".zshrc", ".zshenv", "mise.toml", ".mise.toml", ".mise/config.toml",
    ".config/mise.toml", ".vscode/tasks.json", ".vscode/mcp.json", ".devcontainer/devcontainer.json",
    ".devcontainer.json", ".zed/tasks.json", ".exrc", ".nvim.lua", ".vimrc", ".dir-locals.el", ".gdbinit",
    ".lldbinit", ".pdbrc", ".Rprofile", ".irbrc", ".yarnrc", ".yarnrc.yml", ".npmrc", ".pnpmfile.cjs",
    ".cargo/config.toml", ".mcp.json", ".claude/settings.json", ".claude/settings.local.json", ".cursor/mcp.json",
    ".cursor/hooks.json", ".codex/config.toml", ".codex/hooks.json", ".gemini/settings.json",
    ".qwen/settings.json", "opencode.json", ".crush.json",
)  # fmt: skip
"""Those protected files, relative to any directory, whose text names further programs that then
run.
"""


def why_protected(name: str) -> str:
    """What acts on this name, in one phrase; for a name that is not in the table, that the policy
    names it.
    """
    return _WHY.get(name, "the policy names it")
