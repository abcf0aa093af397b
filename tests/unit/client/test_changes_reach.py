"""An agent may rename, link and write as it likes, in several runs: what the host's programs reach
is never its own.

The judge knows nothing of how links are resolved here: it opens every protected name as the kernel
does, and asks git itself for its configuration and its hooks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from akiosctl.changes import DEFAULT_PROTECTED, Rules, commit, compare, make_plan, survey_workspace
from akiosctl.changes.git_config import BadConfigError, Setting, parse_config
from akiosctl.changes.names import protecting_pattern
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.client.indirect import QUICK

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

EVIL = "[core]\n\tfsmonitor = EVIL\n"
NAMES = ("env", "tools", "rc", "hooks", "inc", "releases", "sub")
OBEYED = (".envrc", ".vscode", ".yarn", ".claude", "tasks.json", ".git")
TARGETS = (
    "env",
    "tools",
    "env/rc",
    "../env/rc",
    "sub/tools",
    "rc",
    "..",
    "../tools/hooks",
    "inc",
    "{place}/env/rc",
)
CONFIGS = (
    "",
    "[core]\n\thooksPath = tools/hooks\n",
    "[include]\n\tpath = ../env/inc\n",
    "[core]\n\thooksPath = env/tools/hooks\n[include]\n\tpath = ../inc\n",
)

Step = tuple[str, str, str]
_paths = st.lists(st.sampled_from([*NAMES, *NAMES, *OBEYED]), min_size=1, max_size=3).map("/".join)
_links = st.tuples(st.just("link"), _paths, st.sampled_from(TARGETS))
_dirs = st.tuples(st.just("mkdir"), _paths, st.just(""))
_steps = st.one_of(
    _links,
    _dirs,
    st.tuples(st.just("write"), _paths, st.just(EVIL)),
    st.tuples(st.just("rename"), _paths, _paths),
    st.tuples(st.just("hard"), _paths, _paths),
    st.tuples(st.just("remove"), _paths, st.just("")),
)
_arranged = st.lists(
    st.one_of(_links, _dirs, st.tuples(st.just("write"), _paths, st.just("mine"))), max_size=6
)


def act(place: Path, real: Path, step: Step) -> None:
    """One step in ``place``; parents are made as far as that goes, and what the kernel refuses does
    not happen.

    Nor does what leads out of ``place``: in a cage there is nothing to write to.
    """
    verb, path, argument = step
    target = place / path
    ends = (
        [target.parent, (place / argument).parent]
        if verb in ("rename", "hard")
        else [target.parent]
    )
    if any(not Path(os.path.realpath(end)).is_relative_to(os.path.realpath(place)) for end in ends):
        return
    with suppress(OSError, shutil.Error):
        if verb != "remove":
            target.parent.mkdir(parents=True, exist_ok=True)
        if verb == "link":
            target.symlink_to(argument.format(place=real))
        elif verb == "mkdir":
            target.mkdir(parents=True)
        elif verb == "write":
            target.unlink(missing_ok=True)
            target.write_text(argument)
        elif verb == "rename":
            os.rename(target, place / argument)
        elif verb == "hard":
            os.link(target, place / argument, follow_symlinks=False)
        elif target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()


def make_repository(place: Path, config: str) -> None:
    for name in ("objects", "refs/heads"):
        (place / ".git" / name).mkdir(parents=True)
    (place / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (place / ".git" / "config").write_text("[core]\n\trepositoryformatversion = 0\n" + config)


def files_by_every_way(place: Path, below: str = "", depth: int = 5) -> Iterator[str]:
    """Each path by which a file can be opened, links followed, of at most ``depth`` components."""
    with suppress(OSError):
        for name in sorted(os.listdir(place / below)):
            path = f"{below}/{name}" if below else name
            if os.path.isfile(place / path):
                yield path
            elif depth > 1 and os.path.isdir(place / path):
                yield from files_by_every_way(place, path, depth - 1)


def reached(place: Path) -> list[str]:
    """What programs outside would find of the agent's."""
    found = []
    for path in files_by_every_way(place):
        if (
            protecting_pattern(os.fsencode(path), DEFAULT_PROTECTED)
            and "EVIL" in (place / path).read_text()
        ):
            found.append(path)
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    words = (["config", "--list", "--includes"], ["rev-parse", "--git-path", "hooks"])
    config, hooks = (
        subprocess.run(["git", *word], cwd=place, env=env, capture_output=True, text=True).stdout
        for word in words
    )
    found += [line for line in config.splitlines() if "EVIL" in line]
    if hooks:
        hook_files = files_by_every_way(place / hooks.rstrip("\n"), depth=1)
        found += [
            name for name in hook_files if "EVIL" in (place / hooks.rstrip("\n") / name).read_text()
        ]
    return found


