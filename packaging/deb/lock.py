"""Print the Python packages that akios and its build need, pinned and hashed, for pip to read.

    python lock.py pyproject.toml

Run inside a root of the suite, in an environment of its own: what pip chooses depends on the Python
and the architecture.
"""

import json
import subprocess
import sys
import tomllib


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
    needed = resolve(project["project"]["dependencies"])
    building = resolve([*project["build-system"]["requires"], "wheel"])
    print("# Written by packaging/deb/build --lock: what the package holds, and what builds it.")
    for name, (version, sha256) in sorted({**building, **needed}.items()):
        print(f"{name}=={version} --hash=sha256:{sha256}")


main(sys.argv[1])
