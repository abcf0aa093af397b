"""What is known of a tree without asking its file system."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from akiosd.kernel import user_tree

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
41 22 0:38 / /home/a\\040b rw,nosuid - fuse.sshfs host:/ rw,user_id=1000
410 22 0:39 / /mnt rw - 9p share rw
43 22 0:40 / /x rw,relatime - weird - ext4 rw
"""


def test_a_file_system_is_found_by_the_id_of_its_mount() -> None:
    found = {
        number: user_tree.find_file_system(MOUNTINFO, number) for number in (22, 41, 410, 4, 0)
    }
    assert found == {22: "ext4", 41: "fuse", 410: "9p", 4: "", 0: ""}


def test_only_file_systems_of_this_machine_are_local() -> None:
    assert (
        not {"fuse", "fuseblk", "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "virtiofs"}
        & user_tree.LOCAL
    )


LAYERS = (
    MOUNTINFO
    + """\
50 22 0:50 / /nfs rw - nfs4 server:/ rw
51 22 0:51 / /nfs/disk rw - xfs /dev/vdb rw
52 22 0:52 / /over rw - ext4 /dev/vdc rw
53 52 0:53 / /over rw - nfs4 server:/ rw
54 22 0:54 / /a:b,c rw - nfs4 server:/ rw
"""
)
OVERLAYS = {
    "lowerdir=/srv/tree,upperdir=/u,workdir=/w": True,
    "lowerdir=/srv/tree:/opt,redirect_dir=on,xino=auto": True,
    "lowerdir=/nfs/disk/tree,upperdir=/u,workdir=/w": True,
    "lowerdir=/nfsother,upperdir=/u,workdir=/w": True,
    "lowerdir+=/srv/tree,lowerdir+=/nfs/tree": False,
    "lowerdir=/nfs/tree,upperdir=/u,workdir=/w": False,
    "lowerdir=/srv/tree:/home/a\\040b/tree": False,
    "lowerdir=/srv/tree::/nfs": False,
    "lowerdir=/srv/tree,upperdir=/nfs/u,workdir=/nfs/w": False,
    "lowerdir=/over/tree:/srv": False,
    "lowerdir=/a\\134:b\\134\\054c/tree:/srv": False,
    "lowerdir=l/ABC:l/DEF": False,
    "redirect_dir=on": False,
}


@pytest.mark.parametrize("options", OVERLAYS)
def test_an_overlay_is_as_local_as_its_layers(options: str) -> None:
    own = f"60 22 0:60 / /overlay rw - overlay overlay rw,{options}\n"
    assert user_tree.is_local(LAYERS + own, 60) == OVERLAYS[options]
    again = "61 22 0:61 / /again rw - overlay overlay rw,lowerdir=/overlay/x:/srv\n"
    assert user_tree.is_local(LAYERS + own + again, 61) == OVERLAYS[options], (
        "and so is one that lies on it"
    )


def test_an_overlay_on_itself_is_not_looked_at_for_ever() -> None:
    root = "22 1 0:9 / / rw - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d\n"
    assert not user_tree.is_local(root, 22), "of a container whose layers are the host's"


def test_what_is_known_is_what_stat_says(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o640)
    for path in (tmp_path, tmp_path / "file"):
        fd = os.open(path, os.O_PATH)
        try:
            (known,) = user_tree.look([fd])
            said = os.fstat(fd)
            assert (known.mode, known.uid, known.gid) == (said.st_mode, said.st_uid, said.st_gid)
            assert (known.directory.device, known.directory.inode) == (said.st_dev, said.st_ino)
            assert known.directory == user_tree.identify(fd) and known.directory.born_ns
            assert user_tree.read_name(fd) == os.fsencode(path)
            assert stat.S_ISDIR(known.mode) == path.is_dir() and known.is_local
        finally:
            os.close(fd)


def test_an_overlay_of_a_clients_own_namespace_is_not_believed_to_be_local(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        (known,) = user_tree.look([fd])
        number = next(
            int(line.split()[1])
            for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
            if line.startswith("mnt_id:")
        )
        for kind, local in (("ext4", True), ("overlay", False), ("fuse", False)):
            options = "rw,lowerdir=/srv/tree,upperdir=/u,workdir=/w"
            text = MOUNTINFO + f"{number} 22 0:60 / /there rw - {kind} source {options}\n"
            assert user_tree.is_local(text, number) == (kind != "fuse"), "the control: of our own"
            there = user_tree.look_elsewhere(fd, known, text)
            assert (there.is_local, there.is_elsewhere) == (local, True), kind
    finally:
        os.close(fd)
