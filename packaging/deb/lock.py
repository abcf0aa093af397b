"""Print the Python packages that akios, what it can be extended by, and its build need, pinned and
hashed, for pip to read.

    python lock.py pyproject.toml

Run inside a root of the suite, in an environment of its own: what pip chooses depends on the Python
and the architecture.  A line `# NAME` begins the part of each Debian package.
"""

import json
import subprocess
import sys
import tomllib

EXTRAS = ("workflow", "api")
"""Extras of pyproject.toml that are Debian packages of their own: akios-workflow, akios-api."""


def resolve(names: list[str]) -> dict[str, tuple[str, str]]:
    """name → (version, sha256) of all that ``pip install NAMES`` would install here."""
    words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, *names]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {
        item["metadata"]["name"].lower(): (
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hash"].removeprefix("sha256="),
        )
        for item in answer["install"]
    }


def main(path: str) -> None:
    with open(path, "rb") as file:
        project = tomllib.load(file)
    base = project["project"]["dependencies"]
    extras = project["project"]["optional-dependencies"]
    tools = [*project["build-system"]["requires"], "wheel"]
    # Resolved at once, so that one version of each serves all.
    versions = resolve([*base, *tools, *(name for extra in EXTRAS for name in extras[extra])])
    needed = set(resolve(base))
    more = {extra: set(resolve([*base, *extras[extra]])) - needed for extra in EXTRAS}
    # Two Debian packages cannot hold the same file: what each extra needs lies in akios.
    needed |= set.intersection(*more.values())
    parts = {"akios": needed}
    parts.update({f"akios-{extra}": names - needed for extra, names in more.items()})
    parts["build"] = set(versions) - set().union(*parts.values())
    print("# Written by packaging/deb/build --lock: what each package holds, and what builds them.")
    for part, names in parts.items():
        print(f"# {part}")
        for name in sorted(names):
            version, sha256 = versions[name]
            print(f"{name}=={version} --hash=sha256:{sha256}")


main(sys.argv[1])
