"""What an agent does to a workspace: nothing until the commit, everything after it, and never more
than it may.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]

BEFORE = r"""
import os
os.makedirs("src/deep/er"); os.makedirs("gone/below"); os.mkdir("empty-goes"); os.mkdir("file-comes")
for name in ("keep", "edit", "delete", "mode", "src/a", "src/deep/er/file", "gone/below/x", "totype", "truncated"):
    with open(name, "w") as file: file.write(name)
os.chmod("mode", 0o644); os.symlink("keep", "link"); os.symlink("edit", "relink"); os.link("keep", "keep-too")
os.mkdir("café"); os.rename("delete", b"delete \xff\n")
"""

ACTIONS = r"""
import os, shutil
def write(name, text, mode="w"):
    with open(name, mode) as file: file.write(text)
write("edit", "new"); os.unlink(b"delete \xff\n"); os.chmod("mode", 0o755); shutil.rmtree("gone")
os.rmdir("empty-goes")
os.rename("src", "moved"); write("moved/deep/er/file", "and more", "a"); os.rename("moved/deep/er", "up")
os.rename("up/file", "up/renamed"); os.rename("café", "cafe")
os.mkdir("empty-new"); os.makedirs("a/b/c"); os.rename("a/b", "ab")
os.unlink("relink"); os.symlink("mode", "relink"); os.symlink("nowhere", "dangling"); os.symlink("up", "to-directory")
write("one", "shared"); os.link("one", "two"); os.link("one", "a/three")
write(b"new\nline", "x"); write(b"\xff\xfe bytes", "x"); write("esc\x1b[31m", "x"); write("x" * 255, "x")
write("-rf", "x")
os.unlink("totype"); os.mkdir("totype"); write("totype/in", "x"); os.rmdir("file-comes"); write("file-comes", "x")
os.mkdir("closed"); write("closed/file", "x"); os.chmod("closed", 0o500); write("read-only", "x")
os.chmod("read-only", 0o400)
with open("holes", "wb") as file: file.truncate(1 << 20); file.seek(1 << 19); file.write(b"middle")
os.truncate("truncated", 3); write("script", "#!/bin/sh\n"); os.chmod("script", 0o750)
"""


def in_python(daemon: Daemon, uid: int, source: str, where: Path) -> None:
    subprocess.run(
        ["/usr/bin/python3", "-c", "import os; os.umask(0o022)\n" + source],
        cwd=where,
        check=True,
        **daemon.as_user(uid),
    )


def snapshot(where: Path) -> dict[bytes, object]:
    """Everything a commit promises to keep: type, mode, content, target, and which names are one
    file.
    """
    found: dict[bytes, object] = {}
    first: dict[int, bytes] = {}
    for directory, names, files in os.walk(os.fsencode(where)):
        for name in sorted((*names, *files)):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            short = path[len(os.fsencode(where)) + 1 :]
            content: object = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif name in files:
                content = Path(os.fsdecode(path)).read_bytes()
            one = first.setdefault(status.st_ino, short) if name in files else short
            found[short] = (oct(status.st_mode), content, one, status.st_uid)
    return found


def run(daemon: Daemon, uid: int, where: Path, source: str, *flags: str) -> str:
    """Run a Python program inside; the cage's name."""
    done = daemon.run(
        "/usr/bin/python3", "-c", source, flags=["--json", *flags], uid=uid, cwd=where
    )
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stderr.splitlines()[-1])["cage"])


@pytest.mark.parametrize("uid", CALLERS)
def test_a_commit_does_what_the_agent_did(daemon: Daemon, uid: int) -> None:
    """The same program, run outside on a copy, gives the same tree: names, types, modes, contents,
    links.
    """
    where, copy = daemon.workspace(uid=uid), daemon.workspace("copy-", uid=uid)
    for place in (where, copy):
        in_python(daemon, uid, BEFORE, place)
    before = snapshot(where)
    assert before == snapshot(copy)
    cage = run(daemon, uid, where, ACTIONS)
    in_python(daemon, uid, ACTIONS, copy)
    assert snapshot(where) == before, "the workspace is untouched"
    listed = json.loads(daemon.ctl("diff", cage, "--json", uid=uid).stdout)["changes"]
    changed = {base64.b64decode(change["path_base64"]): change["kind"] for change in listed}
    after = snapshot(copy)
    assert {path for path in {*before, *after} if before.get(path) != after.get(path)} == set(
        changed
    )
    assert changed[b"new\nline"] == changed[b"\xff\xfe bytes"] == changed[b"empty-new"] == "added"
    assert (
        changed[b"delete \xff\n"] == "deleted"
        and changed[b"mode"] == "mode"
        and changed[b"totype"] == "type"
    )
    done = daemon.ctl("commit", cage, uid=uid)
    assert done.returncode == 0, done.stderr
    assert snapshot(where) == after
    assert daemon.ctl("diff", cage, uid=uid).returncode == 125, "a commit leaves nothing behind"
    assert not [name for name in os.listdir(where) if name.startswith(".akios")]


