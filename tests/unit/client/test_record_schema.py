"""The JSON Schema of records: every line that is printed fits it, in one way; others do not."""

from __future__ import annotations

import json

import jsonschema_rs

from akiosctl.record_schema import record_schema
from akiosctl.records_text import kinds
from tests.unit.client.test_siem import CAGE, events


def test_every_line_fits_and_what_is_wrong_does_not() -> None:
    schema = record_schema()
    valid = jsonschema_rs.validator_for(schema).is_valid
    seen = set()
    for event in json.loads(json.dumps(events())):
        assert valid(event), event
        seen.add(event["kind"])
        needed = schema["$defs"][event["kind"]]["required"]
        for name in needed:
            assert not valid({key: value for key, value in event.items() if key != name}), name
        assert not valid({**event, "ts": "now"})
        assert valid({**event, "of_a_later_version": 1})
    assert seen == set(kinds())
    assert valid({"log": CAGE, "gap": [1, 4]}) and not valid({"log": CAGE, "gap": [1]})
    assert valid({"log": CAGE, "index": 0, "ts": 1, "kind": "of_a_later_version", "x": []})
    assert not valid({"log": CAGE, "index": 0, "ts": 1, "kind": "end"})
