"""Recall and precision on labelled cases, and how quiet it is on text without personal data."""

from __future__ import annotations

import json
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from akiosd.redact.engine import Engine
from tests.unit.redact import heldout
from tests.unit.redact.prose import prose

ENGINE = Engine()
CASES = Path(__file__).resolve().parents[4] / "shared" / "pii"
PRESIDIO = CASES / "presidio_recognizer_cases.json"
NOREN = CASES / "noren"

# Recogniser of the labelled set → our types; those with a check digit must do 85 of 100.
# Not all: the same digits can be a valid number of two types.
CHECKED = {
    "aba_routing": "US_ROUTING_NUMBER",
    "certificate_number": "US_DEA",
    "credit_card": "CREDIT_CARD",
    "crypto": "BITCOIN_ADDRESS",
    "de_health_insurance": "DE_HEALTH_INSURANCE",
    "de_social_security": "DE_PENSION_INSURANCE",
    "de_tax_id": "DE_TAX_ID",
    "de_passport": "DE_ID_CARD",
    "es_nie": "ES_NIF",
    "es_nif": "ES_NIF",
    "fi_personal_identity_code": "FI_HETU",
    "iban": "IBAN",
    "pl_pesel": "PL_PESEL",
    "ca_sin": "CA_SIN",
    "uk_nhs": "UK_NHS",
    "us_npi": "US_NPI",
}
PLAIN = {
    "email": "EMAIL",
    "ip": "IPV4 IPV6",
    "mac": "MAC_ADDRESS",
    "phone": "PHONE_US PHONE_INTERNATIONAL PHONE_UK PHONE_FR PHONE_DE PHONE_LABELLED",
    "uk_nino": "UK_NINO",
    "uk_driving_licence": "UK_DRIVING_LICENCE",
    "uk_postcode": "UK_POSTCODE",
    "us_mbi": "US_MBI",
    "us_ssn": "US_SSN US_SSN_PLAIN",
    "us_itin": "US_ITIN",
    "it_fiscal_code": "IT_FISCAL_CODE",
    "de_vat_id": "EU_VAT",
    "us_passport": "PASSPORT",
    "uk_passport": "PASSPORT",
}


def found(text: str) -> set[str]:
    return {span.type for span in ENGINE.find(text)}


def recogniser(case: dict[str, Any]) -> str:
    return str(case["_file"]).removeprefix("test_").removesuffix(".py").removesuffix("_recognizer")


@pytest.mark.skipif(
    not PRESIDIO.exists(),
    reason="the labelled cases shared/pii/presidio_recognizer_cases.json are absent",
)
def test_recall_and_precision_per_recogniser(capsys: pytest.CaptureFixture[str]) -> None:
    rows: dict[str, Counter[str]] = {}
    for case in json.loads(PRESIDIO.read_text()):
        name = recogniser(case)
        types = {**CHECKED, **PLAIN}.get(name)
        if types is None:
            continue
        row = rows.setdefault(name, Counter())
        positive = case.get("expected_len", len(case.get("expected_positions") or ()))
        hit = found(case["text"]) & set(types.split())
        row[("hit" if hit else "missed") if positive else ("false" if hit else "quiet")] += 1
    total = sum(rows.values(), Counter())
    with capsys.disabled():
        print(f"\n{'recogniser':<28}{'recall':>10}{'false alarms':>15}")
        for name, row in [*sorted(rows.items()), ("all", total)]:
            print(
                f"{name:<28}{row['hit']:>5}/{row['hit'] + row['missed']:<4}"
                f"{row['false']:>9}/{row['false'] + row['quiet']}"
            )
    for name in CHECKED.keys() & rows.keys():
        row = rows[name]
        assert row["missed"] <= max(1, 0.15 * (row["hit"] + row["missed"])), (name, row)
        assert row["false"] == 0, (name, row)
    assert total["hit"] > 0.85 * (total["hit"] + total["missed"])
    assert total["false"] < 0.05 * (total["false"] + total["quiet"])


# File of the labelled set → (our types, the best figure of the engines measured on it).
KINDS = {
    "security-jwt": ("JWT", 13),
    "security-auth-headers": ("", 2),
    "security-api-keys": ("", 4),
    "core-credit-card": ("CREDIT_CARD", 6),
    "core-email": ("EMAIL", 7),
    "security-cookies": ("", 0),
    "security-url-tokens": ("", 0),
}


@pytest.mark.skipif(not NOREN.exists(), reason="the labelled cases shared/pii/noren are absent")
def test_recall_on_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print()
    for kind, (types, rival) in KINDS.items():
        hits = total = false = clean = 0
        for case in json.loads((NOREN / f"{kind}.json").read_text()):
            spans = [s for s in ENGINE.find(case["text"]) if not types or s.type in types.split()]
            labels = case["annotations"]
            clean += not labels
            false += bool(spans and not labels)
            total += len(labels)
            hits += sum(
                any(s.start < label["end"] and label["start"] < s.end for s in spans)
                for label in labels
            )
        with capsys.disabled():
            print(f"{kind:<28}{hits:>5}/{total:<4}{false:>9}/{clean} on cases with no label")
        assert hits >= min(rival, total), kind
        if types:
            assert hits >= 0.9 * total, kind


def test_recall_and_precision_on_numbers_made_here(capsys: pytest.CaptureFixture[str]) -> None:
    rows: dict[str, Counter[str]] = {}
    for case in heldout.cases():
        row = rows.setdefault(case.type, Counter())
        at = case.text.index(case.value)
        spans = ENGINE.find(case.text)
        covered = {s.type for s in spans if s.start <= at and s.end >= at + len(case.value)}
        if case.valid:
            row["hit"] += case.type in covered
            row["covered"] += bool(covered)
        row["valid" if case.valid else "spoiled"] += 1
        row["false"] += not case.valid and any(s.type == case.type for s in spans)
    with capsys.disabled():
        print(f"\n{'made here':<22}{'recall':>12}{'as any type':>14}{'false alarms':>15}")
        for name, row in rows.items():
            print(
                f"{name:<22}{row['hit']:>8}/{row['valid']:<5}{row['covered']:>8}/{row['valid']:<5}"
                f"{row['false']:>9}/{row['spoiled']}"
            )
    for name, row in rows.items():
        assert row["covered"] == row["valid"] and row["hit"] >= 0.9 * row["valid"], (name, row)
        assert row["false"] == 0, (name, row)


def test_prose_without_personal_data_is_quiet() -> None:
    text = prose(2_000_000)
    findings = [(s.type, text[s.start : s.end]) for s in ENGINE.find(text)]
    assert len(findings) <= 2, findings


REAL = frozenset({"EMAIL", "COMPANY_NAME", "IPV4", "IPV6"})
"""Authors' addresses, names of companies and addresses of machines stand in the library: those are
what they say.
"""


def test_source_code_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    size = 0
    counts: Counter[str] = Counter()
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"} & set(path.parts):
            continue
        text = path.read_text(errors="replace")
        size += len(text)
        counts.update(span.type for span in ENGINE.find(text))
    others = sum(count for kind, count in counts.items() if kind not in REAL)
    with capsys.disabled():
        print(
            f"\nstandard library: {size / 1e6:.1f} MB, {sum(counts.values())} findings,"
            f" {others} besides {', '.join(sorted(REAL))}"
        )
    assert sum(counts.values()) <= 10 * size / 1e6, counts
    assert others <= size / 1e6, counts
