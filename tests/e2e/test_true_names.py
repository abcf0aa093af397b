"""What the log says of files: names as they were requested, with the place where they start, marked
as a hint; and what the kernel says was executed and written, which no race and no detour changes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
from akiosd.values.policy import DEFAULT_POLICY, Syscalls

from tests.e2e import hostile
from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import Daemon

REQUESTS = """
import os
os.makedirs("sub/deep")
fd = os.open("sub", os.O_RDONLY)
os.close(os.open("plain", os.O_WRONLY | os.O_CREAT))
os.close(os.open("deep/by_fd", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
os.chdir("sub/deep")
os.close(os.open("by_cwd", os.O_WRONLY | os.O_CREAT))
os.close(os.open("/tmp/absolute", os.O_WRONLY | os.O_CREAT))
os.rename("by_cwd", "deep/moved", dst_dir_fd=fd)
held = os.open("/tmp/absolute", os.O_RDONLY)
os.fchmod(held, 0o600)
os.close(os.open(f"/proc/self/fd/{held}", os.O_WRONLY))
os.close(os.open(f"/dev/fd/{held}", os.O_WRONLY))
os.symlink("text of a link", "link")
os.close(os.open("/proc/self/cwd/by_magic", os.O_WRONLY | os.O_CREAT))
"""


def run(daemon: Daemon, *argv: str, cwd: Path, **more: Any) -> list[dict[str, Any]]:
    """The records of a run that is to succeed."""
    report = daemon.report(*argv, cwd=cwd, flags=["--discard", *more.pop("flags", ())], **more)
    assert report.get("exit_code") == 0, report
    return daemon.events(report["cage"])


def test_requests_say_where_their_paths_start(daemon: Daemon) -> None:
    where = daemon.workspace()
    calls = [
        record
        for record in run(daemon, "python3", "-c", REQUESTS, cwd=where)
        if record["kind"] == "syscall"
    ]
    assert {record["verdict"] for record in calls} <= {"requested", "denied"}
    starts = {record["path"]: record.get("directory") for record in calls if "path" in record}
    assert starts["plain"] == str(where)
    assert starts["deep/by_fd"] == f"{where}/sub"
    assert starts["by_cwd"] == f"{where}/sub/deep"
    assert starts["/tmp/absolute"] is None
    assert starts["/proc/self/cwd/by_magic"] == f"{where}/sub/deep"
    through = [path for path in starts if path.startswith(("/proc/self/fd/", "/dev/fd/"))]
    assert [starts[path] for path in through] == ["/tmp/absolute"] * 2
    [rename] = [record for record in calls if record["name"].startswith("rename")]
    assert (rename["directory"], rename["directory2"]) == (f"{where}/sub/deep", f"{where}/sub")
    [chmod] = [record for record in calls if record["name"] == "fchmod"]
    assert chmod["directory"] == "/tmp/absolute" and chmod["args"][1] == 0o600
    [link] = [record for record in calls if record["name"].startswith("symlink")]
    assert "directory" not in link and link["directory2"] == f"{where}/sub/deep", (
        "the text of a link starts nowhere"
    )


def used(records: list[dict[str, Any]], use: str) -> list[str]:
    return [
        record["path"]
        for record in records
        if record["kind"] == "file_used" and record["use"] == use
    ]


def test_a_raced_path_is_told_by_the_kernel(daemon: Daemon, programs: Programs) -> None:
    """The pointer changes after the pump has read it.  The control: some requests do name the wrong
    file.
    """
    opens, execs = 1500, 100
    where = programs.workspace("race")
    for letter, program in (("a", "/usr/bin/false"), ("b", "/usr/bin/true")):
        (where / letter).mkdir()
        shutil.copy(program, where / letter / "x0")
        for number in range(1, execs):
            (where / letter / f"x{number}").hardlink_to(where / letter / "x0")
    report = daemon.report(
        "sh", "-c", f"./race {where} {opens} {execs} > truth", cwd=where, flags=["--commit"]
    )
    assert report.get("exit_code") == 0, report
    truth = [line.split() for line in (where / "truth").read_text().splitlines()]
    really = {f"{where}/{letter}/{name}" for name, letter in truth}
    assert len(really) == opens + execs
    records = daemon.events(report["cage"])
    told = {path for use in ("written", "executed") for path in used(records, use)}
    assert {path for path in told if path.startswith((f"{where}/a/", f"{where}/b/"))} == really
    asked = {
        record["path"] for record in records if record["kind"] == "syscall" and "path" in record
    }
    for kind in "wx":
        wrong = [path for path in really - asked if path.rpartition("/")[2].startswith(kind)]
        assert wrong, "the control: the race was never won"


DETOURS = """
import os
os.makedirs("tools")
for name in ("plain", "by_fd", "by_magic"):
    open(f"tools/{name}", "wb").write(open("/usr/bin/true", "rb").read())
    os.chmod(f"tools/{name}", 0o755)
open("tools/script", "w").write("#!/usr/bin/env sh\\n: > said\\n")
os.chmod("tools/script", 0o755)
def run(work):
    if (child := os.fork()) == 0:
        work()
    assert os.waitpid(child, 0)[1] == 0
os.chdir("tools")
run(lambda: os.execv("./plain", ["x"]))
fd = os.open("by_fd", os.O_RDONLY)
os.set_inheritable(fd, True)
run(lambda: os.execve(fd, ["x"], {}))
held = os.open("by_magic", os.O_RDONLY)
run(lambda: os.execv(f"/proc/self/fd/{held}", ["x"]))
run(lambda: os.execv("script", ["x"]))
target = os.open("/tmp/written", os.O_RDWR | os.O_CREAT)
os.close(os.open(f"/proc/self/fd/{target}", os.O_WRONLY))
os.close(target)
open("/dev/shm/shared", "w").close()
open(os.path.expanduser("~/of_home"), "w").close()
open("only_read", "a").close()
os.close(os.open("only_read", os.O_RDONLY))
try:
    os.execv("./missing", ["x"])
except FileNotFoundError:
    pass
"""


def test_every_detour_ends_at_a_name(daemon: Daemon) -> None:
    where = daemon.workspace()
    records = run(daemon, "python3", "-c", DETOURS, cwd=where)
    executed, written = used(records, "executed"), used(records, "written")
    tools = [path for path in executed if path.startswith(f"{where}/tools/")]
    assert tools == [f"{where}/tools/{name}" for name in ("plain", "by_fd", "by_magic", "script")]
    after = executed[executed.index(f"{where}/tools/script") :]
    assert "/usr/bin/env" in after and any(
        path in ("/usr/bin/dash", "/usr/bin/bash") for path in after
    )
    assert {
        "/tmp/written",
        "/dev/shm/shared",
        f"{where}/tools/said",
        f"{where}/tools/only_read",
    } <= set(written)
    assert any(path.endswith("/of_home") for path in written)
    assert not any("missing" in path for path in executed)


def test_what_was_told_stands_before_the_end(daemon: Daemon) -> None:
    """Also of an agent that ends at once, and of one that is killed."""
    script = "cp /usr/bin/true late; ./late; : > last; kill -9 $$"
    where = daemon.workspace()
    report = daemon.report("sh", "-c", script, cwd=where, flags=["--discard"])
    records = daemon.events(report["cage"])
    assert records[-1]["kind"] == "end"
    assert f"{where}/late" in used(records, "executed") and f"{where}/last" in used(
        records, "written"
    )


def test_without_a_trace_nothing_is_told() -> None:
    own = Daemon(system_policy="syscalls: {trace: none}\n")
    try:
        own.start()
        policy = msgspec.structs.replace(DEFAULT_POLICY, syscalls=Syscalls(trace="none"))
        done = hostile.run(own.socket, 0, ": > /ws/file", own.workspace(), policy=policy)
        assert done.exit_code == 0, done
        assert not [
            record for record in own.events(done.cage) if record["kind"] in ("file_used", "syscall")
        ]
    finally:
        own.close()


def test_the_posture_says_who_tells(daemon: Daemon) -> None:
    [birth] = [
        record
        for record in run(daemon, "true", cwd=daemon.workspace())
        if record["kind"] == "birth"
    ]
    assert ["files", "enforced"] in [
        [layer["layer"], layer["status"]] for layer in birth["posture"]
    ]
