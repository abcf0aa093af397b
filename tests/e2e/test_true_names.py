"""What the log says of files: names as they were requested, with the place where they start, marked as a hint; and
what the kernel says was executed and written, which no race and no detour changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    assert report["exit_code"] == 0, report
    return daemon.events(report["cage"])


def test_requests_say_where_their_paths_start(daemon: Daemon) -> None:
    where = daemon.workspace()
    calls = [record for record in run(daemon, "python3", "-c", REQUESTS, cwd=where) if record["kind"] == "syscall"]
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
    assert "directory" not in link and link["directory2"] == f"{where}/sub/deep", "the text of a link starts nowhere"
