"""What agents send and get all day, without personal data, and what of it is long.  The same in
every run.
"""

from __future__ import annotations

import base64
import json
import random
import string
import uuid

_WORDS = (
    "get", "set", "user", "count", "index", "value", "items", "name", "state", "node", "list", "cache", "token",
    "parse", "build", "render", "config", "handler", "request", "response", "error", "data", "key", "path", "file",
    "line", "column", "offset", "buffer", "stream", "socket", "thread", "queue", "lock", "timer", "event",
)  # fmt: skip


def minified(characters: int, seed: int = 1) -> str:
    """JavaScript without a line break."""
    pick = random.Random(seed)
    pieces, size = [], 0
    while size < characters:
        a, b, c = (pick.choice(string.ascii_letters) + pick.choice(_WORDS) for _ in range(3))
        pieces.append(
            pick.choice(
                (
                    f"function {a}({b},{c}){{return {b}.{c}?{a}[{pick.randrange(9999)}]:void 0}}",
                    f'var {a}=["{b}","{c}",{pick.random():.12f}],{b}={pick.randrange(10**8)};',
                    f"{a}.prototype.{b}=function(e,t){{for(var n=0;n<e.length;n++)t(e[n],{pick.randrange(999)}e3)}};",
                    f'{a}("https://cdn.site.net/{b}/{c}.js?v={pick.randrange(10**6)}",{{"{c}":!0,"{a}":0x{pick.getrandbits(32):x}}});',
                )
            )
        )
        size += len(pieces[-1])
    return "".join(pieces)


def source_map(characters: int) -> str:
    return json.dumps(
        {
            "version": 3,
            "sources": [f"src/{w}.ts" for w in _WORDS],
            "mappings": minified(characters, 2),
        }
    )


def certificates(count: int = 8, seed: int = 1) -> str:
    """PEM blocks that are public."""
    pick = random.Random(seed)
    blocks = []
    for _ in range(count):
        body = base64.b64encode(pick.randbytes(1400)).decode()
        lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
        blocks.append(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    return "".join(blocks)


def jwt(characters: int, seed: int = 1) -> str:
    """A token with a header of JOSE and a large payload."""
    pick = random.Random(seed)
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').rstrip(b"=").decode()
    roles = [pick.choice(_WORDS) for _ in range(characters // 10)]
    body = base64.urlsafe_b64encode(json.dumps({"roles": roles}).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{base64.urlsafe_b64encode(pick.randbytes(256)).rstrip(b'=').decode()}"


def private_key(size: int, seed: int = 1) -> str:
    """Noise in the form of a key: ``size`` bytes."""
    body = base64.b64encode(random.Random(seed).randbytes(size)).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n"


def long_content() -> dict[str, str]:
    """Large tokens and lines without a blank in which there is nothing personal."""
    pick = random.Random(3)
    blob = base64.b64encode(pick.randbytes(60_000)).decode()
    text = base64.b64encode(source_map(40_000).encode()).decode()
    return {
        "base64 of bytes": f"const wasm = '{blob}';\nload(wasm)\n",
        "base64url of bytes": "blob: "
        + base64.urlsafe_b64encode(pick.randbytes(50_001)).decode()
        + " end",
        "base64 of text": f'{{"map": "{text}"}}',
        "base64 that begins like a token": base64.b64encode(
            b'{"a":1,' + b'"word": "value", ' * 3000
        ).decode(),
        "data URL": f'<img src="data:image/png;base64,{blob}" alt="a chart">',
        "source map": f"//# sourceMappingURL=data:application/json;base64,{text}\n",
        "minified": minified(120_000),
        "one line of JSON": json.dumps(
            [{"id": str(uuid.UUID(int=pick.getrandbits(128))), "n": n} for n in range(1500)]
        ),
        "long URL": "https://site.net/q?"
        + "&".join(f"f{n}={pick.getrandbits(60):x}" for n in range(1500)),
        "certificates": certificates(),
        "hexadecimal": pick.randbytes(30_000).hex(),
        "digits": "".join(pick.choice(string.digits) for _ in range(40_000)),
        "letters": "".join(pick.choice("ACGT") for _ in range(60_000)),
        "one name": "Aa" + "bcdefghi" * 6000,
        "words in one": "".join(word.capitalize() for word in pick.choices(_WORDS, k=8000)),
        "a path": "/" + "/".join(pick.choices(_WORDS, k=6000)),
        "dots": ".".join(pick.choices(_WORDS, k=6000)),
        "script without blanks": "これは個人情報を含まない長い文章です。" * 2000,
        "a key is spoken of": 'if "-----BEGIN PRIVATE KEY-----" in text: stop(); '
        + minified(40_000, 5),
        "escapes": "\\u00e9\\n" * 6000,
        "dashes": "-" * 40_000,
        "ats": "@ " * 20_000,
    }
