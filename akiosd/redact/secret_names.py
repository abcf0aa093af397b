"""What secrets are called: the words for a password and for a key, in the languages whose numbers are known here.

One table for everybody who asks: what stands in containers, and what code and prose call by name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Kind = Literal["PASSWORD", "API_KEY", ""]

PASSWORDS = (
    "pass[ _-]?word", "passwd", "pass[ _-]?phrase", "passcode", "passwort", "kennwort", "contrase[ñÑ]a",
    "contrasen(?:y)?a", "mot[ _-]?de[ _-]?passe", "parola d.ordine", "parola chiave", "senha", "palavra[ _-]?passe",
    "wachtwoord", "haslo", "l[öÖ]senord", "losenord", "passord", "adgangskode", "salasana", "heslo", "jelsz[óÓ]",
    "jelszo",
)  # fmt: skip
"""Words that mean nothing else; one may be a part of a longer name, such as ``dbPassword``."""
FOREIGN_PASSWORDS = ("has[łŁ]o", "[şŞ]ifre", "parol[ăĂ]", "пароль", "パスワード", "密码", "密碼", "비밀번호")
"""Such as have letters that are not in Latin-1."""
SHORT_PASSWORDS = ("pass", "pwd", "pw", "passw", "psw", "mdp", "clave", "requirepass", "psk")
"""Such as are parts of other words too: they count where a name begins and ends with them."""
KEYS = (
    "api[ _-]?key", "api[ _-]?secret", "secret[ _-]?key", "client[ _-]?secret", "access[ _-]?key", "account[ _-]?key",
    "app[ _-]?secret", "consumer[ _-]?secret", "(?:access|auth|refresh|api|bearer|bot|id|session|personal)[ _-]?token",
    "subscription[ _-]?key", "(?:encryption|signing|license|licence)[ _-]?key", "webhook[ _-]?secret",
    "shared[ _-]?secret", "token", "secret",
)  # fmt: skip
LATIN = "|".join((*PASSWORDS, *SHORT_PASSWORDS, *KEYS))
FOREIGN = "|".join(FOREIGN_PASSWORDS)
"""Regular expressions of all there are."""

_TAIL = (
    r"(?:_(?:prod|production|dev|test|staging|root|admin|user|new|old|value|[0-9]{1,2})"
    r"|[ _.](?:string|str|text|value)|[0-9]{1,2})?"
)
"""What may stand behind the word in the name of a secret."""
_LONG, _SHORT, _KEY = "|".join((*PASSWORDS, *FOREIGN_PASSWORDS)), "|".join(SHORT_PASSWORDS), "|".join(KEYS)
_PASSWORD_NAME = re.compile(
    rf"(?:.*[^a-z]|[a-z]{{0,12}})?(?:{_LONG})s?{_TAIL}|(?:.*[^a-z])?(?:{_SHORT}){_TAIL}", re.I | re.S
)
_KEY_NAME = re.compile(rf"(?:.*[^a-z])?(?:{_KEY}){_TAIL}", re.I | re.S)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(4096)
def kind_of(name: str) -> Kind:
    """What a value with this name is, going by its name: ``DB_PASSWORD``, ``xApiKey``, ``the password``."""
    name = _CAMEL.sub("_", name.strip("\"'`*_:- "))
    if _PASSWORD_NAME.fullmatch(name):
        return "PASSWORD"
    return "API_KEY" if _KEY_NAME.fullmatch(name) else ""
