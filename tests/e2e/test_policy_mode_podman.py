"""The same in a container, as its README says to run it: under Debian's seccomp profile, and under
one as strict as Docker's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import podman
from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import REPO
from tests.e2e.models import Models
from tests.e2e.policy_mode import PolicyModeDaemon
from tests.e2e.test_attack_calls import ANSWERS
from tests.e2e.test_policy_mode import (  # noqa: F401  these are run here, by this module's host
    models,
    set_key,
    settings_of,
    site,
    test_a_workspace_around_akiosd_itself_is_refused,
    test_an_agent_can_do_nothing_to_others_of_its_uid,
    test_an_agent_has_the_files_of_its_list_and_no_others,
    test_an_agent_raises_no_limit,
    test_an_agent_that_signals_everybody_reaches_its_own,
    test_names_outside_of_the_list_do_not_exist,
    test_nothing_is_reached_but_the_gateway,
    test_posture_says_line_by_line_who_enforces,
    test_the_end_of_an_agent_is_the_end_of_all_it_started,
    test_unmodified_programs_speak_through_the_gateway,
    test_what_the_mode_has_not_is_refused_in_words,
    victim,
    wait_for,
)
from tests.e2e.test_policy_mode_attacks import OTHERWISE, outside
from tests.e2e.upstreams import Upstream

README = REPO / "packaging" / "docker" / "README.md"

pytestmark = [
    pytest.mark.named_set("podman"),
    pytest.mark.skipif(bool(podman.missing()), reason=f"{podman.missing()} is not installed"),
]


@pytest.fixture(scope="module", params=["debian", "docker"])
def host(
    request: pytest.FixtureRequest,
    models: Models,  # noqa: F811
    site: Upstream,  # noqa: F811
) -> Iterator[PolicyModeDaemon]:
    profile = podman.stricter_profile() if request.param == "docker" else ""
    own = podman.Container(*settings_of(models, site), profile)
    try:
        own.start()
        set_key(own)
        yield own
    finally:
        own.close()


@pytest.fixture(scope="module")
def programs(host: PolicyModeDaemon) -> Programs:
    return Programs(host)


def test_the_container_has_no_privilege(host: podman.Container) -> None:
    """What the tests rest on: else they would show what another container holds."""
    done = host.outside("cat", "/proc/self/status", cwd=host.base)
    fields = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(podman.UID)] * 4
    assert {fields[name].strip("0") for name in ("CapPrm", "CapEff", "CapBnd")} == {""}
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
    assert host.outside("touch", "/usr/x", cwd=host.base).returncode == 1


@pytest.mark.parametrize("program", ANSWERS)
def test_hostile_calls_are_refused(
    programs: Programs, host: podman.Container, program: str
) -> None:
    """What the container's own filter refuses never comes to the cage's; there its answer is
    taken, and elsewhere the cage's.
    """
    wanted = {name.lstrip("*"): answer for name, answer in ANSWERS[program].items()}
    wanted |= {name: answer for name, answer in OTHERWISE.items() if name in wanted}
    found = programs.inside(program, list(wanted))
    free = [name.lstrip("*") for name in ANSWERS[program] if name.startswith("*")]
    control = {name: outside(host, str(programs.path(program)), name) for name in free}
    by_container = {"EPERM", "ENOSYS", "EINVAL", "EACCES"}
    other = {
        name: answer
        for name, answer in found.items()
        if answer != wanted[name]
        and not (answer in by_container and name not in control)
        and not (answer in by_container and control.get(name) == answer)
    }
    assert other == {}
    # The rest was to be had outside: it is the cage that refuses it.  A profile may leave nothing of
    # namespaces and mounts.
    had = {name for name in free if control[name] not in (*by_container, found[name])}
    assert had or program == "spaces"


def test_the_words_of_its_readme(tmp_path: Path) -> None:
    """As README.md beside the Dockerfile says, with nothing of these tests' own."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "agent.py").write_text("open('made', 'w').write('x'); print('hello')\n")
    for path in (work, work / "agent.py"):
        os.chown(path, podman.UID, podman.UID)
    name = f"akios-test-{tmp_path.name}-{os.getpid()}"
    words = re.search(r"podman run (.*?)\npodman exec", README.read_text(), re.DOTALL)
    assert words is not None
    said = words[1].replace("\\\n", " ").replace("--name akios ", f"--name {name} ")
    said = said.replace("akios-state:", f"{name}:").replace("./work:", f"{work}:")
    run = [podman.build_image() if word == "akios" else word for word in said.split()]
    # What this host, not the README, asks for.
    here = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--network", "none")
    try:
        podman.podman("run", *here, *run)
        ask = ("exec", "--workdir", "/work", name, "akiosctl")
        wait_for(
            lambda: "by the kernel: ABI" in podman.podman(*ask, "doctor", check=False).stdout, 60
        )
        done = podman.podman(*ask, "run", "--", "python3", "agent.py")
        assert done.stdout == "hello\n" and (work / "made").stat().st_uid == podman.UID
        podman.podman("restart", "--time", "20", name)
        wait_for(
            lambda: "by the kernel: ABI" in podman.podman(*ask, "doctor", check=False).stdout, 60
        )
        assert "python3 agent.py" in podman.podman(*ask, "ps", "--all").stdout
        assert podman.podman(*ask, "ledger", "verify").returncode == 0
    finally:
        podman.podman("rm", "--force", "--volumes", "--time", "20", name, check=False)
        podman.podman("volume", "rm", "--force", name, check=False)
