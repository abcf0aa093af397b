"""The files of a cage's trust: bundle, Java store, and the links that lead to them from a chosen
/etc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from akiosd.daemon.gateways.cage_ca import make_authority
from akiosd.kernel import cage_etc
from akiosd.kernel.java_store import JavaStore, read_pem
from akiosd.kernel.trust_mount import HostRoots, store_files
from akiosd.values.trust import AUTHORITY_NAME, BUNDLE, BUNDLE_NAME, JAVA, JAVA_NAME

ROOT, OWN, INNER = (
    make_authority(name, datetime.now(UTC)) for name in ("c-root", "c-own", "c-inner")
)


def test_the_bundle_holds_the_hosts_roots_and_the_cages_own(tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    file.write_bytes(b"# of this host\n" + ROOT.pem)
    roots = HostRoots((str(tmp_path / "absent"), str(file)))
    first = roots.refresh()
    files = {
        name: b"".join(parts)
        for name, parts in store_files(roots, OWN.pem, OWN.certificate).items()
    }
    assert read_pem(files[BUNDLE_NAME]) == [OWN.certificate, ROOT.certificate]
    assert read_pem(files[AUTHORITY_NAME]) == [OWN.certificate]
    assert roots.refresh() == first
    file.write_bytes(ROOT.pem + OWN.pem)
    assert roots.refresh() != first and read_pem(roots.pem) == [ROOT.certificate, OWN.certificate]
    file.unlink()
    roots.refresh()
    assert roots.pem == b"", "a host without roots still gives its cages their own"


def test_what_the_administrator_adds_is_trusted_inside_too(tmp_path: Path) -> None:
    """Also by programs that add to roots of their own (node); and no longer once it is gone."""
    file = tmp_path / "roots.pem"
    file.write_bytes(ROOT.pem.rstrip(b"\n"))
    roots = HostRoots((str(file),))

    def found(added: bytes) -> tuple[list[bytes], list[bytes], bytes]:
        roots.refresh(added)
        files = {
            name: b"".join(parts)
            for name, parts in store_files(roots, OWN.pem, OWN.certificate).items()
        }
        return read_pem(files[BUNDLE_NAME]), read_pem(files[AUTHORITY_NAME]), files[JAVA_NAME]

    plain = found(b"")
    bundle, authority, java = found(INNER.pem)
    assert bundle == [OWN.certificate, ROOT.certificate, INNER.certificate]
    assert authority == [OWN.certificate, INNER.certificate]
    assert INNER.certificate in java and INNER.certificate not in plain[2]
    assert found(b"") == plain


@pytest.mark.skipif(shutil.which("keytool") is None, reason="needs keytool(1) of a JDK")
def test_java_reads_the_store(tmp_path: Path) -> None:
    store = tmp_path / JAVA_NAME
    store.write_bytes(
        b"".join(JavaStore([ROOT.certificate, ROOT.certificate]).with_authority(OWN.certificate))
    )

    def keytool(*words: str) -> bytes:
        arguments = ["keytool", *words, "-keystore", str(store), "-storepass", "changeit"]
        return subprocess.run(arguments, capture_output=True, check=False).stdout

    assert b"contains 3 entries" in keytool("-list")
    assert read_pem(keytool("-exportcert", "-rfc", "-alias", "akios")) == [OWN.certificate]
    store.write_bytes(store.read_bytes()[:-1] + b"\0")
    assert b"tampered" in keytool("-list"), "it does check the digest"


def make_etc(fresh: Path) -> None:
    for name in ("ssl/certs/java", "pki/java", "ssl/certs"):
        (fresh / name).mkdir(parents=True, exist_ok=True)
    for name in ("ssl/certs/ca-certificates.crt", "ssl/certs/java/cacerts", "ssl/certs/other.pem"):
        (fresh / name).write_text("the host's")


def test_stores_in_etc_become_links(tmp_path: Path) -> None:
    make_etc(tmp_path)
    cage_etc._link_stores(tmp_path)
    links = {
        str(path.relative_to(tmp_path)): os.readlink(path)
        for path in tmp_path.rglob("*")
        if path.is_symlink()
    }
    assert links == {
        "ssl/certs/ca-certificates.crt": BUNDLE,
        "ssl/cert.pem": BUNDLE,
        "ssl/certs/java/cacerts": JAVA,
    }
    assert (tmp_path / "akios").is_dir() and (
        tmp_path / "ssl/certs/other.pem"
    ).read_text() == "the host's"


def test_an_empty_etc_gets_the_usual_places(tmp_path: Path) -> None:
    cage_etc._link_stores(tmp_path)
    assert (
        os.readlink(tmp_path / "ssl/cert.pem")
        == os.readlink(tmp_path / "ssl/certs/ca-certificates.crt")
        == BUNDLE
    )


def test_links_that_lead_out_are_not_written_through(tmp_path: Path) -> None:
    outside, fresh = tmp_path / "outside", tmp_path / "etc"
    make_etc(outside)
    (fresh / "ssl").mkdir(parents=True)
    (fresh / "ssl/certs").symlink_to(outside / "ssl/certs")
    (fresh / "pki").symlink_to(outside / "pki")
    cage_etc._link_stores(fresh)
    assert not [path for path in outside.rglob("*") if path.is_symlink()]
    assert (outside / "ssl/certs/ca-certificates.crt").read_text() == "the host's"
    assert os.readlink(fresh / "ssl/cert.pem") == BUNDLE
