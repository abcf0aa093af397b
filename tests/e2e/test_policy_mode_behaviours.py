"""What hostile agents do in the ``test_attack_*`` files, in a cage without privileges: the same tests,
with the same controls, by the daemon of this file.

Where this mode answers otherwise, :data:`OTHERWISE` says why, and what looks at it instead.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import podman
from tests.e2e import test_attack_files as files
from tests.e2e import test_attack_processes as processes
from tests.e2e import test_attack_surroundings as surroundings
from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import NOBODY
from tests.e2e.policy_mode import PYTHON, PolicyModeDaemon
from tests.e2e.test_attack_calls import (  # noqa: F401  these are run here, by this module's daemon
    test_arguments_too_long_for_a_record_are_marked,
    test_calls_that_no_kernel_has_are_not_executed,
    test_no_action_keeps_its_name_from_the_log,
    test_numbers_beyond_every_table_are_refused_and_recorded,
    test_refused_calls_are_in_the_log,
)
from tests.e2e.test_attack_files import (  # noqa: F401
    secrets,
    test_a_directory_swapped_for_a_link_during_the_run_shows_nothing_new,
    test_a_socket_is_no_file_to_read,
)
from tests.e2e.test_attack_init import (  # noqa: F401
    test_signals_of_the_agent_do_not_end_the_cage,
    test_the_agent_has_stdio_and_nothing_else,
    test_the_exit_status_cannot_be_forged,
)
from tests.e2e.test_attack_processes import (  # noqa: F401
    test_daemons_do_not_outlive_the_run,
    test_every_call_with_zeros,
    test_stopped_and_deaf_processes_are_killed,
)
from tests.e2e.test_attack_surroundings import (  # noqa: F401
    test_a_crash_leaves_no_core,
    test_a_program_run_from_memory_is_confined_and_recorded,
    test_agents_can_sandbox_their_own_tools,
    test_limits_can_only_be_lowered,
    test_servers_of_the_host_cannot_be_reached,
    test_the_callers_variables_stay_outside,
    test_the_report_cannot_be_forged,
)

pytestmark = [
    pytest.mark.named_set("podman"),
    pytest.mark.skipif(bool(podman.missing()), reason=f"{podman.missing()} is not installed"),
]

OTHERWISE = {
    "files": {
        "test_dotfiles_and_neighbours_are_not_there": "they are there, and closed (below)",
        "test_files_of_the_host_are_absent_or_empty": "/proc is the container's own (below)",
        "test_nothing_of_the_system_can_be_opened_for_writing": "the uid may not (test_policy_mode)",
        "test_nothing_can_be_made_in_the_skeleton": "/tmp is closed, too (below)",
        "test_a_setuid_program_of_the_workspace_gives_nothing": "the container's no_new_privs",
        "test_setuid_programs_of_the_system_give_nothing": "the container's no_new_privs",
        "test_hard_links_do_not_leave_their_tree": "other numbers of the refusal (below)",
        "test_symlinks_of_the_workspace_lead_nowhere": "there is no cow (below)",
        "test_mount_targets_cannot_be_bent_by_links": "nothing is mounted",
        "test_hidden_paths_are_empty_and_stay_so": "refused in words (test_policy_mode)",
        "test_what_is_hidden_is_not_written_over_by_moving_away_what_leads_to_it": "so is hiding",
        "test_unix_sockets_of_the_host_cannot_be_reached": "there is no cow (below)",
        "test_locks_leases_and_pipes_do_not_cross_the_boundary": "the README says that they cross",
        "test_own_stderr_opens_by_name": "a line of the mode stands in stderr, too (below)",
    },
    "init": {
        "test_init_is_out_of_reach": "it is not process 1 (test_policy_mode, of each process)",
        "test_no_privilege_is_left": "the container's, before akiosd (test_policy_mode_podman)",
        "test_the_agent_never_runs_as_a_host_user": "the README says that all are one uid",
    },
    "processes": {
        "test_a_fork_bomb_meets_the_limit": "the limit is that of the whole uid (test_policy_mode)",
        "test_two_cages_share_nothing": "processes are seen, and nothing else (below)",
    },
    "surroundings": {
        "test_no_address_outside_has_a_route": "port 53 is the stub's (below)",
        "test_servers_inside_cannot_be_reached_from_outside": "there are none",
        "test_the_terminal_is_the_cages_own": "refused in words (test_policy_mode)",
        "test_nobody_brings_the_hosts_core_handler_back": "prlimit(2) names nobody, itself included",
        "test_one_cage_cannot_take_the_terminals_of_all": "the container's /dev/pts",
        "test_one_cage_cannot_take_the_asynchronous_requests_of_all": "the README: not counted",
        "test_socket_buffers_count_as_memory": "the README: not counted",
    },
    "calls": {
        "test_the_call_is_refused_inside_and_works_outside": "test_policy_mode_attacks",
        "test_reading_routes_works": "there is no netlink (test_policy_mode_attacks)",
    },
}
"""Test of ``test_attack_NAME.py`` → why it is not run here as it stands."""


IN_A_CONTAINER = {
    "test_every_call_with_zeros": "the container's own filter answers first",
    "test_stopped_and_deaf_processes_are_killed": "podman's words for the client are found, too",
    "test_numbers_beyond_every_table_are_refused_and_recorded": "what that filter refuses is not seen",
    "test_refused_calls_are_in_the_log": "what the container's own filter refuses is not seen",
}
"""Test → why only the bare uid runs it."""


@pytest.fixture(scope="module", params=["process", "debian", "docker"])
def daemon(request: pytest.FixtureRequest) -> Iterator[PolicyModeDaemon]:
    """Of a bare uid, and in a container under each profile."""
    if request.param == "process":
        own = PolicyModeDaemon()
    else:
        profile = podman.stricter_profile() if request.param == "docker" else ""
        own = podman.Container("", "", profile)
    try:
        yield own.start()
    finally:
        own.close()


@pytest.fixture(scope="module")
def programs(daemon: PolicyModeDaemon) -> Programs:
    return Programs(daemon)


@pytest.fixture(autouse=True)
def fitting(request: pytest.FixtureRequest) -> None:
    name = request.function.__name__
    if name in IN_A_CONTAINER and isinstance(request.getfixturevalue("daemon"), podman.Container):
        pytest.skip(IN_A_CONTAINER[name])


def test_dotfiles_and_neighbours_are_closed(
    daemon: PolicyModeDaemon,
    secrets: list[Path],  # noqa: F811
) -> None:
    command = ("cat", *map(str, secrets))
    assert daemon.outside(*command, cwd=daemon.base).stdout == "top secret\n" * len(secrets)
    inside = daemon.run(*command)
    assert (inside.stdout, inside.returncode) == ("", 1)
    assert inside.stderr.count("Permission denied") == len(secrets)


def test_of_the_host_only_proc_is_to_be_read(daemon: PolicyModeDaemon) -> None:
    """As much of it as the uid may read outside."""
    program = (*PYTHON, files.SHOWS_SOMETHING, *files.HOST_FILES)
    inside = set(daemon.run(*program).stdout.splitlines())
    assert {line for line in inside if not line.startswith("/proc/")} == set()
    control = set(daemon.outside(*program, cwd=daemon.base).stdout.splitlines())
    assert inside < control, "/etc, /sys and /var are read there"


def test_nothing_can_be_made_outside_of_its_list(daemon: PolicyModeDaemon) -> None:
    places = ("/", "/usr", "/etc", "/dev", "/proc", "/run", "/var", "/tmp", "/dev/shm", "/var/tmp")
    program = (*PYTHON, files.MAKE_THINGS)
    inside = daemon.run(*program, *places)
    assert (inside.stdout, inside.returncode) == ("", 0), inside.stderr
    control = daemon.outside(*program, str(daemon.home), cwd=daemon.base)
    assert set(control.stdout.split()) == {str(daemon.home)}


def test_links_do_not_leave_their_tree(daemon: PolicyModeDaemon) -> None:
    where, secret = daemon.workspace(), daemon.workspace()
    for path in (where / "file", secret / "data"):
        path.write_text("top secret\n")
        os.chown(path, daemon.uid, daemon.uid)
    (where / "absolute").symlink_to(secret)
    (where / "relative").symlink_to(f"../{secret.name}")
    script = f"""