def test_a_diff_is_fit_for_a_terminal(daemon: Daemon) -> None:
    where = daemon.workspace()
    (where / "text").write_text("one\ntwo\n")
    cage = run(
        daemon,
        0,
        where,
        r"""
import os
open("text", "w").write("one\n\x1b]0;title\x07three\n"); open(b"\xff\n\x1b[2J", "w").write("x")
os.symlink(b"\x1b[31m", "link")
""",
    )
    for flags in ((), ("-p",), ("--stat",), ("--json",)):
        done = daemon.ctl("diff", *flags, cage, text=False)
        assert done.returncode == 0, done.stderr
        for character in (b"\x1b", b"\x07", b"\xff"):
            assert character not in done.stdout + done.stderr
    shown = daemon.ctl("diff", "-p", cage).stdout
    assert "\n-two\n+\\x1b]0;title\\x07three\n" in shown
    assert daemon.ctl("discard", cage).returncode == 0


@pytest.mark.parametrize("uid", CALLERS)
def test_discard_removes_the_changes_and_what_held_them(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    cage = run(daemon, uid, where, "open('new', 'w').write('x' * 1000)")
    held = [
        path
        for path in (daemon.state / "cages" / cage).iterdir()
        if path.name in ("disk.img", "kept.msgpack")
    ]
    pooled = list((daemon.state / "disk").rglob(f"*{cage}*"))
    assert held or pooled, "something holds the changes"
    done = daemon.ctl("discard", cage, uid=uid)
    assert (done.returncode, done.stdout) == (0, f"{cage}\n"), done.stderr
    assert not any(path.exists() for path in (*held, *pooled))
    assert list(where.iterdir()) == []
    for verb in ("diff", "commit", "discard"):
        assert daemon.ctl(verb, cage, uid=uid).returncode == 125
    assert cage not in daemon.ctl("ps", uid=uid).stdout


def test_modes_of_a_workspace(daemon: Daemon) -> None:
    where = daemon.workspace(uid=NOBODY)
    before = set(cages_of(daemon, NOBODY))
    done = daemon.run("sh", "-c", "touch new", flags=["--ro"], uid=NOBODY, cwd=where)
    assert done.returncode != 0 and "Read-only file system" in done.stderr
    assert (
        daemon.run(
            "sh", "-c", "touch /tmp/new ~/new", flags=["--ro"], uid=NOBODY, cwd=where
        ).returncode
        == 0
    )
    assert list(where.iterdir()) == []
    done = daemon.run("sh", "-c", "echo rw > a; exit 3", flags=["--rw"], uid=NOBODY, cwd=where)
    assert done.returncode == 3, done.stderr
    assert ((where / "a").read_text(), (where / "a").stat().st_uid) == ("rw\n", NOBODY)
    done = daemon.run("sh", "-c", "echo x > b", flags=["--commit"], uid=NOBODY, cwd=where)
    assert (where / "b").read_text() == "x\n", done.stderr
    done = daemon.run("sh", "-c", "echo x > c", flags=["--discard"], uid=NOBODY, cwd=where)
    assert done.returncode == 0 and not (where / "c").exists()
    assert set(cages_of(daemon, NOBODY)) == before, "none of these runs leaves changes to settle"


def cages_of(daemon: Daemon, uid: int) -> list[str]:
    return [line.split()[0] for line in daemon.ctl("ps", uid=uid).stdout.splitlines()[1:]]


def test_a_plain_bind_needs_the_system_policys_leave(daemon: Daemon) -> None:
    where = daemon.workspace(uid=NOBODY)
    done = daemon.run("touch", "new", flags=["--mode", "rw-direct"], uid=NOBODY, cwd=where)
    assert done.returncode == 125 and "rw-direct" in done.stderr
    assert list(where.iterdir()) == []


REFUSED = r"""
import os, socket
os.makedirs("repo/.git/hooks"); open("repo/.git/hooks/pre-commit", "w").write("x")
os.rename(".git", "was-git"); os.makedirs(".git/hooks"); open(".git/hooks/post-checkout", "w").write("x")
open("suid", "w").write("x"); os.chmod("suid", 0o4755)
open("sgid", "w").write("x"); os.chmod("sgid", 0o2755)
os.mkfifo("fifo"); socket.socket(socket.AF_UNIX).bind("socket")
for name in (".envrc", ".bashrc", ".mcp.json", "akios.yaml"): open(name, "w").write("x")
os.makedirs(".claude"); open(".claude/settings.json", "w").write("x")
os.symlink("/etc/passwd", "out"); os.symlink("../../..", "up")
open("fine", "w").write("x")
"""


@pytest.mark.parametrize("uid", CALLERS)
def test_what_a_commit_refuses(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    subprocess.run(["git", "init", "-q"], cwd=where, check=True, **daemon.as_user(uid))
    before = snapshot(where)
    cage = run(daemon, uid, where, REFUSED)
    done = daemon.ctl("commit", cage, uid=uid)
    assert done.returncode == 125 and "nothing was written" in done.stderr
    assert snapshot(where) == before
    shown = daemon.ctl("diff", cage, uid=uid).stdout
    refused = {
        line.split("  (")[0].split(" ", 1)[1] for line in shown.splitlines() if "  (" in line
    }
    # A rename is shown as one where the file system's inode numbers allow it.
    refused |= {name.split(" -> ")[0] for name in refused if name.startswith(".git/")}
    for name in (
        "repo/.git/hooks/pre-commit",
        ".git/hooks/post-checkout",
        "suid",
        "sgid",
        "fifo",
        "socket",
        ".envrc",
        ".bashrc",
        ".mcp.json",
        "akios.yaml",
        ".claude/settings.json",
        ".git/config",
        "out -> /etc/passwd",
        "up -> ../../..",
    ):
        assert name in refused, shown
    assert "fine" not in refused
    done = daemon.ctl("commit", "--skip-refused", cage, uid=uid)
    assert done.returncode == 0, done.stderr
    assert (where / "fine").read_text() == "x"
    for name in (
        "suid",
        "sgid",
        "fifo",
        "socket",
        ".envrc",
        "out",
        "up",
        ".claude/settings.json",
        "akios.yaml",
    ):
        assert not os.path.lexists(where / name), name
    assert not (where / ".git/hooks/post-checkout").exists() and (where / ".git/config").exists()
    assert not (where / "repo/.git/hooks/pre-commit").exists()
    assert daemon.ctl("diff", cage, uid=uid).returncode == 125


def test_devices_cannot_even_be_made(daemon: Daemon) -> None:
    done = daemon.run("sh", "-c", "mknod c c 1 3; mknod w c 0 0; mknod b b 7 0; ls -A", uid=0)
    assert done.stdout == "" and done.stderr.count("mknod") >= 3


@pytest.mark.parametrize("uid", CALLERS)
def test_what_the_user_changed_meanwhile(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    in_python(daemon, uid, "open('both', 'w').write('old'); open('mine', 'w').write('old')", where)
    cage = run(
        daemon, uid, where, "open('both', 'w').write('agent'); open('new', 'w').write('agent')"
    )
    in_python(
        daemon, uid, "open('both', 'w').write('user!'); open('mine', 'w').write('user!')", where
    )
    done = daemon.ctl("commit", cage, uid=uid)
    assert done.returncode == 125 and "1 change is in conflict" in done.stderr
    assert ((where / "both").read_text(), (where / "new").exists()) == ("user!", False)
    assert "both" in daemon.ctl("diff", cage, uid=uid).stdout
    assert daemon.ctl("commit", "--force", cage, uid=uid).returncode == 0
    assert [(where / name).read_text() for name in ("both", "mine", "new")] == [
        "agent",
        "user!",
        "agent",
    ]


@pytest.mark.parametrize("how", ["directory", "file", "parent"])
def test_a_link_put_in_the_way_is_not_followed(daemon: Daemon, how: str) -> None:
    """The workspace changes under the commit: what was a directory leads out of it now."""
    where, outside = daemon.workspace(uid=NOBODY), daemon.workspace("outside-", uid=NOBODY)
    in_python(
        daemon,
        NOBODY,
        "import os; os.makedirs('sub/below'); open('sub/below/file', 'w').write('old')",
        where,
    )
    (outside / "below").mkdir()
    for path in (outside / "file", outside / "below" / "file"):
        path.write_text("not yours")
        os.chown(path, NOBODY, NOBODY)
    cage = run(
        daemon,
        NOBODY,
        where,
        "open('sub/below/file', 'w').write('agent'); open('sub/below/new', 'w')",
    )
    if how == "directory":
        (where / "sub" / "below").rename(where / "sub" / "old")
        (where / "sub" / "below").symlink_to(outside)
    elif how == "parent":
        (where / "sub").rename(where / "old")
        (where / "sub").symlink_to(outside)
    else:
        (where / "sub" / "below" / "file").unlink()
        (where / "sub" / "below" / "file").symlink_to(outside / "file")
    before = snapshot(outside)
    for flags in ((), ("--skip-refused",), ("--force",)):
        daemon.ctl("commit", *flags, cage, uid=NOBODY)
        assert snapshot(outside) == before
    daemon.ctl("discard", cage, uid=NOBODY)


def test_a_commit_has_the_users_rights_and_no_more(daemon: Daemon) -> None:
    """The agent removed and replaced a file of root's; outside the directory belongs to root, and
    stays as it is.
    """
    where = daemon.workspace(uid=NOBODY)
    (where / "of-root").mkdir(mode=0o755)
    (where / "of-root" / "file").write_text("kept")
    (where / "mine").write_text("old")
    os.chown(where / "mine", NOBODY, NOBODY)
    cage = run(
        daemon,
        NOBODY,
        where,
        "import os; os.rename('of-root', 'moved'); open('mine', 'w').write('new')",
    )
    before = snapshot(where)
    done = daemon.ctl("commit", cage, uid=NOBODY)
    assert done.returncode == 125 and "written to" not in done.stdout, done.stdout
    assert snapshot(where) == before
    assert daemon.ctl("discard", cage, uid=NOBODY).returncode == 0


def test_what_became_of_changes_is_in_the_hosts_log(daemon: Daemon) -> None:
    where = daemon.workspace()
    daemon.run("touch", "kept", flags=["--commit"], cwd=where)
    daemon.run("touch", "gone", flags=["--discard"], cwd=where)
    done = daemon.ctl("ledger", "show", "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    settled = [record for record in records if record["kind"] == "cage_settled"][-2:]
    assert [(record["committed"], record.get("paths", 0)) for record in settled] == [
        (True, 1),
        (False, 0),
    ], done.stderr


def test_what_others_keep_closed_in_a_workspace_is_in_nobodys_way(daemon: Daemon) -> None:
    """A database at work beside the agent; the control: the agent's own change in such a directory
    stops the commit.
    """
    where = daemon.workspace(uid=NOBODY)
    for name, mode in (("database", 0o700), ("inbox", 0o733)):
        (where / name).mkdir()
        (where / name).chmod(mode)
    (where / "key").write_text("secret")
    (where / "key").chmod(0o600)
    cage = run(daemon, NOBODY, where, "open('mine', 'w').write('agent')")
    (where / "database" / "table").write_text("theirs")
    (where / "key").write_text("another secret")
    done = daemon.ctl("commit", cage, uid=NOBODY)
    assert done.returncode == 0, done.stderr
    assert (where / "mine").read_text() == "agent" and (
        where / "key"
    ).read_text() == "another secret"
    cage = run(
        daemon,
        NOBODY,
        where,
        "open('inbox/letter', 'w').write('agent'); open('mine', 'w').write('again')",
    )
    done = daemon.ctl("commit", cage, uid=NOBODY)
    assert done.returncode == 125 and "1 change is refused" in done.stderr, done.stdout
    assert (where / "mine").read_text() == "agent" and not (where / "inbox" / "letter").exists()
    assert daemon.ctl("discard", cage, uid=NOBODY).returncode == 0


def test_what_somebody_looks_at_is_not_destroyed_under_them(daemon: Daemon) -> None:
    """A diff of lines whose reader waits in a pager: others are told, and can settle when it is
    done.
    """
    workspace = daemon.workspace(uid=NOBODY)
    script = "i=0; while [ $i -lt 9000 ]; do echo x >long-name-$i; i=$((i+1)); done"
    assert daemon.run("sh", "-c", script, cwd=workspace, uid=NOBODY).returncode == 0
    reader = daemon.popen(
        *("diff", "-p"),
        uid=NOBODY,
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert reader.stdout is not None and reader.stdout.read(1), (
        "it has the view, and more to say than a pipe holds"
    )
    for verb in ("discard", "commit", "diff"):
        done = daemon.ctl(verb, uid=NOBODY, cwd=workspace)
        assert done.returncode == 125 and "another diff or commit is open" in done.stderr, (
            done.stderr
        )
    reader.stdout.read()
    assert reader.wait(60) == 0
    reader.stdout.close()
    assert daemon.ctl("commit", uid=NOBODY, cwd=workspace).returncode == 0
    assert len(list(workspace.iterdir())) == 9000


@pytest.mark.parametrize("place", ["/usr/src", "/usr/local/src"])
def test_a_project_below_the_systems_sources_is_a_workspace(daemon: Daemon, place: str) -> None:
    """It lies in what every cage has of the system; the control: nothing beside it can be written
    to, nor be a workspace.
    """
    with tempfile.TemporaryDirectory(prefix="akios-test-", dir=place) as name:
        where = Path(name)
        os.chown(where, NOBODY, NOBODY)
        script = f"echo in >made; echo out >{place}/akios-test-x"
        done = daemon.ctl("run", "--commit", "--", "sh", "-c", script, cwd=where, uid=NOBODY)
        assert "Read-only file system" in done.stderr
        assert (where / "made").read_text() == "in\n" and not Path(f"{place}/akios-test-x").exists()
    refused = daemon.ctl("run", "--", "true", cwd=Path(place))
    assert refused.returncode == 125 and "cannot be a workspace" in refused.stderr
