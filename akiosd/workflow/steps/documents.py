"""The text of PDF and Word documents, within bounds: both formats are containers that may say much
with few bytes.
"""

from __future__ import annotations

import io
import logging
import resource
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from akiosd.errors import AkiosError

_MEMORY = 256 << 20
"""Bytes of address space that reading a document may take beyond what the program has."""
_SECONDS = 60
"""Processor time for one document."""
_MAX_UNPACKED = 64 << 20
"""Bytes of XML and pictures in a Word document."""
_MAX_CHARACTERS = 10_000_000
_INSTALL = "install the package akios-workflow, or pip install 'akios[workflow]'"


def missing(library: str, what: str) -> AkiosError:
    """The error that says which package has a library."""
    return AkiosError(f"{what} needs the Python library {library}, which is missing", "", _INSTALL)


def read_pdf(data: bytes, path: str) -> dict[str, Any]:
    """``text`` and the number of ``pages``.  Raises :class:`AkiosError`."""
    try:
        import pypdf
    except ImportError:
        raise missing("pypdf", "reading PDF") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with _bounded(path, "PDF document"):
        document = pypdf.PdfReader(io.BytesIO(data))
        if document.is_encrypted and not document.decrypt(""):
            raise AkiosError("the document is encrypted", path, "give the step a decrypted copy")
        texts, size = [], 0
        for page in document.pages:
            texts.append(page.extract_text())
            size = _count(size + len(texts[-1]), path)
        return {"text": _clean("\n\n".join(texts)), "pages": len(texts)}


def read_docx(data: bytes, path: str) -> dict[str, Any]:
    """``text``: paragraphs, and tables with a tab between cells.  Raises :class:`AkiosError`."""
    try:
        import docx
        from docx.table import Table
    except ImportError:
        raise missing("python-docx", "reading DOCX") from None
    with _bounded(path, "Word document"):
        # zipfile reads no more of a member than its directory says.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _MAX_UNPACKED:
            raise AkiosError(
                f"the document unpacks to {unpacked} bytes, and {_MAX_UNPACKED} is the limit",
                path,
                "give the step a smaller one",
            )
        lines, size = [], 0
        for block in docx.Document(io.BytesIO(data)).iter_inner_content():
            rows = (
                ["\t".join(cell.text for cell in row.cells) for row in block.rows]
                if isinstance(block, Table)
                else [block.text]
            )
            lines += rows
            size = _count(size + sum(map(len, rows)), path)
        return {"text": _clean("\n".join(lines))}


def _count(size: int, path: str) -> int:
    if size > _MAX_CHARACTERS:
        raise AkiosError(
            f"the document has more than {_MAX_CHARACTERS} characters",
            path,
            "give the step a part of it",
        )
    return size


def _clean(text: str) -> str:
    """Half characters, which a document may hold, as U+FFFD."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


@contextmanager
def _bounded(path: str, what: str) -> Iterator[None]:
    """Bounds on memory and time, and one kind of error for whatever a library says to bytes that
    are no document of its kind: these libraries raise what they meet.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _address_space() + _MEMORY
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    previous = signal.signal(signal.SIGVTALRM, _give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    except AkiosError:
        raise
    except MemoryError:
        raise AkiosError(
            f"this {what} needs more memory than {_MEMORY >> 20} MiB",
            path,
            "somebody may have built it to use up memory; give the step a part of it",
        ) from None
    except Exception as error:
        words = str(error).partition("\n")[0][:200]
        raise AkiosError(
            f"this is not a {what} that can be read: {words or type(error).__name__}",
            path,
            "open it in another program, and save it anew",
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _give_up(*_: object) -> None:
    raise AkiosError(
        f"reading the document took more than {_SECONDS} s of processor time",
        "filesystem",
        "somebody may have built it to take long; give the step a part of it",
    )


def _address_space() -> int:
    """Of this process, in bytes (proc_pid_statm(5))."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
