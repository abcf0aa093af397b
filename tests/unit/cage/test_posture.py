"""Evidence from a real cage is enforced; each protection taken away from it is noticed and
named.
"""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.cage.posture import Evidence, Wanted, check
from akiosd.values.posture import LayerState

HOST_ID, DISPLAY = 1_900_173_631, 1 << 31
WORKSPACE = "/home/ada/project"

# As the kernel wrote them for a cage (Linux 6.18), shortened to what is read.
STATUS = f"""\
Name:\takios-init
Umask:\t0022
Uid:\t{HOST_ID}\t{HOST_ID}\t{HOST_ID}\t{HOST_ID}
Gid:\t{HOST_ID}\t{HOST_ID}\t{HOST_ID}\t{HOST_ID}
Groups:\t
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
"""
MOUNTINFO = f"""\
85 119 0:60 / /usr ro,nosuid,nodev,relatime - overlay none ro,lowerdir=/lower:/slot/sealed,redirect_dir=on
111 119 0:61 / /etc ro,nosuid,nodev,relatime - overlay none ro,lowerdir=/lower:/slot/sealed,redirect_dir=on
119 116 0:45 / / ro,nosuid,nodev,relatime - tmpfs none rw,size=1024k,mode=755,uid={DISPLAY},gid={DISPLAY}
120 119 0:46 / /dev rw,nosuid,noexec,relatime - tmpfs none rw,size=64k,mode=755
121 120 0:47 / /dev/pts rw,nosuid,noexec,relatime - devpts none rw,uid={HOST_ID},mode=600,ptmxmode=666,max=64
122 120 0:48 / /dev/shm rw,nosuid,nodev,relatime - tmpfs none rw,size=65536k
124 119 0:49 / /proc rw,nosuid,nodev,noexec,relatime - proc none rw,hidepid=ptraceable
125 124 0:49 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc none rw,hidepid=ptraceable
131 124 0:46 /null /proc/keys ro,nosuid,noexec,relatime - tmpfs none rw,size=64k,mode=755
145 119 7:22 /tmp /tmp rw,nosuid,nodev,noatime - ext4 /dev/loop22 rw
146 119 7:22 /home /home/ada rw,nosuid,nodev,noatime - ext4 /dev/loop22 rw
150 146 0:50 / {WORKSPACE} rw,nosuid,nodev,relatime - overlay none rw,lowerdir=/lower,upperdir=/slot/upper,uuid=on
"""
SEALED = "ro,nosuid,nodev,relatime"
PROC = "/proc rw,nosuid,nodev,noexec,relatime - proc none rw"
NONE = "0000000000000000"
OVERLAY = f"150 146 0:50 / {WORKSPACE} rw,nosuid,nodev,relatime - overlay none rw,lowerdir=/lower,upperdir=/slot/upper"
LINES = ((0, DISPLAY, 1000), (1000, HOST_ID, 1), (1001, DISPLAY + 1001, 0x70000000 - 1001))
UID_MAP = "".join(f"{inside:>10} {outside:>10} {count:>10}\n" for inside, outside, count in LINES)
NAMES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")

EVIDENCE = Evidence(
    status=STATUS,
    mountinfo=MOUNTINFO,
    uid_map=UID_MAP,
    namespaces={name: f"{name}:[4026532500]" for name in NAMES},
    own_namespaces={name: f"{name}:[4026531836]" for name in NAMES},
    landlock_proved=True,
    landlock="ABI 7: files, abstract sockets and signals scoped",
    cgroup={
        "memory": "memory.max=536870912",
        "pids": "pids.max=1024",
        "cpu": "cpu.max=50000 100000",
    },
    cgroup_missing={},
    disk="2048 MiB, an image of its own",
    pump_running=True,
    limits="Limit                     Soft Limit           Hard Limit           Units\n"
    "Max stack size            8388608              unlimited            bytes     \n"
    "Max core file size        1                    1                    bytes     \n",
    core_taker="program",
)
WANTED = Wanted(
    host_id=HOST_ID,
    host_gid=HOST_ID,
    uid_lines=LINES,
    workspace=WORKSPACE,
    workspace_mode="cow",
    tty=False,
)


def states(wanted: Wanted = WANTED, **changes: object) -> dict[str, LayerState]:
    found = check(msgspec.structs.replace(EVIDENCE, **changes), wanted)
    return {state.layer: state for state in found}


