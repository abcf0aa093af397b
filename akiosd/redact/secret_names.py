"""The names of secrets: words for passwords and keys, in the languages whose numbers are known
here.

One table for all that use it: labels in containers, and names in code and prose.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Kind = Literal["PASSWORD", "API_KEY", ""]

PASSWORDS = (
    "pass[ _-]?word", "passwd", "pass[ _-]?phrase", "passcode", "passwort", "kennwort",
    "contrase[ñÑ]a", "contrasen(?:y)?a", "mot[ _-]?de[ _-]?passe", "parola d.ordine",
    "parola chiave", "senha", "palavra[ _-]?passe", "wachtwoord", "haslo", "l[öÖ]senord",
    "losenord", "passord", "adgangskode", "salasana", "heslo", "jelsz[óÓ]", "jelszo",
)  # fmt: skip
"""Words that mean nothing else; each may be a part of a longer name, such as ``dbPassword``."""
FOREIGN_PASSWORDS = (
    "has[łŁ]o",
    "[şŞ]ifre",
    "parol[ăĂ]",
    "пароль",
    "パスワード",
    "密码",
    "密碼",
    "비밀번호",
)
"""Words with letters that Latin-1 lacks."""
SHORT_PASSWORDS = ("pass", "pwd", "pw", "passw", "psw", "mdp", "clave", "requirepass", "psk")
"""Words that are also parts of others: they count only as a whole word of a name."""
KEYS = (
    "api[ _-]?key", "api[ _-]?secret", "secret[ _-]?key", "client[ _-]?secret", "access[ _-]?key",
    "account[ _-]?key", "app[ _-]?secret", "consumer[ _-]?secret",
    "(?:access|auth|refresh|api|bearer|bot|id|session|personal)[ _-]?token",
    "subscription[ _-]?key", "(?:encryption|signing|license|licence)[ _-]?key",
    "webhook[ _-]?secret", "shared[ _-]?secret", "token", "secret",
)  # fmt: skip
LATIN = "|".join((*PASSWORDS, *SHORT_PASSWORDS, *KEYS))
FOREIGN = "|".join(FOREIGN_PASSWORDS)
"""Regular expressions of all there are."""

_TAIL = (
    r"(?:_(?:prod|production|dev|test|staging|root|admin|user|new|old|value|[0-9]{1,2})"
    r"|[ _.](?:string|str|text|value)|[0-9]{1,2})?"
)
"""What may stand behind the word in the name of a secret."""
_LONG, _SHORT, _KEY = (
    "|".join((*PASSWORDS, *FOREIGN_PASSWORDS)),
    "|".join(SHORT_PASSWORDS),
    "|".join(KEYS),
)
_PASSWORD_NAME = re.compile(
    rf"(?:.*[^a-z]|[a-z]{{0,12}})?(?:{_LONG})s?{_TAIL}|(?:.*[^a-z])?(?:{_SHORT}){_TAIL}",
    re.I | re.S,
)
_KEY_NAME = re.compile(rf"(?:.*[^a-z])?(?:{_KEY}){_TAIL}", re.I | re.S)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(4096)
def kind_of(name: str) -> Kind:
    """What a value is, going by its name, such as ``DB_PASSWORD``, ``xApiKey`` or ``the
    password``.
    """
    name = _CAMEL.sub("_", name.strip("\"'`*_:- "))
    if _PASSWORD_NAME.fullmatch(name):
        return "PASSWORD"
    return "API_KEY" if _KEY_NAME.fullmatch(name) else ""
