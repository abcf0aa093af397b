"""Sessions of the page: a cookie in the place of the token, for scripts may not read it and
EventSource sends no headers.

The cookie names the token, says until when it holds, and is signed with a key that this server made
at its start.  It opens what its token opens, as long as that is not revoked, and ends when its user
signs out, or with the server.  A browser sends it to every port of a host: so it is no token, and
holds for hours.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from http.cookies import CookieError, SimpleCookie

from akiosctl.api.tokens import Token

COOKIE = "akios_session"
LASTS_S = 12 * 3600


class Sessions:
    """Makes cookies and recognises them."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._ended: dict[str, int] = {}
        """Number of a session that was ended → until when its cookie would hold."""

    def make(self, token: Token, now_ns: int) -> str:
        """The value of a cookie for ``token``."""
        until, number = now_ns // 10**9 + LASTS_S, secrets.token_hex(8)
        return f"{token.id}.{until}.{number}.{self._sign(token.id, until, number)}"

    def end(self, header: str, token: Token, now_ns: int) -> None:
        """The session of ``token`` whose cookie this header carries opens nothing any more."""
        found = self._find(header, {token.id: token}, now_ns)
        if found is None:
            return
        _, until, number = found
        with self._lock:  # it is asked for in threads
            held = {k: end for k, end in self._ended.items() if now_ns < end * 10**9}
            self._ended = {**held, number: until}

    def recognise(self, header: str, tokens: dict[str, Token], now_ns: int) -> Token | None:
        """The token whose session a Cookie header carries, if it still holds."""
        found = self._find(header, tokens, now_ns)
        return found[0] if found is not None else None

    def _find(
        self, header: str, tokens: dict[str, Token], now_ns: int
    ) -> tuple[Token, int, str] | None:
        """(token, until when, its number)."""
        try:
            morsel = SimpleCookie(header).get(COOKIE)
        except CookieError:
            return None
        name, _, rest = (morsel.value if morsel is not None else "").partition(".")
        until, _, rest = rest.partition(".")
        number, _, signature = rest.partition(".")
        if not until.isascii() or not until.isdigit() or len(until) > 12:
            return None
        same = hmac.compare_digest(
            signature.encode(), self._sign(name, int(until), number).encode()
        )
        token = tokens.get(name)
        if not same or token is None or number in self._ended:
            return None
        if token.expired(now_ns) or now_ns >= int(until) * 10**9:
            return None
        return token, int(until), number

    def _sign(self, name: str, until: int, number: str) -> str:
        data = f"{name}.{until}.{number}".encode()
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()


def cookie_header(value: str, tls: bool, lasts_s: int = LASTS_S) -> str:
    """Set-Cookie; an empty value with 0 seconds removes it."""
    secure = "; Secure" if tls else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"
