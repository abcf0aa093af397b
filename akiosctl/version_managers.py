"""Knows where version managers install, and which version a directory selects.

Nothing of a manager is run: its shims are scripts that would look for their own files inside the
cage. Their version files are read instead, and the shim directory in PATH is replaced by the
directories that it stands for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from akiosctl.open_regular import read_head

# A tree with one of these at its top is somebody's home, whatever it is called.
_PRIVATE_NAMES = (
    ".ssh",
    ".aws",
    ".gnupg",
    ".netrc",
    ".kube",
    ".docker",
    ".git-credentials",
    ".bash_history",
)
# Below a home: what is never shown, whoever's configuration leads there.
SECRET_NAMES = (*_PRIVATE_NAMES, ".password-store", ".mozilla", ".config/gh", ".config/gcloud")
_TOO_WIDE = (
    *(
        "/",
        "/bin",
        "/boot",
        "/data",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib64",
        "/media",
        "/mnt",
        "/nix",
        "/opt",
    ),
    *(
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/srv",
        "/sys",
        "/tmp",
        "/usr",
        "/var",
        "/var/lib",
        "/var/tmp",
    ),
)
# manager → (variable that names versions, file that names versions)
_ENV_MANAGERS = {
    "pyenv": ("PYENV_VERSION", ".python-version"),
    "rbenv": ("RBENV_VERSION", ".ruby-version"),
    "nodenv": ("NODENV_VERSION", ".node-version"),
}
# What stands at the top of an installation of Python, and of nothing else that could be shown with
# it.
_INSTALLATION = frozenset((
    *("bin", "lib", "lib32", "lib64", "libexec", "include", "share", "man", "ssl", "conda-meta"),
    "python.json",
    *("licenses", "license", "license.txt", "readme", "readme.txt", "readme.md"),
))  # fmt: skip
_VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]*(/envs/[A-Za-z0-9][A-Za-z0-9._+@-]*)?\Z")


class Host(NamedTuple):
    """What the search knows: the caller's environment, home, working directory and workspace
    (absolute paths).  ``is_foreign``: the last two are somebody else's word, and so is what lies
    there.
    """

    env: Mapping[str, str]
    home: str
    cwd: str
    workspace: str
    is_foreign: bool = False


class Root(NamedTuple):
    """Below ``path`` each tool is a tree ``depth`` levels down; ``why`` names the manager."""

    path: str
    depth: int
    why: str


def known_roots(host: Host) -> list[Root]:
    """The places of the managers known here, as named and as they really are."""
    home, env = host.home, host.env
    data = env.get("XDG_DATA_HOME") or f"{home}/.local/share"
    volta = f"{env.get('VOLTA_HOME') or home + '/.volta'}/tools/image"
    roots = [
        Root(f"{manager_home(host, 'PYENV_ROOT', '.pyenv')}/versions", 1, "pyenv"),
        Root(f"{manager_home(host, 'RBENV_ROOT', '.rbenv')}/versions", 1, "rbenv"),
        Root(f"{manager_home(host, 'NODENV_ROOT', '.nodenv')}/versions", 1, "nodenv"),
        Root(f"{manager_home(host, 'NVM_DIR', '.nvm')}/versions/node", 1, "nvm"),
        Root(env.get("UV_PYTHON_INSTALL_DIR") or f"{data}/uv/python", 1, "uv python"),
        Root(env.get("UV_TOOL_DIR") or f"{data}/uv/tools", 1, "uv tool"),
        Root(f"{data}/pipx/venvs", 1, "pipx"),
        Root(f"{home}/.local/pipx/venvs", 1, "pipx"),
        Root(f"{env.get('FNM_DIR') or data + '/fnm'}/node-versions", 1, "fnm"),
        *(Root(f"{volta}/{tool}", 1, "volta") for tool in ("node", "npm", "yarn", "pnpm")),
        Root(f"{manager_home(host, 'ASDF_DATA_DIR', '.asdf')}/installs", 2, "asdf"),
        Root(f"{env.get('MISE_DATA_DIR') or data + '/mise'}/installs", 2, "mise"),
        Root(f"{manager_home(host, 'RUSTUP_HOME', '.rustup')}/toolchains", 1, "rustup"),
        Root(f"{manager_home(host, 'CARGO_HOME', '.cargo')}/bin", 0, "cargo"),
        Root(f"{home}/.sdkman/candidates", 2, "sdkman"),
        Root(f"{home}/sdk", 1, "go"),
        Root(f"{env.get('GOPATH') or home + '/go'}/bin", 0, "go"),
        Root(f"{home}/.bun/bin", 0, "bun"),
        Root(f"{home}/.deno/bin", 0, "deno"),
        Root(f"{data}/claude/versions", 1, "claude"),
        Root("/home/linuxbrew/.linuxbrew", 0, "homebrew"),
        Root("/nix/store", 0, "nix"),
        Root("/opt", 1, "/opt"),
    ]
    real = [
        Root(os.path.realpath(root.path), root.depth, root.why)
        for root in roots
        if os.path.isdir(root.path)
    ]
    return list(dict.fromkeys(roots + real))


def manager_home(host: Host, variable: str, default: str) -> str:
    """A manager's directory, from its variable when that is absolute, else below the home
    directory.
    """
    value = host.env.get(variable, "")
    return value.rstrip("/") if value.startswith("/") else f"{host.home}/{default}"


def is_below(path: str, tree: str) -> bool:
    """Whether ``path`` is ``tree`` or below it."""
    return path == tree or path.startswith(tree.rstrip("/") + "/")


def is_private(tree: str, home: str) -> bool:
    """Whether ``tree`` must not be shown: a home, an ancestor of one, a place shared by many
    things.
    """
    real = os.path.realpath(tree)
    for path in {tree, real}:
        if path in _TOO_WIDE or is_below(home, path) or is_below(os.path.realpath(home), path):
            return True
    return any(os.path.lexists(f"{real}/{name}") for name in _PRIVATE_NAMES)


def installed_tree(
    path: str, roots: list[Root], host: Host, *, trusted: bool
) -> tuple[str, str] | None:
    """The smallest tree that holds the installation ``path`` belongs to, and why, or ``None``.

    Known places first; then by shape: a Python installation, its standard library beside it.  Only
    when the caller's own environment led here (``trusted``) and no file of the workspace: anything
    in /opt, npm's packages, a venv, a conda environment, and a Python that stands among other
    things.
    """
    for root in roots:
        if is_below(path, root.path) and (trusted or root.why != "/opt"):
            parts = path[len(root.path) :].strip("/").split("/")
            tree = "/".join([root.path, *parts[: root.depth]])
            if (not root.depth or (len(parts) >= root.depth and parts[0])) and not is_private(
                tree, host.home
            ):
                return tree, root.why
    if trusted and "/node_modules/" in path:
        # Packages find each other in the outermost directory of this name, whoever's bin/ leads to
        # one of them.
        tree = path[: path.index("/node_modules/")] + "/node_modules"
        if not is_private(tree, host.home):
            return tree, "npm"
    tree = path
    for _ in range(4):
        tree = os.path.dirname(tree)
        why = _shape(tree, trusted)
        if why and not is_private(tree, host.home):
            return tree, why
    return None


def _shape(tree: str, trusted: bool) -> str:
    if trusted and os.path.isfile(f"{tree}/pyvenv.cfg"):
        return "venv"
    if trusted and os.path.isdir(f"{tree}/conda-meta"):
        return "conda"
    if os.path.isdir(f"{tree}/bin") and os.path.isdir(f"{tree}/lib"):
        if not trusted and not _INSTALLATION.issuperset(name.lower() for name in _list(tree)):
            return ""
        names = _list(f"{tree}/lib")
        if any(
            name.startswith("python") and os.path.isfile(f"{tree}/lib/{name}/os.py")
            for name in names
        ):
            return "python"
    return ""


def stands_for(directory: str, host: Host) -> list[str] | None:
    """The directories that a PATH entry of a manager stands for, best first; ``None``: it is an
    ordinary one.
    """
    parent, name = os.path.split(directory)
    if name == "shims":
        for manager in _ENV_MANAGERS:
            if os.path.isdir(f"{parent}/versions") and _is_manager(parent, manager):
                return _env_manager_bins(parent, manager, host)
        if os.path.basename(os.path.dirname(parent)) == "plugins":
            return []
        if os.path.isdir(f"{parent}/installs"):
            return _tool_versions_bins(f"{parent}/installs", host)
    if name == "bin":
        if any(
            _is_manager(parent, manager) and os.path.isdir(f"{parent}/versions")
            for manager in _ENV_MANAGERS
        ):
            return []
        if os.path.isdir(f"{parent}/tools/image"):
            return _volta_bins(parent)
        if directory == f"{manager_home(host, 'CARGO_HOME', '.cargo')}/bin":
            return [*_rustup_bins(host), directory]
    return None


def _is_manager(root: str, manager: str) -> bool:
    return os.path.basename(root).lstrip(".") == manager or os.path.exists(
        f"{root}/libexec/{manager}"
    )


def _env_manager_bins(root: str, manager: str, host: Host) -> list[str]:
    """What pyenv(1) selects: the variable, the version file of the directory or one above, the
    global file.
    """
    variable, file_name = _ENV_MANAGERS[manager]
    names = host.env.get(variable, "").replace(":", " ").split()
    if not names:
        texts = [_read(f"{place}/{file_name}") for place in _version_places(host)] + [
            _read(f"{root}/version")
        ]
        names = next((words for words in map(_words, texts) if words), [])
    bins = []
    for name in names:
        tree = _version_directory(f"{root}/versions", name)
        if tree:
            bins.append(f"{tree}/bin")
    return bins


def _version_directory(versions: str, name: str) -> str | None:
    """``3.11.7`` itself, or for a prefix such as ``3.11`` the highest installed version that it
    begins.
    """
    if not _VERSION_NAME.match(name) or ".." in name:
        return None
    if os.path.isdir(f"{versions}/{name}"):
        return f"{versions}/{name}"
    candidates = [
        entry for entry in _list(versions) if re.fullmatch(re.escape(name) + r"\.\d+", entry)
    ]
    return f"{versions}/{max(candidates, key=_version_key)}" if candidates else None


def _version_key(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _tool_versions_bins(installs: str, host: Host) -> list[str]:
    """asdf and mise: ``.tool-versions`` of each directory upwards and of the home; the nearest line
    of a tool wins.
    """
    chosen: dict[str, str] = {}
    for place in [*_version_places(host), host.home]:
        for line in _read(f"{place}/.tool-versions").splitlines():
            words = _words(line)
            if len(words) > 1:
                chosen.setdefault(words[0], words[1])
    if not chosen:
        # mise's own files are TOML of many shapes; its "latest" links stand for what it would most
        # likely choose.
        chosen = {
            tool: "latest" for tool in _list(installs) if os.path.isdir(f"{installs}/{tool}/latest")
        }
    found = []
    for tool, version in chosen.items():
        tree = f"{installs}/{tool}/{version}"
        if _VERSION_NAME.match(tool) and _VERSION_NAME.match(version) and os.path.isdir(tree):
            found.append(f"{tree}/bin" if os.path.isdir(f"{tree}/bin") else tree)
    return found


def _volta_bins(root: str) -> list[str]:
    # Imported here: few need it, and every run waits for this file.
    import json

    try:
        platform = json.loads(_read(f"{root}/tools/user/platform.json") or "{}")
        node = platform.get("node", {}).get("runtime", "")
        versions = {
            "node": node,
            "npm": platform.get("node", {}).get("npm"),
            "yarn": platform.get("yarn"),
        }
    except (ValueError, AttributeError):
        return []
    trees = [
        f"{root}/tools/image/{tool}/{version}"
        for tool, version in versions.items()
        if isinstance(version, str)
    ]
    return [f"{tree}/bin" for tree in trees if os.path.isdir(f"{tree}/bin")]


def _rustup_bins(host: Host) -> list[str]:
    """The toolchain rustup's proxies would start: the variable, a toolchain file upwards, the
    default.
    """
    rustup = manager_home(host, "RUSTUP_HOME", ".rustup")
    names = [host.env.get("RUSTUP_TOOLCHAIN", "")]
    for place in _version_places(host):
        plain = _words(_read(f"{place}/rust-toolchain"))
        names += plain[:1] if plain and not plain[0].startswith("[") else []
        names += re.findall(
            r'(?m)^[ \t]*channel[ \t]*=[ \t]*"([^"\n]+)"', _read(f"{place}/rust-toolchain.toml")
        )
    names += re.findall(
        r'(?m)^[ \t]*default_toolchain[ \t]*=[ \t]*"([^"\n]+)"', _read(f"{rustup}/settings.toml")
    )
    for name in filter(None, names):
        if _VERSION_NAME.match(name):
            for entry in _list(f"{rustup}/toolchains"):
                if entry == name or entry.startswith(name + "-"):
                    return [f"{rustup}/toolchains/{entry}/bin"]
    return []


def _version_places(host: Host) -> Iterator[str]:
    """The directories whose version files count, the nearest first; none of a foreign run, whose
    files would choose among the installations of this user.
    """
    return iter(()) if host.is_foreign else _upwards(host.cwd)


def _upwards(path: str) -> Iterator[str]:
    while path not in ("/", ""):
        yield path
        path = os.path.dirname(path)


def _words(text: str) -> list[str]:
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]


def _read(path: str) -> str:
    """The text of a small regular file, empty when there is none.  Version files may be the agent's
    work.
    """
    return read_head(path, 64 * 1024).decode("utf-8", "replace")


def _list(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
