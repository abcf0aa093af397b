"""Command lines that take a secret without its name: which command, behind which option.

Sources: curl(1), mysql(1), sshpass(1), redis-cli(1), mongosh(1), docker-login(1), ldapsearch(1),
smbclient(1), htpasswd(1), openssl-passphrase-options(1), chpasswd(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

VALUE = r"""(?:\\?(?P<quote>["'])(?P<quoted>[^"'\n\\]{4,256})\\?(?P=quote)|(?P<bare>[^\s"'`<>|;&\\\0]{4,256}))"""
_AFTER_USER = r"""\\?["']?[^\s"':%]{0,64}[:%](?P<bare>[^\s"'`<>|;&\\\0]{4,256})"""
OPTIONS = (
    ("sshpass", rf"[ \t]-p[ \t]*{VALUE}"),
    ("mysql|mariadb|mycli", rf"[ \t]-p{VALUE}"),
    ("curl|http", rf"[ \t](?:-[a-zA-Z]{{0,6}}u|--user|-U|--proxy-user|-a|--auth)[ \t=]*{_AFTER_USER}"),
    ("redis-cli", rf"[ \t](?:-a|--pass)[ \t]*{VALUE}"),
    ("mongo|docker|podman|helm|cqlsh|clickhouse|sqlcmd|influx", rf"[ \t]-[pP][ \t]*{VALUE}"),
    ("ldap", rf"[ \t]-w[ \t]*{VALUE}"),
    ("smbclient|rpcclient|net rpc", rf"[ \t]-U[ \t]*{_AFTER_USER}"),
    ("htpasswd", rf"[ \t]-[a-zA-Z]*b[a-zA-Z]*[ \t]+\S{{1,128}}[ \t]+\S{{1,64}}[ \t]+{VALUE}"),
    ("net user", rf"[ \t]\S{{1,64}}[ \t]+{VALUE}"),
    ("openssl", rf"[ \t]pass:{VALUE}"),
)  # fmt: skip
_FED = re.compile(
    r"""(?:[\w.-]{1,64}:|echo[ \t]+(?:-n[ \t]+)?["']?)(?P<bare>[^\s"'|:]{4,256})["']?[ \t]*\|[ \t]*(?:sudo[ \t]+)?\Z"""
)
PIPED = ("chpasswd", "sudo -s")
"""Commands that read a secret from their standard input."""
NAMES = (
    r"\b(?:sshpass|mysql|mariadb|mycli|curl|https?|redis-cli|mongo|docker|podman|helm|cqlsh|clickhouse|sqlcmd|influx"
    r"|ldap|smbclient|rpcclient|htpasswd|openssl)[a-z_-]{0,12}[ \t]|\bnet user["
    r" \t]|\bchpasswd\b|\bsudo -S\b"
)
"""The names that are searched for."""
CALLS = (
    r"(?:auth|login|authenticate|authentication|credentials?|credentials?\.basic|basic_?auth|mysqli?(?:_connect)?"
    r"|db::connect|pdo)[ \t]*=?[ \t]*\("
)
"""Calls that take a user and a password by position."""
_BY_NAME = tuple((re.compile(names), re.compile(option)) for names, option in OPTIONS)
_LOGIN = re.compile("docker|podman|helm")
_REACH = 400


def values(text: str, start: int, end: int, last: int) -> Iterator[tuple[int, int, bool]]:
    """(begin, end, whether it is in quotes) of the secrets of the command whose name is at
    ``start``–``end``.
    """
    name = text[start:end].strip()
    if name.lower() in PIPED:
        match = _FED.search(text, max(0, start - _REACH), start)
        if match is not None:
            yield *match.span("bare"), False
        return
    stop = min(last, _line_end(text, end))
    if _LOGIN.match(name) and "login" not in text[end:stop]:
        return
    for names, option in _BY_NAME:
        if names.match(name):
            for match in option.finditer(text, end - 1, stop):
                group = "bare" if match["bare"] is not None else "quoted"
                yield *match.span(group), group == "quoted"


def _line_end(text: str, at: int) -> int:
    """Of the command that goes on at ``at``; a backslash before the end of a line carries on."""
    stop = at
    while stop - at < _REACH:
        new = text.find("\n", stop, at + _REACH)
        if new < 0:
            return at + _REACH
        if text[new - 1] != "\\":
            return new
        stop = new + 1
    return stop
