"""What an extra is installed with, as one who may not write to the venv is told it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from akiosctl.extras import install_command

NOBODY = 65534
ASK = "from akiosctl.extras import install_command; print(install_command('api'))"


def test_the_venv_that_runs_this_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "a b"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    python = f"'{tmp_path}/a b/bin/python' -m pip install 'akios[mcp,api]'"
    assert install_command("mcp,api") == python
    (tmp_path / "a b/bin").mkdir(parents=True)
    (tmp_path / "a b/bin/pip").touch()
    assert install_command("top") == f"'{tmp_path}/a b/bin/pip' install 'akios[top]'"
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert install_command("top") == "in a venv: pip install 'akios[top]'"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose venv it is")
def test_who_may_not_write_to_it_is_told_of_sudo() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK], user=NOBODY, group=NOBODY, capture_output=True, text=True
    )
    assert done.stdout.startswith(f"sudo {sys.prefix}/bin/"), done
    assert not install_command("api").startswith("sudo"), "the control: its owner"