LAYERS = (
    *(
        "identity",
        "view",
        "workspace",
        "namespaces",
        "network",
        "memory",
        "pids",
        "cpu",
        "disk",
        "capabilities",
    ),
    *("landlock", "seccomp", "cores", "stdio", "files"),
)


def test_a_real_cage_is_enforced_in_every_layer() -> None:
    found = check(EVIDENCE, WANTED)
    assert [state.layer for state in found] == list(LAYERS)
    assert [str(state) for state in found if state.status != "enforced"] == []
    assert all(state.detail for state in found)


def test_cores_are_kept_from_the_host() -> None:
    assert states()["cores"].status == "enforced"
    for limit in (
        "0                    0 ",
        "1                    unlimited",
        "unlimited            1 ",
    ):
        changed = EVIDENCE.limits.replace("1                    1 ", limit)
        assert states(limits=changed)["cores"].status == "unavailable", limit
    assert states(limits="")["cores"].status == "unavailable"
    socket = states(core_taker="socket")["cores"]
    assert socket.status == "degraded" and "socket" in socket.detail


def test_a_core_limit_of_sudo_is_enough_where_no_program_takes_cores() -> None:
    zero = EVIDENCE.limits.replace("1                    1 ", "0                    0 ")
    assert states(limits=zero, core_taker="file")["cores"].status == "enforced"
    for taker in ("program", "socket"):
        state = states(limits=zero, core_taker=taker)["cores"]
        assert state.status == "unavailable" and "sudo" in state.detail, taker
    unlimited = EVIDENCE.limits.replace(
        "1                    1 ", "0                    unlimited "
    )
    assert states(limits=unlimited, core_taker="file")["cores"].status == "unavailable"


def edit(text: str, old: str, new: str) -> str:
    assert old in text, "the evidence is not what the test alters"
    return text.replace(old, new)


