"""A strict model of a disk: what was not synced may be lost, kept in part, zeroed or turned to
garbage.

Directory operations that were not synced survive in any subset, whatever happened to the files.
The model gives no credit for what one file system happens to do.  It implements
``akiosd.store.durable.Disk``.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

SECTOR = 512


class Crash(BaseException):
    """The machine stops here; no ``except Exception`` may hold it up."""


@dataclass
class File:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    # Ranges written since the last sync; None stands for a truncation to nothing.
    pending: list[tuple[int, bytes] | None] = field(default_factory=list)

    def settle(self) -> None:
        self.durable, self.pending = bytes(self.content), []

    def after_crash(self, rng: random.Random) -> File:
        if not self.pending:
            return File(bytearray(self.durable), bytes(self.durable))
        how = rng.choice(("lost", "prefix", "sectors", "zeroed", "garbage", "kept"))
        result = bytearray(self.content if how == "kept" else self.durable)
        if how not in ("kept", "lost"):
            stop = rng.randrange(len(self.pending) + 1) if how == "prefix" else len(self.pending)
            for number, write in enumerate(self.pending):
                if number > stop:
                    break
                _apply(result, write, how, rng, cut=number == stop)
        return File(result, bytes(result))


def _apply(
    result: bytearray, write: tuple[int, bytes] | None, how: str, rng: random.Random, cut: bool
) -> None:
    if write is None:
        result.clear()
        return
    offset, data = write
    if cut:
        data = data[: rng.randrange(len(data) + 1)]
    end = offset + len(data)
    if len(result) < end:
        result.extend(bytes(end - len(result)))
    for start in range(offset, end, SECTOR):
        piece = data[start - offset : start - offset + SECTOR]
        if how == "sectors" and rng.random() < 0.5:
            continue
        if how == "zeroed":
            piece = bytes(len(piece))
        elif how == "garbage":
            piece = rng.randbytes(len(piece))
        result[start : start + len(piece)] = piece


@dataclass
class Folder:
    entries: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    # Each operation changes names together: name → what it names from then on, None for nothing.
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def change(self, operation: dict[str, File | Folder | None]) -> None:
        self.pending.append(operation)
        _rename_in(self.entries, operation)

    def settle(self) -> None:
        self.durable, self.pending = dict(self.entries), []
        for node in self.entries.values():
            node.settle()

    def after_crash(self, rng: random.Random) -> Folder:
        names = dict(self.durable)
        for operation in self.pending:
            if rng.random() < 0.5:
                _rename_in(names, operation)
        survived = {name: node.after_crash(rng) for name, node in sorted(names.items())}
        return Folder(survived, dict(survived))


def _rename_in(names: dict[str, File | Folder], operation: dict[str, File | Folder | None]) -> None:
    for name, node in operation.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class ModelDisk:
    """``crash_at``: the operation (counted from 0) before which everything stops.  ``full``: writes
    find no room.
    """

    def __init__(self, root: Folder | None = None) -> None:
        self.root = root or Folder()
        self.operations = 0
        self.crash_at: int | None = None
        self.full: Callable[[], bool] = lambda: False
        self.skip_sync: Callable[[str], bool] = lambda path: False  # how tests plant a missing sync
        self.on_replace: Callable[[str], None] = lambda path: None

    def after_power_loss(self, rng: random.Random) -> ModelDisk:
        return ModelDisk(self.root.after_crash(rng))

    def after_kill(self) -> ModelDisk:
        """The process is gone, the kernel is not: everything written is still there, synced or
        not.
        """
        return ModelDisk(self.root)

    def _step(self) -> None:
        if self.crash_at is not None and self.operations >= self.crash_at:
            raise Crash
        self.operations += 1

    def _find(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self.root
        for part in [] if path in (".", "") else path.split("/"):
            if not isinstance(node, Folder):
                return None
            node = node.entries.get(part)
        return node

    def _folder(self, path: str) -> Folder:
        node = self._find(path)
        if not isinstance(node, Folder):
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        return node

    def _file(self, path: str) -> File:
        node = self._find(path)
        if not isinstance(node, File):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        folder, _, name = path.rpartition("/")
        return self._folder(folder), name

    def read(self, path: str, limit: int) -> bytes | None:
        node = self._find(path)
        assert not isinstance(node, Folder), path
        return None if node is None else bytes(node.content[: limit + 1])

    def size(self, path: str) -> int | None:
        node = self._find(path)
        return len(node.content) if isinstance(node, File) else None

    def is_dir(self, path: str) -> bool:
        return isinstance(self._find(path), Folder)

    def names(self, path: str) -> list[str]:
        node = self._find(path)
        return sorted(node.entries) if isinstance(node, Folder) else []

    def make_dirs(self, path: str, mode: int) -> list[str]:
        changed, folder, here = [], self.root, ""
        for part in path.split("/"):
            if part not in folder.entries:
                self._step()
                folder.change({part: Folder()})
                changed.append(here or ".")
            below = folder.entries[part]
            assert isinstance(below, Folder)
            folder, here = below, f"{here}/{part}" if here else part
        return changed

    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self._step()
        folder, name = self._parent(path)
        node = folder.entries.get(name)
        if self.full():
            data = data[: len(data) // 2]
        if node is None:
            node = File()
            folder.change({name: node})
        assert isinstance(node, File)
        node.pending.append(None)
        node.content.clear()
        self._step()
        node.pending.append((0, data))
        node.content += data
        if self.full():
            raise OSError(errno.ENOSPC, "no space left", path)

    def write_many(self, files: Sequence[tuple[str, bytes]], mode: int = 0o644) -> None:
        for path, data in files:
            self.write(path, data, mode)

    def sync(self, files: Iterable[str], dirs: Iterable[str]) -> None:
        for path in dict.fromkeys(files):
            self._sync_file(self._file(path), path)
        for path in dict.fromkeys(dirs):
            self._step()
            folder = self._folder(path)
            if not self.skip_sync(path):
                folder.durable, folder.pending = dict(folder.entries), []

    def _sync_file(self, file: File, path: str) -> None:
        self._step()
        if not self.skip_sync(path):
            file.durable, file.pending = bytes(file.content), []

    def sync_everything(self) -> None:
        self._step()
        self.root.settle()

    def replace(self, source: str, target: str) -> None:
        self._step()
        folder, name = self._parent(source)
        other, new_name = self._parent(target)
        assert folder is other
        folder.change({name: None, new_name: self._file(source)})
        self.on_replace(target)

    def move(self, source: str, target: str) -> None:
        """Two directories change, and each on its own may be lost: worse than any file system's
        rename.
        """
        self._step()
        folder, name = self._parent(source)
        other, new_name = self._parent(target)
        assert folder is not other and new_name not in other.entries
        node = self._find(source)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", source)
        folder.change({name: None})
        other.change({new_name: node})

    def link(self, source: str, target: str) -> None:
        self._step()
        folder, name = self._parent(target)
        assert name not in folder.entries
        folder.change({name: self._file(source)})

    def remove(self, path: str) -> None:
        self._step()
        folder, name = self._parent(path)
        self._file(path)
        folder.change({name: None})

    def remove_dir(self, path: str) -> None:
        self._step()
        folder, name = self._parent(path)
        assert not self._folder(path).entries
        folder.change({name: None})

    def open_region(self, path: str) -> Region:
        return Region(self, self._file(path), path)

    def archive(self, path: str) -> None:
        assert self._find(path) is None, "the model packs nothing"

    def files(self, folder: str = "") -> Iterator[str]:
        for name, node in sorted(self._folder(folder).entries.items()):
            path = f"{folder}/{name}" if folder else name
            if isinstance(node, Folder):
                yield from self.files(path)
            else:
                yield path


@dataclass
class Region:
    disk: ModelDisk
    file: File
    path: str

    def write_at(self, offset: int, data: bytes) -> None:
        self.disk._step()
        assert offset + len(data) <= len(self.file.content)
        self.file.pending.append((offset, data))
        self.file.content[offset : offset + len(data)] = data

    def data_sync(self) -> None:
        self.disk._sync_file(self.file, self.path)

    def close(self) -> None:
        pass


@dataclass
class ModelLog:
    """A ``LogReader`` over one log's directory of the model."""

    disk: ModelDisk
    base: str

    def read(self, path: str, limit: int) -> bytes | None:
        return self.disk.read(f"{self.base}/{path}", limit)

    def files(self) -> Iterator[str]:
        for path in self.disk.files(self.base):
            yield path.removeprefix(f"{self.base}/")
