"""The caller's terminal: raw mode that is always undone, its size, and the keys that detach."""

from __future__ import annotations

import fcntl
import os
import termios
from struct import pack

from akiosd.errors import AkiosError

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"


class RawTerminal:
    """Puts the terminal ``fd`` into raw mode between :meth:`enter` and :meth:`leave`; both may be
    repeated.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[object] | None = None

    def enter(self) -> None:
        """Switch to raw mode."""
        mode = termios.tcgetattr(self._fd)
        if self._saved is None:
            self._saved = list(mode)
            self._saved[6] = list(mode[6])
        # As cfmakeraw(3): every byte goes through in both directions, the cage's own terminal does
        # the editing.
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] = (mode[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)

    def leave(self) -> None:
        """Restore what was before."""
        if self._saved is None:
            return
        try:
            # Not TCSADRAIN: with output stopped (Ctrl-S) that would never return.
            termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)  # type: ignore[arg-type]
        except termios.error:
            pass  # the terminal is gone, and its mode with it


def read_size(fd: int) -> tuple[int, int]:
    """(rows, columns) of a terminal; 24 by 80 when it does not say."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return 24, 80
    return rows or 24, columns or 80


def write_size(master: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ on a master: the kernel tells the foreground process group inside with
    SIGWINCH.
    """
    try:
        fcntl.ioctl(master, termios.TIOCSWINSZ, pack("HHHH", rows, columns, 0, 0))
    except OSError:
        pass  # the other side has closed


def parse_detach_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` → bytes; single characters, or ctrl- and one of a–z @ [ ] \\ ^ _.  Empty:
    none.
    """
    keys = bytearray()
    for key in filter(None, text.split(",")):
        name = key.removeprefix("ctrl-")
        control = ord(name.upper()) ^ 0x40 if len(name) == 1 and name.isascii() else -1
        if key == name and control >= 0:
            keys.append(ord(key))
        elif 0 <= control < 32:
            keys.append(control)
        else:
            raise AkiosError(
                f"{key!r} is not the name of a key",
                "--detach-keys",
                "write for example ctrl-p,ctrl-q",
            )
    return bytes(keys)


class DetachKeys:
    """Finds the detach sequence in typed input.  A beginning of it is held back until the next key
    decides.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence is complete)."""
        if not self._keys:
            return data, False
        data = self._held + data
        position = data.find(self._keys)
        if position >= 0:
            self._held = b""
            return data[:position], True
        hold = 0
        for length in range(min(len(self._keys) - 1, len(data)), 0, -1):
            if data.endswith(self._keys[:length]):
                hold = length
                break
        self._held = data[len(data) - hold :]
        return data[: len(data) - hold], False
