"""Steps on files: read, write, append, list, stat, exists."""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import stat
from datetime import UTC, datetime
from typing import Any, Literal

from akiosd.errors import AkiosError
from akiosd.workflow.steps.beneath import Place
from akiosd.workflow.steps.documents import read_docx, read_pdf
from akiosd.workflow.steps.kind import Action, Actions, Form, Work

_MAX_ENTRIES = 10_000
_DOCUMENTS = {".pdf": "pdf", ".docx": "docx"}
_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


class Config(Form):
    """``paths``: directories and files that the step may use, from the workspace.

    ``allowed_paths`` is what AKIOS 1.4 called them.
    """

    paths: list[str] = []
    allowed_paths: list[str] = []
    read_only: bool = False
    max_bytes: int = 10 << 20

    def allowed(self) -> list[str]:
        return [*self.paths, *self.allowed_paths] or ["."]


class Path(Form):
    path: str


class Read(Form):
    """``format``: ``auto`` goes by the ending of the name, and is text for all others."""

    path: str
    format: Literal["auto", "text", "pdf", "docx", "base64"] = "auto"
    encoding: str = "utf-8"


class Write(Form):
    """``content`` that is no text is written as JSON."""

    path: str
    content: Any
    encoding: str = "utf-8"


class List(Form):
    path: str = "."
    pattern: str = "*"


def read(work: Work, config: Config, wanted: Read) -> None:
    """A file as text; over ``max_bytes`` it is refused, never cut."""
    with Place(wanted.path, config.allowed()) as place:
        fd = place.open_regular(os.O_RDONLY)
    with open(fd, "rb") as file:
        data = file.read(config.max_bytes + 1)
        size = os.fstat(fd).st_size
    if len(data) > config.max_bytes:
        raise AkiosError(
            f"the file has {max(size, len(data))} bytes, and this step reads at most"
            f" {config.max_bytes}",
            wanted.path,
            "set max_bytes in the step's config, or give it a smaller file",
        )
    work.received += len(data)
    form: str = wanted.format
    if form == "auto":
        form = _DOCUMENTS.get(os.path.splitext(wanted.path)[1].lower(), "text")
    work.outputs |= {"path": wanted.path, "bytes": len(data), "format": form}
    if form == "pdf":
        work.outputs |= read_pdf(data, wanted.path)
    elif form == "docx":
        work.outputs |= read_docx(data, wanted.path)
    elif form == "base64":
        work.outputs["base64"] = base64.b64encode(data).decode()
    else:
        work.outputs["text"] = _decode(data, wanted.encoding, wanted.path)


def _decode(data: bytes, encoding: str, path: str) -> str:
    try:
        return data.decode(encoding)
    except LookupError:
        raise AkiosError(f"there is no encoding {encoding!r}", path, "write utf-8") from None
    except UnicodeDecodeError as error:
        raise AkiosError(
            f"this is not text in {encoding}: byte {error.start} does not belong to it",
            path,
            "name its encoding, or read it with format: base64",
        ) from None


def _encode(wanted: Write) -> bytes:
    text = wanted.content
    if not isinstance(text, str):
        text = json.dumps(text, ensure_ascii=False, indent=2) + "\n"
    try:
        return text.encode(wanted.encoding)
    except LookupError:
        raise AkiosError(
            f"there is no encoding {wanted.encoding!r}", wanted.path, "write utf-8"
        ) from None
    except UnicodeEncodeError as error:
        raise AkiosError(
            f"character {error.start} of the content cannot be written in {wanted.encoding}",
            wanted.path,
            "write utf-8",
        ) from None


def write(work: Work, config: Config, wanted: Write) -> None:
    """Write a file as a whole, with the directories above it."""
    data = _bounded(config, wanted)
    with Place(wanted.path, config.allowed()) as place:
        place.make_parents()
        place.replace(data)
    work.sent += len(data)
    work.outputs |= {"path": wanted.path, "bytes": len(data)}


def append(work: Work, config: Config, wanted: Write) -> None:
    """Add to the end of a file, which is made when it is not there."""
    data = _bounded(config, wanted)
    with Place(wanted.path, config.allowed()) as place:
        place.make_parents()
        fd = place.open_regular(os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    work.may_be_done = True
    with open(fd, "ab") as file:
        file.write(data)
        work.outputs |= {"path": wanted.path, "bytes": len(data), "size": file.tell()}
    work.sent += len(data)


def _bounded(config: Config, wanted: Write) -> bytes:
    if config.read_only:
        raise AkiosError(
            "this step may only read",
            wanted.path,
            "its config says read_only: take that out, if the step is to write",
        )
    data = _encode(wanted)
    if len(data) > config.max_bytes:
        raise AkiosError(
            f"the content has {len(data)} bytes, and this step writes at most {config.max_bytes}",
            wanted.path,
            "set max_bytes in the step's config",
        )
    return data


def list_directory(work: Work, config: Config, wanted: List) -> None:
    """What lies in a directory, by name; links are named and not followed."""
    with Place(wanted.path, config.allowed()) as place:
        fd = place.open(os.O_RDONLY | os.O_DIRECTORY)
    entries: list[dict[str, Any]] = []
    try:
        with os.scandir(fd) as found:
            for entry in found:
                name = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
                if not fnmatch.fnmatchcase(name, wanted.pattern):
                    continue
                if len(entries) == _MAX_ENTRIES:
                    raise AkiosError(
                        f"more than {_MAX_ENTRIES} files are there", wanted.path, "set a pattern"
                    )
                entries.append({"name": name, **_describe(entry.stat(follow_symlinks=False))})
    finally:
        os.close(fd)
    entries.sort(key=lambda entry: str(entry["name"]))
    names = [entry["name"] for entry in entries]
    work.outputs |= {"path": wanted.path, "names": names, "entries": entries}


def _describe(status: os.stat_result) -> dict[str, Any]:
    changed = datetime.fromtimestamp(int(status.st_mtime), UTC)
    kind = _TYPES.get(stat.S_IFMT(status.st_mode), "special")
    return {"type": kind, "size": status.st_size, "changed": changed.isoformat()}


def show_status(work: Work, config: Config, wanted: Path) -> None:
    """Type, size and time of the last change."""
    with Place(wanted.path, config.allowed()) as place:
        status = place.status()
    if status is None:
        raise AkiosError(
            f"{wanted.path} is not there", "filesystem", "test it first with action: exists"
        )
    work.outputs |= {"path": wanted.path, **_describe(status)}


def exists(work: Work, config: Config, wanted: Path) -> None:
    """Whether a file is there that the step may look at."""
    with Place(wanted.path, config.allowed()) as place:
        work.outputs |= {"path": wanted.path, "exists": place.status() is not None}


ACTIONS: Actions = {
    "read": Action(Config, Read, read),
    "write": Action(Config, Write, write),
    "append": Action(Config, Write, append),
    "list": Action(Config, List, list_directory),
    "stat": Action(Config, Path, show_status),
    "exists": Action(Config, Path, exists),
}