# protection → (layer, field of the evidence, what is there, what is there instead, what is said)
ALTERED: dict[str, tuple[str, str, str, str, str]] = {
    "the real uid is another": ("identity", "status", f"Uid:\t{HOST_ID}", "Uid:\t1000", "uids read back"),
    "the saved uid is root": ("identity", "status", f"{HOST_ID}\nGid", "0\nGid", "uids read back"),
    "the real gid is root": ("identity", "status", f"Gid:\t{HOST_ID}", "Gid:\t0", "gids read back"),
    "a group is left": ("identity", "status", "Groups:\t", "Groups:\t27 ", "groups"),
    "no uid can be read": ("identity", "status", "Uid:", "Xid:", "uids read back"),
    "inside root is host root": ("identity", "uid_map", f"{DISPLAY:>10}", f"{0:>10}", "uid map"),
    "one more line in the map": ("identity", "uid_map", UID_MAP, UID_MAP + "5 5 1\n", "uid map"),
    "the root is writable": ("view", "mountinfo", "/ / ro,", "/ / rw,", "root"),
    "the root is the host's": ("view", "mountinfo", "- tmpfs none rw,size=1024k", "- ext4 /dev/vda rw", "root"),
    "/usr is writable": ("view", "mountinfo", "/usr ro,", "/usr rw,", "writable: /usr"),
    "/etc is writable": ("view", "mountinfo", "/etc ro,", "/etc rw,", "writable: /etc"),
    "/usr is a bind": ("view", "mountinfo", f"/usr {SEALED} - overlay", f"/usr {SEALED} - ext4", "not sealed"),
    "/etc is a bind": ("view", "mountinfo", f"/etc {SEALED} - overlay", f"/etc {SEALED} - ext4", "not sealed"),
    "/proc/sys is writable": ("view", "mountinfo", "/proc/sys ro,", "/proc/sys rw,", "writable: /proc/sys"),
    "/proc/sys is not covered": ("view", "mountinfo", "/sys /proc/sys", "/sys /proc/other", "/proc/sys"),
    "setuid works in the home": ("view", "mountinfo", "/home/ada rw,nosuid,", "/home/ada rw,", "/home/ada"),
    "devices work in /tmp": ("view", "mountinfo", "/tmp rw,nosuid,nodev,", "/tmp rw,nosuid,", "/tmp"),
    "setuid works in /dev": ("view", "mountinfo", "/dev rw,nosuid,", "/dev rw,", "/dev"),
    "other processes are shown": ("view", "mountinfo", f"{PROC},hidepid=ptraceable", PROC, "/proc"),
    "there is no /proc": ("view", "mountinfo", "/ /proc rw", "/ /elsewhere rw", "/proc"),
    "/sys is mounted": ("view", "mountinfo", "/dev/shm rw", "/sys rw", "/sys"),
    "nothing is mounted": ("view", "mountinfo", MOUNTINFO, "", "root"),
    "the workspace is missing": ("workspace", "mountinfo", f" {WORKSPACE} ", " /elsewhere ", "not mounted"),
    "the workspace is a bind": ("workspace", "mountinfo", "- overlay none", "- ext4 /dev/vda", "options"),
    "user xattrs": ("workspace", "mountinfo", OVERLAY, OVERLAY + ",userxattr", "userxattr"),
    "metadata-only copies": ("workspace", "mountinfo", OVERLAY, OVERLAY + ",metacopy=on", "metacopy"),
    "an index": ("workspace", "mountinfo", OVERLAY, OVERLAY + ",index=on", "index"),
    "a permitted capability": ("capabilities", "status", f"CapPrm:\t{NONE}", "CapPrm:\t0000000000200000", "CapPrm"),
    "an effective capability": ("capabilities", "status", f"CapEff:\t{NONE}", "CapEff:\t0000000000000001", "CapEff"),
    "an inheritable capability": ("capabilities", "status", f"CapInh:\t{NONE}", "CapInh:\t8000000000000000", "CapInh"),
    "an ambient capability": ("capabilities", "status", f"CapAmb:\t{NONE}", "CapAmb:\t0000000000000400", "CapAmb"),
    "a bounding set": ("capabilities", "status", f"CapBnd:\t{NONE}", "CapBnd:\t000001ffffffffff", "CapBnd"),
    "capabilities cannot be read": ("capabilities", "status", "CapBnd", "CapXxx", "CapBnd"),
    "privileges can grow": ("capabilities", "status", "NoNewPrivs:\t1", "NoNewPrivs:\t0", "no_new_privs"),
    "no_new_privs cannot be read": ("capabilities", "status", "NoNewPrivs:", "Nothing:", "no_new_privs"),
    "no filter": ("seccomp", "status", "Seccomp:\t2", "Seccomp:\t0", "no filter"),
    "strict mode is no filter": ("seccomp", "status", "Seccomp:\t2", "Seccomp:\t1", "no filter"),
    "no filter is counted": ("seccomp", "status", "Seccomp_filters:\t1", "Seccomp_filters:\t0", "no filter"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERED)
def test_a_protection_taken_away_is_noticed(name: str) -> None:
    layer, field, old, new, said = ALTERED[name]
    found = states(**{field: edit(getattr(EVIDENCE, field), old, new)})
    assert found[layer].status == "unavailable" and said in found[layer].detail, str(found[layer])
    assert all(state.detail for state in found.values())


@pytest.mark.parametrize(
    ("layer", "changes", "said"),
    [
        ("landlock", {"landlock": ""}, "ABI is below 2"),
        ("landlock", {"landlock_proved": False}, "could be read"),
        ("seccomp", {"pump_running": False}, "nobody listens"),
        ("disk", {"disk": ""}, "no budget"),
        ("memory", {"cgroup": {}, "cgroup_missing": {"memory": "no controller"}}, "no controller"),
        ("pids", {"cgroup": {}, "cgroup_missing": {"pids": "no controller"}}, "no controller"),
        ("cpu", {"cgroup": {}, "cgroup_missing": {"cpu": "no controller"}}, "no controller"),
    ],
)
def test_what_the_texts_do_not_say(layer: str, changes: dict[str, object], said: str) -> None:
    found = states(**changes)
    assert found[layer].status == "unavailable" and said in found[layer].detail


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["shared", "unread"])
def test_a_namespace_of_the_host_is_noticed(name: str, how: str) -> None:
    namespaces = dict(EVIDENCE.namespaces)
    if how == "shared":
        namespaces[name] = EVIDENCE.own_namespaces[name]
    else:
        del namespaces[name]
    found = states(namespaces=namespaces)
    assert found["namespaces"].status == "unavailable" and name in found["namespaces"].detail
    assert found["network"].status == ("unavailable" if name == "net" else "enforced")


def test_running_as_the_hosts_root_is_never_enforced() -> None:
    status = STATUS.replace(str(HOST_ID), "0")
    wanted = msgspec.structs.replace(WANTED, host_id=0)
    assert states(wanted, status=status)["identity"].status == "unavailable"


