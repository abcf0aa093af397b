"""akios-workflow and akios-api: what they add works, and without them the words name them.

The named set `package`, in the guest (`tests/vm/package --all`).  The manuals, units and completion of
both are in akios.
"""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.package.machine import DEBS, install, run, sh

EXTRAS = {name.partition("_")[0]: path for name, path in DEBS.items() if name.count("_") > 1}
pytestmark = [
    pytest.mark.named_set("package"),
    pytest.mark.skipif(len(EXTRAS) < 2, reason="akios alone was handed in (tests/vm/package)"),
]
AKIOSCTL = "/usr/bin/akiosctl"
"""The package's: PATH of this test begins with the source tree's."""
IN_A_CAGE = ("--discard", "--", "/usr/lib/akios/bin/python3", "-I", "-c")
DOCUMENT = """
import io
from akiosd.workflow.steps.documents import read_docx, read_pdf
try:
    import docx, pypdf
except ImportError:
    read_docx(b"", "x.docx")
made, blank = io.BytesIO(), io.BytesIO()
document = docx.Document()
document.add_paragraph("written here")
document.save(made)
pages = pypdf.PdfWriter()
pages.add_blank_page(10, 10)
pages.write(blank)
print(read_docx(made.getvalue(), "x.docx")["text"], read_pdf(blank.getvalue(), "x.pdf")["pages"])
import jsonschema_rs, psycopg
print(jsonschema_rs.is_valid({"type": "string"}, 3), psycopg.pq.__impl__)
"""


@pytest.fixture(scope="module", autouse=True)
def akios(package: None) -> Iterator[None]:
    """The akios of the same build; the extras go with it."""
    sh("apt-get", "install", "-y", "--allow-downgrades", "--reinstall", str(DEBS["akios"]))
    yield
    sh("dpkg", "--purge", *EXTRAS)


def test_steps_read_documents_with_akios_workflow() -> None:
    without = run(*IN_A_CAGE, DOCUMENT, ok=False)
    assert without.returncode != 0 and "package akios-workflow" in without.stderr
    install(EXTRAS["akios-workflow"])
    assert run(*IN_A_CAGE, DOCUMENT).stdout == "written here 1\nFalse binary\n"


def test_the_rest_interface_serves_with_akios_api() -> None:
    without = sh("akiosctl", "serve", user="dev", ok=False)
    assert without.returncode == 125 and "sudo apt install akios-api" in without.stderr
    install(EXTRAS["akios-api"])
    token = sh("akiosctl", "token", "create", "--scope", "read", user="dev").stdout.strip()
    words = ["runuser", "-u", "dev", "--", AKIOSCTL, "--json", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd="/home/dev") as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        asked = urllib.request.Request(f"{url}/api/v1/cages")
        with pytest.raises(urllib.error.HTTPError, match="401"):  # the control
            urllib.request.urlopen(asked, timeout=60)
        asked.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.status == 200 and isinstance(json.load(answer)["cages"], list)
        server.send_signal(signal.SIGTERM)


def test_they_leave_with_akios_and_leave_nothing() -> None:
    sh("apt-get", "remove", "-y", "akios-workflow", "akios-api")
    listed = sh("dpkg", "-S", "/usr/lib/akios/lib", ok=False).stdout
    assert "akios-workflow" not in listed
    left = sh("find", "/usr/lib/akios", "-name", "docx", "-o", "-name", "fastapi").stdout
    assert left == "" and run("--discard", "--", "echo", "caged").stdout == "caged\n"
