"""The same names and values written in every container there is."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable
from urllib.parse import quote_plus, urlencode

Fields = dict[str, str]


def _table(separator: str) -> Callable[[Fields], str]:
    def write(fields: Fields) -> str:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=separator)
        writer.writerow(["n", *fields])
        writer.writerow(["1", *fields.values()])
        writer.writerow(["2", *("-" for _ in fields)])
        return out.getvalue()

    return write


def _lines(form: str, quote: Callable[[str], str]) -> Callable[[Fields], str]:
    return lambda fields: "".join(
        form.format(name, quote(value)) + "\n" for name, value in {"n": "1", **fields}.items()
    )


def _xml(fields: Fields) -> str:
    inner = "".join(f"<{name}>{html.escape(value)}</{name}>" for name, value in fields.items())
    return f'<?xml version="1.0"?>\n<row n="1">{inner}</row>'


def _attributes(fields: Fields) -> str:
    return (
        "<row "
        + " ".join(f'{name}="{html.escape(value)}"' for name, value in fields.items())
        + "/>"
    )


def _named_elements(fields: Fields) -> str:
    inner = "".join(
        f'<entry key="{name}">{html.escape(value)}</entry>\n' for name, value in fields.items()
    )
    return f"<map>{inner}</map>"


def _property_list(fields: Fields) -> str:
    inner = "".join(
        f"<key>{name}</key><string>{html.escape(value)}</string>\n"
        for name, value in fields.items()
    )
    return f"<plist><dict>\n{inner}</dict></plist>"


def _cdata(fields: Fields) -> str:
    return (
        "<row>"
        + "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items())
        + "</row>"
    )


def _single(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _pairs(fields: Fields) -> list[Fields]:
    return [{"name": name, "value": value} for name, value in fields.items()]


def _yaml_pairs(fields: Fields) -> str:
    return "env:\n" + "".join(
        f"  - name: {name}\n    value: {json.dumps(value)}\n" for name, value in fields.items()
    )


def _nested(fields: Fields) -> str:
    return "db:\n  # where it is\n" + "".join(
        f"  {name}:\n    {json.dumps(value)}\n" for name, value in fields.items()
    )


def _json_in_a_table(fields: Fields) -> str:
    return _table(",")({"note": json.dumps(fields)})


ANY: dict[str, Callable[[Fields], str]] = {
    "JSON": json.dumps,
    "JSON over lines": lambda fields: json.dumps({"n": 1, "of": [fields]}, indent=2),
    "JSON in JSON": lambda fields: json.dumps({"arguments": json.dumps(fields)}),
    "JSON in JSON in JSON": lambda fields: json.dumps({"a": [json.dumps({"b": json.dumps(fields)})]}),
    "JSON lines": lambda fields: "".join(json.dumps({name: value}) + "\n" for name, value in fields.items()),
    "JSON of names and values": lambda fields: json.dumps(_pairs(fields)),
    "JSON that is cut off": lambda fields: json.dumps({**fields, "more": "x" * 9})[:-4],
    "JSON in a log line": lambda fields: f"2024-05-11T10:22:31Z INFO sent {json.dumps(fields)} in 12 ms",
    "JSON in prose": lambda fields: f"This is what I sent:\n\n```json\n{json.dumps(fields, indent=1)}\n```\nand so on.",
    "JSON in a table": _json_in_a_table,
    "YAML": _lines("{}: {}", json.dumps),
    "YAML in single quotes": _lines("{}: {}", _single),
    "YAML with values below": _nested,
    "YAML of names and values": _yaml_pairs,
    "YAML in one line": lambda fields: "row: {" + ", ".join(f"{k}: {json.dumps(v)}" for k, v in fields.items()) + "}\n",
    "YAML in prose": lambda fields: "See below.\n```yaml\n" + _lines("{}: {}", json.dumps)(fields) + "```\nDone.",
    "TOML": lambda fields: "[db.main]\n" + _lines("{} = {}", json.dumps)(fields),
    "TOML, aligned": lambda fields: "[db]\n" + _lines("{:<30} = {}   # yes", json.dumps)(fields),
    "TOML in one line": lambda fields: f"row = {{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in fields.items())} }}",
    "env": _lines("export {}={}", json.dumps),
    "XML": _xml,
    "XML attributes": _attributes,
    "XML with CDATA": _cdata,
    "XML of names and values": _named_elements,
    "a property list": _property_list,
    "a form": lambda fields: urlencode({"n": "1", **fields}),
    "the query of a URL": lambda fields: f"see https://example.org/a?n=1&{urlencode(fields)} there",
    "CSV": _table(","),
    "CSV with semicolons": _table(";"),
    "TSV": _table("\t"),
}  # fmt: skip
"""Those that can hold any text."""
PLAIN: dict[str, Callable[[Fields], str]] = {
    "YAML without quotes": _lines("{}: {}", str),
    "env without quotes": _lines("{}={}", str),
    "INI": lambda fields: "[main]\n" + _lines("{} = {}", str)(fields),
    "headers": lambda fields: "".join(
        f"{name}: {value}\r\n" for name, value in {"N": "1", **fields}.items()
    ),
    "a table in Markdown": lambda fields: (
        f"| n | {' | '.join(fields)} |\n|---|{'---|' * len(fields)}\n| 1 | {' | '.join(fields.values())} |\n"
    ),
    "a query without escapes": lambda fields: (
        "/x?n=1&" + "&".join(f"{k}={quote_plus(v)}" for k, v in fields.items())
    ),
    "a Python dict": lambda fields: f"row = {fields!r}",
    "a block in YAML": lambda fields: "".join(
        f"{name}: |\n  {value}\n" for name, value in fields.items()
    ),
}
"""Those that write a text as it is, where it has no sign that means something to them."""