def test_a_workspace_without_id_maps_is_degraded() -> None:
    found = states(msgspec.structs.replace(WANTED, as_caller=True))
    assert found["identity"].status == "degraded"
    assert {state.status for state in found.values()} == {"enforced", "degraded"}


def workspace_line(kind: str, access: str) -> str:
    return re.sub(
        rf"{WORKSPACE} rw,(.*?) - overlay none rw",
        rf"{WORKSPACE} {access},\1 - {kind} none rw",
        MOUNTINFO,
    )


@pytest.mark.parametrize(
    ("mode", "kind", "access", "status"),
    [
        ("rw", "overlay", "rw", "enforced"),
        ("ro", "overlay", "ro", "enforced"),
        ("ro", "overlay", "rw", "unavailable"),
        ("ro", "ext4", "ro", "unavailable"),
        ("rw-direct", "ext4", "rw", "degraded"),
        ("cow", "ext4", "rw", "unavailable"),
    ],
)
def test_the_workspace_is_what_its_mode_says(
    mode: str, kind: str, access: str, status: str
) -> None:
    wanted = msgspec.structs.replace(WANTED, workspace_mode=mode)
    assert states(wanted, mountinfo=workspace_line(kind, access))["workspace"].status == status


def test_the_topmost_mount_counts() -> None:
    over = f"160 150 254:0 /p {WORKSPACE} rw,nosuid,nodev,relatime - ext4 /dev/vda rw\n"
    assert states(mountinfo=MOUNTINFO + over)["workspace"].status == "unavailable"
    over = "161 119 254:0 / /usr rw,nosuid,nodev,relatime - ext4 /dev/vda rw\n"
    assert states(mountinfo=MOUNTINFO + over)["view"].status == "unavailable"


def test_a_workspace_with_blanks_is_found() -> None:
    wanted = msgspec.structs.replace(WANTED, workspace="/home/ada/my \\ project")
    info = MOUNTINFO.replace(WORKSPACE, "/home/ada/my\\040\\134\\040project")
    assert states(wanted, mountinfo=info)["workspace"].status == "enforced"


def test_a_backslash_that_looks_like_an_escape_is_taken_literally() -> None:
    wanted = msgspec.structs.replace(WANTED, workspace="/home/ada/a\\040b")
    info = MOUNTINFO.replace(WORKSPACE, "/home/ada/a\\134040b")
    assert states(wanted, mountinfo=info)["workspace"].status == "enforced"


def test_no_limit_asked_for_is_said_so() -> None:
    found = states(cgroup={})
    assert [found[name].detail for name in ("memory", "pids", "cpu")] == ["no limit asked for"] * 3


def test_a_terminal_is_said_so() -> None:
    assert (
        states(msgspec.structs.replace(WANTED, tty=True))["stdio"].detail == "a terminal of its own"
    )


@given(st.lists(st.integers(0, len(STATUS.splitlines()) - 1), min_size=1, unique=True))
@settings(max_examples=60, deadline=None)
def test_evidence_with_holes_is_never_enforced_for_what_it_lacks(missing: list[int]) -> None:
    lines = STATUS.splitlines()
    gone = {lines[number].partition(":")[0] for number in missing}
    found = states(
        status="\n".join(line for number, line in enumerate(lines) if number not in missing)
    )
    assert (found["identity"].status != "enforced") == bool(gone & {"Uid", "Gid", "Groups"})
    assert (found["seccomp"].status != "enforced") == bool(gone & {"Seccomp", "Seccomp_filters"})
    needed = {"NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
    assert (found["capabilities"].status != "enforced") == bool(gone & needed)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_nonsense_is_answered_and_not_enforced(status: str, mountinfo: str, uid_map: str) -> None:
    found = states(status=status, mountinfo=mountinfo, uid_map=uid_map)
    for layer in ("identity", "view", "workspace", "capabilities", "seccomp"):
        assert found[layer].status == "unavailable"


def test_who_tells_of_files_is_said() -> None:
    wanted = msgspec.structs.replace(WANTED, files=True)
    assert states(wanted)["files"].status == "enforced"
    missing = states(
        wanted, files_missing="no fanotify group can be made: Operation not permitted"
    )["files"]
    assert missing.status == "unavailable" and "not permitted" in missing.detail
    assert states(files_missing="no fanotify")["files"].status == "enforced", (
        "nothing was asked for"
    )
