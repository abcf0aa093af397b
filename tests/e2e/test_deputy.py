"""akiosd is nobody's deputy: what the kernel refuses a user, no request of theirs reaches.

Every refusal has its control: root, or the owner, does the same and succeeds, so that the test
cannot pass because nothing worked at all.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from akiosctl.client import Client, DaemonError
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.policy import Filesystem, Policy
from akiosd.wire import messages as wire
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.hostile import Outcome, as_user, open_path, request, run, send

SECRET = "not for others\n"
BINDS = Policy(
    filesystem=Filesystem(read=("/bound", "/ws/link/inside", "/ws/sub/inside"), write=("/bound",))
)
KINDS = ["toolchain", "read", "write"]


@pytest.fixture
def victim(private: Daemon) -> Path:
    """A directory of OTHER's; in it ``closed`` (0700) with a 0644 file, and ``open`` (0755) with a
    0600 one.
    """
    place = private.workspace("victim-", uid=OTHER)
    for name, mode, file_mode in (("closed", 0o700, 0o644), ("open", 0o755, 0o600)):
        (place / name).mkdir()
        (place / name / "file").write_text(SECRET)
        (place / name / "file").chmod(file_mode)
        os.chown(place / name / "file", OTHER, NOBODY)
        os.chown(place / name, OTHER, NOBODY)
        (place / name).chmod(mode)
    return place


def read_as(uid: int, path: Path) -> str:
    return as_user(uid, path.read_text)


READ_EVERYTHING = (
    "ls -la {0}; cat {0}/file {0}/closed/file {0}/open/file; cd {0}; cat file; "
    "find {0} -type f -exec cat {{}} +"
)


class TestTreesOfOthers:
    def test_the_control(self, private: Daemon, victim: Path) -> None:
        """Who may read them does, outside and through a cage; who may not is refused by the
        kernel.
        """
        for name in ("closed", "open"):
            assert read_as(OTHER, victim / name / "file") == SECRET
            assert SECRET in run(private.socket, OTHER, "cat /ws/file", victim / name).output
            with pytest.raises(PermissionError):
                read_as(NOBODY, victim / name / "file")

    @pytest.mark.parametrize("name", ["closed", "open", "."])
    def test_as_a_workspace(self, private: Daemon, victim: Path, name: str) -> None:
        script = (
            READ_EVERYTHING.format("/ws")
            + "; echo more > file; mv file away; rm -rf closed; chmod 777 ."
        )
        found = run(private.socket, NOBODY, script, victim / name)
        assert SECRET not in found.output
        assert read_as(OTHER, victim / "closed" / "file") == SECRET

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", ["closed", "open", "."])
    def test_as_a_bind(self, private: Daemon, victim: Path, name: str, kind: str) -> None:
        script = READ_EVERYTHING.format("/bound") + "; echo x > /bound/file"
        mine = private.workspace(uid=NOBODY)
        found = run(
            private.socket,
            NOBODY,
            script,
            mine,
            victim / name,
            binds=[(b"/bound", kind)],
            policy=BINDS,
        )
        assert not found.error and SECRET not in found.output
        control = run(
            private.socket,
            OTHER,
            script,
            private.workspace(uid=OTHER),
            victim / name,
            binds=[(b"/bound", kind)],
            policy=BINDS,
        )
        assert SECRET in control.output

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_file_as_a_bind(self, private: Daemon, victim: Path, kind: str) -> None:
        binds = [(b"/bound", kind)]
        mine = private.workspace(uid=NOBODY)
        found = run(
            private.socket,
            NOBODY,
            "cat /bound",
            mine,
            victim / "open" / "file",
            binds=binds,
            policy=BINDS,
        )
        assert (
            not found.error and SECRET not in found.output and "Permission denied" in found.output
        )
        found = run(
            private.socket, NOBODY, "cat /bound", mine, "/etc/shadow", binds=binds, policy=BINDS
        )
        assert "Permission denied" in found.output

    def test_a_file_of_the_same_name_in_a_closed_directory(
        self, private: Daemon, victim: Path
    ) -> None:
        """The directory can be opened with O_PATH, and akiosd could look into it; the file can
        not.
        """
        mine = private.workspace(uid=NOBODY)
        (mine / "file").write_text("mine\n")
        for holder, shown in ((mine, True), (victim / "closed", False)):
            found = run(
                private.socket,
                NOBODY,
                "cat /bound",
                mine,
                mine / "file",
                binds=[(b"/bound", "read")],
                policy=BINDS,
                holders={b"/bound": holder},
            )
            assert SECRET not in found.output
            assert (
                ("mine" in found.output)
                == shown
                == ("was replaced or mounted over" not in found.error)
            )

    def test_a_file_without_its_directory(self, private: Daemon, victim: Path) -> None:
        """A plain bind of it would share its locks."""
        mine = private.workspace(uid=NOBODY)

        def work() -> Outcome:
            fds = [open_path(mine), open_path("/etc/passwd")]
            return send(
                private.socket,
                request("cat /bound", binds=[(b"/bound", "read")], policy=BINDS),
                fds,
            )

        assert "without the directory that holds it" in as_user(NOBODY, work).error

    def test_nothing_below_a_closed_directory_can_be_opened_to_be_sent(
        self, private: Daemon, victim: Path
    ) -> None:
        with pytest.raises(PermissionError):
            run(private.socket, NOBODY, "true", victim / "closed" / ".." / "closed" / "file")
        with pytest.raises(PermissionError):
            run(
                private.socket,
                NOBODY,
                "true",
                private.workspace(uid=NOBODY),
                victim / "closed" / "file",
                binds=[(b"/bound", "read")],
                policy=BINDS,
            )

    @pytest.mark.parametrize("kind", ["workspace", *KINDS])
    def test_access_lists_of_the_root_hold(self, private: Daemon, kind: str) -> None:
        """acl(5): everybody may read the directory, but not this user."""
        place = private.workspace("listed-", uid=OTHER)
        (place / "file").write_text(SECRET)
        none = 0xFFFFFFFF
        entries = ((1, 7, none), (2, 0, NOBODY), (4, 5, none), (0x10, 5, none), (0x20, 5, none))
        data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        try:
            os.setxattr(place, "system.posix_acl_access", data)
        except OSError as error:
            pytest.skip(f"no access lists on this file system: {error.strerror}")
        with pytest.raises(PermissionError):
            read_as(NOBODY, place / "file")
        for uid, allowed in ((NOBODY, False), (OTHER, True)):
            if kind == "workspace":
                found = run(private.socket, uid, "cat /ws/file", place)
            else:
                found = run(
                    private.socket,
                    uid,
                    "cat /bound/file",
                    private.workspace(uid=uid),
                    place,
                    binds=[(b"/bound", kind)],
                    policy=BINDS,
                )
            assert not found.error
            assert (SECRET in found.output) == allowed

    @pytest.mark.parametrize("path", ["/", "/etc", "/root", "/var", "/run", "/home"])
    def test_directories_of_the_system(self, private: Daemon, path: str) -> None:
        """Shown as the user sees them, or refused: never more than that."""
        found = run(
            private.socket,
            NOBODY,
            "cd /ws && cat shadow etc/shadow .ssh/id_rsa; ls root .ssh",
            path,
        )
        assert "root:" not in found.output and "ssh-" not in found.output
        for text in ("cat: shadow: ", "cat: etc/shadow: "):
            assert found.error or text in found.output or "can't cd" in found.output

    @pytest.mark.parametrize(
        "path", ["/proc", "/proc/self", "/proc/1", "/sys", "/dev", "/dev/pts", "/sys/kernel"]
    )
    @pytest.mark.parametrize("kind", ["workspace", "read"])
    @pytest.mark.parametrize("degraded", [False, True])
    def test_file_systems_that_show_the_host(
        self, private: Daemon, path: str, kind: str, degraded: bool
    ) -> None:
        """Also where the caller would do with less: most of them have no id maps, which alone would
        refuse the rest.
        """
        if kind == "workspace":
            found = run(private.socket, NOBODY, "ls /ws", path, allow_degraded=degraded)
        else:
            found = run(
                private.socket,
                NOBODY,
                "ls /bound",
                private.workspace(uid=NOBODY),
                path,
                binds=[(b"/bound", "read")],
                policy=BINDS,
                allow_degraded=degraded,
            )
        assert "which shows the host itself" in found.error and not found.output


class TestDescriptors:
    @pytest.mark.parametrize(
        "kind", ["file", "fifo", "socket", "device", "memory", "pipe", "event", "readable", "link"]
    )
    def test_a_workspace_that_is_no_directory(self, private: Daemon, kind: str) -> None:
        place = private.workspace(uid=NOBODY)

        def work() -> Outcome:
            fd = make_descriptor(kind, place)
            try:
                return send(private.socket, request("true"), [fd])
            finally:
                os.close(fd)

        assert as_user(NOBODY, work).error
        assert alive(private)

    def test_a_deleted_directory(self, private: Daemon) -> None:
        place = private.workspace(uid=NOBODY)

        def work() -> Outcome:
            (place / "gone").mkdir()
            fd = open_path(place / "gone")
            (place / "gone").rmdir()
            return send(private.socket, request("ls -la /ws; echo x > /ws/file"), [fd])

        found = as_user(NOBODY, work)
        assert found.error or not found.output
        assert alive(private)

    @pytest.mark.parametrize("count", [0, 2, 63, 64])
    def test_counts_that_do_not_fit(self, private: Daemon, count: int) -> None:
        def work() -> Outcome:
            fds = [open_path("/tmp") for _ in range(count)]
            try:
                return send(private.socket, request("true"), fds)
            finally:
                close_fds(fds)

        before = held(private)
        for _ in range(30):
            assert "file descriptors" in as_user(NOBODY, work).error
        assert alive(private) and held(private) < before + 30

    def test_one_descriptor_for_two_binds(self, private: Daemon) -> None:
        place = private.workspace(uid=NOBODY)

        def work() -> Outcome:
            message = request("true", binds=[(b"/bound", "toolchain"), (b"/second", "toolchain")])
            message = wire.Run(
                **{name: getattr(message, name) for name in message.__struct_fields__}
                | {
                    "binds": tuple(
                        wire.Bind(path, 1, "toolchain") for path in (b"/bound", b"/second")
                    )
                }
            )
            fds = [open_path(place) for _ in range(3)]
            return send(private.socket, message, fds)

        assert "file descriptors" in as_user(NOBODY, work).error

    def test_descriptors_with_messages_that_carry_none(self, private: Daemon) -> None:
        def work() -> Outcome:
            data, ancillary = (
                frame(wire.List(id=1)),
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", 0, 1, 2))],
            )
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(str(private.socket))
                raw.sendall(frame(wire.Hello()))
                raw.sendmsg([data], ancillary)
                answer = b""
                while chunk := raw.recv(1 << 16):
                    answer += chunk
                return Outcome(output=answer.decode("latin-1"))

        before = held(private)
        for _ in range(20):
            assert "file descriptors" in as_user(NOBODY, work).output
        assert alive(private) and held(private) < before + 30


def frame(message: wire.Message) -> bytes:
    import msgspec

    payload = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(payload)) + payload


def make_descriptor(kind: str, place: Path) -> int:
    path = place / kind
    if kind == "file":
        path.write_text("x")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "device":
        return open_path("/dev/null")
    elif kind == "memory":
        return os.memfd_create("workspace")
    elif kind == "pipe":
        return os.pipe()[0]
    elif kind == "event":
        return os.eventfd(0)
    elif kind == "readable":
        path.write_text("x")
        return os.open(path, os.O_RDONLY)
    else:
        path.symlink_to("/")
        return os.open(path, os.O_PATH | os.O_NOFOLLOW)
    return open_path(path)


def held(daemon: Daemon) -> int:
    """How many descriptors the daemon has open."""
    assert daemon.process is not None
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def alive(daemon: Daemon) -> bool:
    return daemon.run("true", uid=NOBODY).returncode == 0


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            b"/", b"/usr", b"/usr/local/x", b"/etc", b"/etc/x", b"/proc", b"/proc/self", b"/dev", b"/dev/shm", b"/sys",
            b"/lib", b"/lib64/x", b"/bin", b"/run", b"/tmp", b"/var", b"relative", b"", b"/ws/../x", b"/a//b", b"/a/.",
            b"/a\0b", b"/" + b"x" * 5000, b"/ws/",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("what", ["workspace", "bind"])
    def test_places_that_are_refused(self, private: Daemon, path: bytes, what: str) -> None:
        mine = private.workspace(uid=NOBODY)
        if what == "workspace":
            found = run(private.socket, NOBODY, "echo ran", mine, inside=path)
        else:
            found = run(private.socket, NOBODY, "echo ran", mine, mine, binds=[(path, "toolchain")])
        assert found.error and not found.output

    @pytest.mark.parametrize("field", ["cwd", "home", "command"])
    @pytest.mark.parametrize(
        "path", [b"relative", b"/a/../../etc", b"/a\0b", b"/" + b"x" * 5000, b"//"]
    )
    def test_other_paths(self, private: Daemon, field: str, path: bytes) -> None:
        found = run(
            private.socket, NOBODY, "echo ran", private.workspace(uid=NOBODY), **{field: path}
        )
        assert found.error and not found.output

    @pytest.mark.parametrize(
        "home", [b"/", b"/usr", b"/etc", b"/proc", b"/dev", b"/tmp", b"/run", b""]
    )
    def test_a_home_over_the_system_is_put_elsewhere(self, private: Daemon, home: bytes) -> None:
        found = run(
            private.socket,
            NOBODY,
            "echo $HOME; touch ~/x && ls /usr/bin/env",
            private.workspace(uid=NOBODY),
            home=home,
        )
        assert found.output == "/home/agent\n/usr/bin/env\n", found

    def test_homes_made_up_do_not_fill_the_state_directory(self, private: Daemon) -> None:
        """For each name and home a directory of files is made, which stays while akiosd runs."""
        mine, theirs = private.workspace(uid=65531), private.workspace(uid=OTHER)
        answers = [
            run(private.socket, 65531, "true", mine, home=b"/home/%d" % n) for n in range(34)
        ]
        assert answers[0].exit_code == 0, "the control: one of them runs"
        assert [bool(answer.error) for answer in answers] == [False] * 32 + [True] * 2
        assert "HOME" in answers[-1].error or "pairs of HOME and USER" in answers[-1].error
        assert run(private.socket, 65531, "true", mine, home=b"/home/1").exit_code == 0, (
            "those go on working"
        )
        assert run(private.socket, OTHER, "true", theirs, home=b"/home/new").exit_code == 0, (
            "and so do others'"
        )

    def test_mount_targets_follow_no_link(self, private: Daemon) -> None:
        """A link in the workspace leads the bind's target away; to the host's or the cage's own
        system alike.
        """
        mine, tool = private.workspace(uid=NOBODY), private.workspace(uid=NOBODY)
        (tool / "marker").write_text("x")
        for target in ("/etc", "/usr", "/proc", "/tmp", "..", "sub"):
            (mine / "link").symlink_to(target)
            found = run(
                private.socket,
                NOBODY,
                "find / -name marker 2> /dev/null",
                mine,
                tool,
                binds=[(b"/ws/link/inside", "read")],
                policy=BINDS,
            )
            assert found.error and not found.output
            (mine / "link").unlink()
        (mine / "sub").mkdir(mode=0o755)
        found = run(
            private.socket,
            NOBODY,
            "find /ws -name marker",
            mine,
            tool,
            binds=[(b"/ws/sub/inside", "read")],
            policy=BINDS,
        )
        assert found.output == "/ws/sub/inside/marker\n", "the control: without a link it is shown"
        assert list((mine / "sub").iterdir()) == []

    def test_a_workspace_swapped_for_a_link_stays_what_was_opened(
        self, private: Daemon, victim: Path
    ) -> None:
        place = private.workspace(uid=NOBODY)
        (place / "real").mkdir()
        (place / "real" / "file").write_text("mine\n")

        def work() -> Outcome:
            fd = open_path(place / "real")
            os.rename(place / "real", place / "away")
            os.symlink(victim / "closed", place / "real")
            return send(
                private.socket, request("cat /ws/file", inside=os.fsencode(place / "real")), [fd]
            )

        os.chown(place / "real", NOBODY, NOBODY)
        found = as_user(NOBODY, work)
        assert SECRET not in found.output

    def test_binds_the_policy_does_not_name(self, private: Daemon) -> None:
        mine = private.workspace(uid=NOBODY)
        for kind in ("read", "write"):
            found = run(private.socket, NOBODY, "true", mine, mine, binds=[(b"/bound", kind)])
            assert f"filesystem.{kind}" in found.error

    def test_a_plain_bind_of_the_workspace(self, private: Daemon, victim: Path) -> None:
        policy = Policy(filesystem=Filesystem(workspace="rw-direct"))
        refused = run(private.socket, NOBODY, "true", victim, policy=policy).error
        assert refused.startswith("filesystem.workspace rw-direct is more than the built-in cow")


def test_root_makes_nothing_in_a_plain_bind() -> None:
    """Where the system policy allows ``rw-direct``, a bind below it would have its directories made
    on the host.
    """
    own = Daemon(system_policy="filesystem: {workspace: rw-direct}\n")
    try:
        own.start()
        policy = Policy(filesystem=Filesystem(workspace="rw-direct"))
        mine, closed = own.workspace(uid=NOBODY), own.workspace()
        found = run(
            own.socket, NOBODY, "echo x > /ws/file", mine, policy=policy, allow_degraded=True
        )
        assert found.exit_code == 0, found
        assert (mine / "file").stat().st_uid == NOBODY, (
            "the control: it is a plain bind, as the caller"
        )
        for place in (mine, closed):
            before = sorted(place.iterdir())
            for more in ({"binds": [(b"/ws/new/deep", "toolchain")]}, {"home": b"/ws/new/home"}):
                trees = [mine] if "binds" in more else []
                found = run(
                    own.socket,
                    NOBODY,
                    "true",
                    place,
                    *trees,
                    policy=policy,
                    allow_degraded=True,
                    **more,
                )
                assert "workspace: rw-direct" in found.error
            assert sorted(place.iterdir()) == before
    finally:
        own.close()


class TestCommits:
    """The commit is the client's own doing; the daemon only shows the view."""

    def test_a_view_gives_no_more_than_the_workspace(self, private: Daemon, victim: Path) -> None:
        report = as_user(NOBODY, lambda: run_and_keep(private, victim))
        cage, listed = report
        assert cage and listed == ["closed", "open"]

    def test_a_setuid_file_in_the_view_is_no_setuid_file(self, private: Daemon) -> None:
        mine = private.workspace(uid=NOBODY)
        script = "import os, shutil; shutil.copy('/usr/bin/id', 'id'); os.chmod('id', 0o4755)"
        report = private.report("python3", "-c", script, cwd=mine, uid=NOBODY)

        def work() -> tuple[int, int]:
            with Client(str(private.socket)) as client:
                _, fds = client.call(wire.View(cage=report["cage"]), wire.ViewReply)
                flags = os.fstatvfs(fds[0]).f_flag
                mode = os.stat("id", dir_fd=fds[0]).st_mode
                close_fds(fds)
                return mode, flags

        mode, flags = as_user(NOBODY, work)
        assert mode & stat.S_ISUID, "the control: the bit is there"
        assert flags & os.ST_NOSUID and flags & os.ST_RDONLY and flags & os.ST_NODEV
        private.ctl("discard", report["cage"], uid=NOBODY)


