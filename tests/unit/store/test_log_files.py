"""Files of a log are read from its directory alone, whatever path somebody asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from akiosd.errors import LedgerError
from akiosd.store.log_files import LogFiles


def test_no_path_leads_out_of_the_log(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "tile").mkdir(parents=True)
        (tmp_path / name / "checkpoint").write_text(name)
        (tmp_path / name / "tile" / "0").write_text(name)
    with LogFiles(tmp_path / "a") as files:
        assert files.read("checkpoint", 9) == files.read("tile/0", 9) == b"a", "the control"
        for path in (
            "../b/checkpoint",
            "tile/../../b/tile/0",
            f"{tmp_path}/b/checkpoint",
            "./checkpoint",
            "..",
            "",
        ):
            with pytest.raises(LedgerError, match="of this name does not belong"):
                files.read(path, 9)