import os
for a, b in (("file", "/tmp/x"), ("file", "{secret}/x"), ("{secret}/data", "z"), ("file", "in")):
    try: os.link(a, b); print("linked", b)
    except OSError: pass
"""
    assert daemon.run(*PYTHON, script, cwd=where).stdout == "linked in\n"
    through = ("sh", "-c", "cat absolute/data relative/data; ls ..; true")
    assert daemon.run(*through, cwd=where).stdout == ""
    (where / "in").unlink()
    # The controls: outside all of it is to be had.
    assert "linked z\nlinked in" in daemon.outside(*PYTHON, script, cwd=where).stdout
    assert daemon.outside(*through, cwd=where).stdout.count("top secret") == 2


def test_unix_sockets_are_not_to_be_reached(daemon: PolicyModeDaemon) -> None:
    files.test_unix_sockets_of_the_host_cannot_be_reached(daemon, NOBODY, "ro")


def test_own_stderr_opens(daemon: PolicyModeDaemon) -> None:
    script = "echo out >/dev/stdout; echo fd >/dev/fd/1; echo err >/dev/stderr"
    done = daemon.run("sh", "-c", script)
    assert done.stdout == "out\nfd\n" and "\nerr\n" in done.stderr


def test_two_cages_share_nothing_but_the_sight_of_processes(
    daemon: PolicyModeDaemon, programs: Programs
) -> None:
    where = programs.workspace("hold")
    argv = ("bash", "-c", "exec -a akios-meet-holder ./hold")
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with daemon.popen("run", "--workspace", where, "--", *argv, cwd=where, **piped) as holder:
        assert processes.read_until_held(holder) == {"abstract", "process", "held"}
        found = daemon.run("./hold", "find", cwd=where).stdout.split()
        assert set(found) == {"process", "held"}
        control = daemon.outside(where / "hold", "find", cwd=where).stdout.split()
        assert "abstract" in control
        holder.communicate(timeout=30)


def test_no_address_is_connected_to(daemon: PolicyModeDaemon) -> None:
    """At port 53 of any there is the stub, which sends nothing anywhere (test_policy_mode)."""
    inside = daemon.run(*PYTHON, surroundings.CONNECT, *surroundings.AWAY).stdout
    answers = surroundings.parse(inside)
    assert len(answers) == len(surroundings.AWAY)
    assert {word for word, said in answers.items() if said == "connected"} == {
        word for word in surroundings.AWAY if word.startswith("udp") and word.endswith(",53")
    }
    assert set(answers.values()) == {"connected", "ENETUNREACH"}