def run_and_keep(daemon: Daemon, victim: Path) -> tuple[str, list[str]]:
    """A run on a victim's tree whose only change is one the agent may make there: none; then its
    view, if any.
    """
    fd = open_path(victim)
    found = send(daemon.socket, request("ls /ws"), [fd])
    os.close(fd)
    for path in ("closed/file", "open/file"):
        try:
            os.open(f"/proc/self/root{victim}/{path}", os.O_RDONLY)
        except PermissionError:
            continue
        raise AssertionError(path)
    return found.cage, sorted(found.output.split())


REQUESTS: list[tuple[str, Any]] = [
    ("attach", wire.Attach), ("signal", wire.Signal), ("stop", wire.Stop), ("detach", wire.Detach), ("view", wire.View),
    ("discard", wire.Discard), ("output", wire.Output), ("budget", wire.BudgetInfo), ("http", wire.Http),
    ("ledger", wire.LedgerInfo), ("read_log", lambda cage: wire.ReadLog(cage=cage, stop=10)),
    ("read_log_file", lambda cage: wire.ReadLogFile(cage=cage, path="checkpoint")),
    ("list_log_files", wire.ListLogFiles),
]  # fmt: skip


@pytest.fixture(scope="module")
def cages(private: Daemon) -> Iterator[tuple[str, str]]:
    """Of OTHER's: one that runs, and one that ended with changes."""
    done = private.run("sleep", "1000", flags=["--detach"], uid=OTHER)
    running = done.stdout.strip()
    assert running.startswith("c-"), done.stderr
    kept = str(private.report("touch", "changed", uid=OTHER)["cage"])
    yield running, kept
    private.ctl("stop", "--kill", running, uid=OTHER)
    private.ctl("discard", kept, uid=OTHER)