def commit_all_that_may_be(place: Path, view: Path, survey: bool) -> None:
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (place, view)]
    try:
        diff = compare(*fds)
        found = survey_workspace(*fds, diff) if survey else None
        rules = Rules(root=os.fsencode(place), survey=found, allow_escaping_links=True)
        assert commit(*fds, make_plan(diff, rules, skip_refused=True)).failure is None
    finally:
        for fd in fds:
            os.close(fd)


def history(
    config: str, arranged: list[Step], runs: list[list[Step]], survey: bool = True
) -> list[str]:
    with tempfile.TemporaryDirectory(dir=QUICK) as base:
        place, view = Path(base, "place"), Path(base, "view")
        place.mkdir()
        make_repository(place, config)
        for step in arranged:
            act(place, place, step)
        for run in runs:
            shutil.copytree(place, view, symlinks=True)
            for step in run:
                act(view, place, step)
            commit_all_that_may_be(place, view, survey)
            shutil.rmtree(view)
        return reached(place)


EVIL_RC: Step = ("write", "env/rc", EVIL)
TWO_RUNS: list[list[Step]] = [[EVIL_RC], [("link", "tools", "env")]]


@needs_git
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(CONFIGS),
    _arranged,
    st.lists(st.lists(_steps, max_size=6), min_size=1, max_size=3),
)
@example("", [("link", ".envrc", "env/rc")], [[("write", "env/rc", EVIL)]])
@example("", [("link", ".envrc", "tools/rc")], TWO_RUNS)
@example("", [("link", ".envrc", "..")], [[("write", "env", EVIL)]])
@example(CONFIGS[1], [], [[("write", "env/hooks/x", EVIL)], [("link", "tools", "env")]])
@example(CONFIGS[2], [], [[("write", "tools/inc", EVIL)], [("link", "env", "tools")]])
@example("", [], [[("write", "tools/releases", EVIL), ("link", ".yarn", "tools")]])
@example(
    "", [("link", "env", "sub"), ("link", ".envrc", "env/rc")], [[("remove", "env", ""), EVIL_RC]]
)
def test_nothing_of_the_agents_is_reached(
    config: str, arranged: list[Step], runs: list[list[Step]]
) -> None:
    assert history(config, arranged, runs) == []


@needs_git
@pytest.mark.named_set("histories")
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(CONFIGS),
    _arranged,
    st.lists(st.lists(_steps, max_size=10), min_size=1, max_size=4),
)
def test_nothing_of_the_agents_is_reached_in_many(
    config: str, arranged: list[Step], runs: list[list[Step]]
) -> None:
    assert history(config, arranged, runs) == []


@needs_git
@pytest.mark.parametrize(
    ("config", "arranged", "runs"),
    [
        ("", [("link", ".envrc", "env/rc")], [[("write", "env/rc", EVIL)]]),
        ("", [("link", ".envrc", "tools/rc")], TWO_RUNS),
        (CONFIGS[1], [], [[("write", "tools/hooks/x", EVIL)]]),
        (CONFIGS[2], [], [[("write", "env/inc", EVIL)]]),
    ],
)
def test_names_alone_would_not_do(
    config: str, arranged: list[Step], runs: list[list[Step]]
) -> None:
    """The control: the judge sees what comes through when only names are looked at."""
    assert history(config, arranged, runs, survey=False) != []


_PIECES = (
    b"[core]\n", b'[Core "Su\\"b"]', b"[a.B]", b"\nkey = ", b"\nhooksPath=", b"v", b" ", b"\t", b"\n", b'"',
    b"\\\\", b"\\n", b"\\q", b"\\\n", b"#", b"; c", b"x y", b"\r\n", b"\r", b"]", b"\xc3\xa9", b"\f",
    b'"q # r"', b"\n\tlast",
)  # fmt: skip


@needs_git
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=12))
def test_configuration_is_read_as_git_reads_it(pieces: list[bytes]) -> None:
    data = b"[s]\n" + b"".join(pieces)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = ["git", "config", "-f", file.name, "--no-includes", "-z", "--list"]
        done = subprocess.run(command, cwd="/", capture_output=True)
    if done.returncode != 0:
        with pytest.raises(BadConfigError):
            parse_config(data)
        return
    assert [plain(line_of(one)) for one in parse_config(data)] == list(
        map(plain, done.stdout.split(b"\0")[:-1])
    )


def line_of(setting: Setting) -> bytes:
    middle = b"" if setting.subsection is None else b"." + setting.subsection
    name = setting.section.encode() + middle + b"." + setting.key.encode()
    return name if setting.value is None else name + b"\n" + setting.value


def plain(line: bytes) -> bytes:
    """Old versions of git make a space of each tab in a value."""
    return line.replace(b"\t", b" ").replace(b"\r", b" ")
