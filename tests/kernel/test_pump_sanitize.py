"""The native parts under the address and undefined-behaviour sanitizers, driven from C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernel.pump_harness import needs_root

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    "ring",
    "ring_rows",
    "remote",
    "pump",
    "pump_start",
    "thread",
    "hash",
    "netsock",
    "bounds",
    "first",
    "directories",
]


@needs_root
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    program = tmp_path / "driver"
    driver = Path(__file__).with_suffix(".c")
    flags = [
        "-std=gnu11",
        "-g",
        "-O1",
        "-D_GNU_SOURCE",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    sources = [*(ROOT / "native" / "src" / f"shim_{name}.c" for name in SOURCES), driver]
    include = ROOT / "native" / "include"
    subprocess.run(
        ["cc", *flags, f"-I{include}", "-o", program, *sources, "-lcrypto", "-lpthread"], check=True
    )
    result = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "held\n"), result.stderr
