"""What the servers' options say of files that do not do, and tokens that are made."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from akiosctl.api.serving import _load_tls
from akiosctl.cli import run_command
from akiosd.errors import AkiosError

PEM = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"


def refused(certificate: Path, key: Path) -> AkiosError:
    with pytest.raises(AkiosError) as told:
        _load_tls(str(certificate), str(key))
    return told.value


def pair(place: Path, name: str) -> tuple[Path, Path]:
    certificate, key = place / f"{name}.pem", place / f"{name}.key"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-subj", "/CN=x", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    return certificate, key


def test_the_file_of_tls_that_does_not_do_is_named(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path, "a")
    text = tmp_path / "text"
    text.write_text("no PEM")
    error = refused(tmp_path / "none", key)
    assert error.where == f"--tls-cert {tmp_path}/none" and "No such file" in error.what
    error = refused(certificate, tmp_path / "none")
    assert error.where == f"--tls-key {tmp_path}/none" and "No such file" in error.what
    assert refused(text, key).what == "this is not a certificate in PEM"
    error = refused(certificate, text)
    assert (error.what, error.where) == ("this is not a private key in PEM", f"--tls-key {text}")
    text.write_text(PEM.format("PRIVATE KEY"))
    assert "damaged" in refused(certificate, text).what
    assert "another certificate" in refused(certificate, pair(tmp_path, "b")[1]).what
    assert _load_tls(str(certificate), str(key)) is not None, "the control"


def test_a_token_that_ends_soon_is_told_with_its_time(tmp_path: Path, capfd: Any) -> None:
    where = ["--tokens", str(tmp_path / "tokens.json")]

    def made(expires: str) -> tuple[int, str]:
        code = run_command(["token", "create", "--scope", "read", "--expires", expires, *where])
        return code, capfd.readouterr().err

    for ended in ("0", "0s", "0.0h"):
        code, error = made(ended)
        assert code == 125 and "would have expired before" in error and "--expires" in error
    code, error = made("90m")
    assert code == 0 and error.count(":") >= 3, error
    assert ("root" in error) == (os.geteuid() == 0)
    code, error = made("30d")
    assert code == 0 and " until " in error and "T" not in error and ":00" not in error
    assert " never ends" in made("never")[1]
    assert run_command(["token", "list", *where]) == 0
    told = capfd.readouterr().out.splitlines()
    assert sorted(line.count(":") for line in told) == [0, 0, 0, 2], told
    assert run_command(["token", "list", "--json", *where]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 3
