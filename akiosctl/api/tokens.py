"""The tokens that open the API: made, listed, revoked, and recognised.

A token is ``akt_<id>_<secret>``.  The file keeps its id and the SHA-256 of its secret, which is 256
random bits: nothing that is read there opens anything.  The file belongs to one user, and nobody
else may read or write it.  It is read again whenever it changed, so a token that was revoked is
refused by a server that runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import sync_directory

# Scope → what a token with it may do; the order is that of the help text.
SCOPES: dict[str, str] = {
    "read": "list cages and workflows, and see their state, budget, denials, policies and metrics",
    "events": "follow what happens in cages",
    "ledger": "read, prove and verify logs",
    "run": "run programs in cages, and workflows, and make standing cages and take them down",
    "output": "read what programs print and what workflows produce; read and write files in cages",
    "stop": "pause and end cages, and stop workflows",
    "changes": "see, commit and discard what cages changed",
    "approve": "answer what workflows ask",
    "redact": "find and mask personal data in texts it sends",
}
_ID = re.compile(r"[0-9a-z]{8}")
_TOKEN = re.compile(r"akt_([0-9a-z]{8})_([A-Za-z0-9_-]{43})")
_NOBODY = "0" * 64
_MOST_BYTES = 1 << 20
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class Token(msgspec.Struct, frozen=True):
    """``digest``: SHA-256 of the secret in hex.  ``expires_ns``: Unix time; 0 for never."""

    id: str
    digest: str
    scopes: tuple[str, ...]
    created_ns: int
    expires_ns: int = 0
    note: str = ""

    def expired(self, now_ns: int) -> bool:
        """Whether its time is over."""
        return bool(self.expires_ns) and now_ns >= self.expires_ns


def make_token(
    scopes: tuple[str, ...], created_ns: int, expires_ns: int, note: str = ""
) -> tuple[str, Token]:
    """A new token: the words to be shown once, and what is kept of it."""
    secret = secrets.token_urlsafe(32)
    name = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    token = Token(name, _digest(secret), scopes, created_ns, expires_ns, note)
    return f"akt_{name}_{secret}", token


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def recognise(text: str, tokens: dict[str, Token], now_ns: int) -> Token | None:
    """The token that ``text`` is, if it is one of them and its time is not over.

    Takes as long for a secret that is nearly right as for one that is wrong, and for an id that is
    known as for one that is not.
    """
    found = _TOKEN.fullmatch(text)
    if found is None:
        return None
    token = tokens.get(found[1])
    same = hmac.compare_digest(token.digest if token else _NOBODY, _digest(found[2]))
    return token if token is not None and same and not token.expired(now_ns) else None


def tokens_path() -> Path:
    """``$XDG_STATE_HOME/akios/api-tokens.json``, which may not exist."""
    base = os.environ.get("XDG_STATE_HOME") or ""
    home = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return home / "akios" / "api-tokens.json"


class TokenFile:
    """The tokens of one user.  Raises :class:`AkiosError` where the file cannot be trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self._tokens: dict[str, Token] = {}

    def read(self) -> dict[str, Token]:
        """All of them by id; the file is read only when it is another than before."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            self._seen, self._tokens = (), {}
            return self._tokens
        except OSError as error:
            raise self._unusable(f"it cannot be read: {error.strerror}") from None
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise self._unusable("users other than you may read or write the file of tokens")
            seen = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._tokens = self._decode(file.read(_MOST_BYTES + 1))
                self._seen = seen
        return self._tokens

    def _decode(self, data: bytes) -> dict[str, Token]:
        try:
            found = msgspec.json.decode(data, type=list[Token])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise self._unusable("the file of tokens is damaged") from None
        return {token.id: token for token in found}

    def _unusable(self, what: str) -> AkiosError:
        return AkiosError(
            what,
            str(self.path),
            "remove it, and make new tokens: akiosctl token create --scope SCOPE",
        )

    def add(self, token: Token) -> None:
        """Keep one more; tokens whose time is over go."""
        with self._locked() as tokens:
            kept = {k: t for k, t in tokens.items() if not t.expired(token.created_ns)}
            self._write({**kept, token.id: token})

    def remove(self, names: tuple[str, ...]) -> list[str]:
        """Forget those that are there; returns their ids."""
        with self._locked() as tokens:
            gone = [name for name in dict.fromkeys(names) if name in tokens]
            if gone:
                self._write({k: token for k, token in tokens.items() if k not in gone})
        return gone

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Token]]:
        """The tokens while nobody else changes them."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unwritten(error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()
        finally:
            os.close(lock)

    def _write(self, tokens: dict[str, Token]) -> None:
        scratch = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(list(tokens.values()))))
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            raise self._unwritten(error) from None

    def _unwritten(self, error: OSError) -> AkiosError:
        return AkiosError(
            f"tokens cannot be kept: {error.strerror}",
            str(self.path),
            "check the mode and the room of its directory, or name another file with --tokens",
        )


def is_token_id(text: str) -> bool:
    """Whether ``text`` has the form of a token's id."""
    return _ID.fullmatch(text) is not None
