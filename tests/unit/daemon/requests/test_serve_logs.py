"""Which files of a log may be asked for: names of the tree, and nothing that leads out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from akiosd.daemon.requests.serve_logs import list_files, read_file
from akiosd.errors import DeniedError
from akiosd.wire.check import check_request
from akiosd.wire.messages import ListLogFiles, ReadLogFile

CAGE = "c-000000000001"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "..",
        "../owner",
        "tile/../../owner",
        "/etc/passwd",
        "tile//0",
        "tile/",
        "a\0",
        "a" * 5000,
        "./checkpoint",
    ],
)
def test_what_leads_out_of_a_log_is_refused(path: str) -> None:
    with pytest.raises(DeniedError, match="not the name"):
        check_request(ReadLogFile(cage=CAGE, path=path), 0)


@pytest.mark.parametrize("path", ["checkpoint", "300", "tile/0/000", "tile/entries/x001/234.p/7"])
def test_its_own_files_are_not(path: str) -> None:
    check_request(ReadLogFile(cage=CAGE, path=path, start=10), 0)


def test_no_cage_and_no_place_before_the_first() -> None:
    for message in (ReadLogFile(cage="x", path="checkpoint"), ListLogFiles(cage="../..")):
        with pytest.raises(DeniedError, match="not a cage"):
            check_request(message, 0)
    for message in (ReadLogFile(path="checkpoint", start=-1), ListLogFiles(start=-1)):
        with pytest.raises(DeniedError, match="is negative"):
            check_request(message, 0)


def test_links_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    log = tmp_path / "log"
    (log / "tile").mkdir(parents=True)
    (log / "checkpoint").symlink_to(secret)
    (log / "tile/0").symlink_to(tmp_path)
    os.mkfifo(log / "tile/1")
    for path in ("checkpoint", "tile/0/secret", "tile/1"):
        answer = read_file(log, path, 0)
        assert answer.bad and not answer.data, path
    assert list_files(log, 0).bad
    (tmp_path / "link").symlink_to(log)
    assert (
        read_file(tmp_path / "link", "checkpoint", 0).bad and list_files(tmp_path / "link", 0).bad
    )
    (log / "plain").write_text("x")
    assert read_file(log, "plain", 0).data == b"x"  # the control