class TestCagesOfOthers:
    @pytest.mark.parametrize(("name", "make"), REQUESTS)
    def test_requests_about_them_are_refused(
        self, private: Daemon, cages: tuple[str, str], name: str, make: Any
    ) -> None:
        def work() -> list[str]:
            answers = []
            for cage in cages:
                with Client(str(private.socket)) as client:
                    try:
                        client.call(make(cage=cage), wire.Message)
                    except DaemonError as refused:
                        answers.append(refused.what)
            return answers

        answers = as_user(NOBODY, work)
        assert len(answers) == 2
        for answer in answers:
            assert (
                answer.startswith(
                    ("no running cage", "no ended cage", "no log", "there is no cage")
                )
                or answer.endswith(", or there is none")
                or "no output" in answer
            ), answer
        unknown = as_user(NOBODY, lambda: refusal(private, make(cage="c-" + "0" * 12)))
        shapes = {answer.replace(cage, "X") for answer, cage in zip(answers, cages, strict=True)}
        assert shapes == {unknown.replace("c-" + "0" * 12, "X")}, (
            "the answer does not tell that it exists"
        )

    def test_they_cannot_be_seen(self, private: Daemon, cages: tuple[str, str]) -> None:
        for flags in ((), ("--all",), ("--all", "--json")):
            shown = private.ctl("ps", *flags, uid=NOBODY)
            assert shown.returncode == 0 and not any(cage in shown.stdout for cage in cages)
            assert cages[0] in private.ctl("ps", *flags, uid=OTHER).stdout, (
                "the control: their owner sees them"
            )
        for cage in cages:
            for verb in ("attach", "stop", "diff", "commit", "discard"):
                assert private.ctl(verb, cage, uid=NOBODY).returncode != 0
            shown = private.ctl("events", "--json", "--cage", cage, uid=NOBODY)
            assert shown.stdout == ""
            assert private.ctl("ledger", "show", cage, uid=NOBODY).returncode != 0
        events = private.ctl("events", "--json", uid=NOBODY).stdout
        assert not any(cage in events for cage in cages)
        mine = private.ctl("events", "--json", "--cage", cages[0], uid=OTHER)
        assert '"birth"' in mine.stdout, "the control: their owner reads them"
        assert cages[0] in private.ctl("ps", uid=OTHER).stdout, "it still runs"

    def test_long_command_lines_do_not_close_the_list(self, private: Daemon) -> None:
        """Both together are more than a frame holds, and an administrator sees both."""
        argv = ["sh", "-c", "sleep 1000", *["x" * 100_000] * 6]
        mine = [
            private.run(*argv, flags=["--detach"], uid=uid).stdout.strip()
            for uid in (NOBODY, OTHER)
        ]
        try:
            shown = private.ctl("ps")
            assert shown.returncode == 0 and all(cage in shown.stdout for cage in mine), (
                shown.stderr
            )
        finally:
            for cage in mine:
                private.ctl("stop", "--kill", cage)

    def test_root_commits_what_another_ran_only_by_its_name(
        self, private: Daemon, cages: tuple[str, str]
    ) -> None:
        refused = private.ctl("commit")
        assert refused.returncode == 125 and "you have no cages" in refused.stderr, refused
        assert "changed" in private.ctl("diff", cages[1]).stdout, (
            "the control: root sees it by its name"
        )

    def test_what_is_on_disk_is_closed(self, private: Daemon, cages: tuple[str, str]) -> None:
        script = f"find {private.state} -type f 2> /dev/null -exec cat {{}} + | wc -c"
        here = private.state / "cages" / cages[1]
        assert any(here.iterdir()), "the control: root sees it"

        def work() -> list[str]:
            opened = []
            for path in (
                private.state,
                here,
                here / "disk.img",
                here / "kept.msgpack",
                here / "audit",
                private.state / "keys",
                private.state / "ledger",
                private.state / "disk",
            ):
                try:
                    os.close(os.open(path, os.O_RDONLY))
                    opened.append(str(path))
                except OSError:
                    pass
            return opened

        assert as_user(NOBODY, work) == [], script

    def test_a_cage_cannot_ask_the_daemon(self, private: Daemon) -> None:
        """The caller shows the agent the control socket; akiosd knows the agent's uid and turns it
        away.
        """
        source = (
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/bound/control.sock'); "
            "s.sendall(b'\\0\\0\\0\\x0a\\x81\\xa1m\\xa5hello'); print(s.recv(1000))"
        )
        for kind in KINDS:
            found = run(
                private.socket,
                NOBODY,
                f'python3 -c "{source}"',
                private.workspace(uid=NOBODY),
                private.socket.parent,
                binds=[(b"/bound", kind)],
                policy=BINDS,
            )
            assert "software" not in found.output


def refusal(daemon: Daemon, message: wire.Message) -> str:
    with Client(str(daemon.socket)) as client:
        try:
            client.call(message, wire.Message)
        except DaemonError as refused:
            return refused.what
    return ""
