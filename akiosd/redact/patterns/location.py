"""Where somebody is."""

from __future__ import annotations

from functools import partial

from akiosd.redact.model import Pattern
from akiosd.redact.patterns.personal import NAME
from akiosd.redact.validators import addresses

P = partial(Pattern, category="location")

STATE = r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])"
STREET = r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Place|Pl|Terrace|Way|Highway|Hwy|Parkway|Pkwy|Crescent|Close|Gardens)"

PATTERNS = (
    P(
        name="STREET_ADDRESS",
        description="Street address, US and UK form",
        regex=(
            rf"\b\d{{1,5}}[A-Za-z]? (?:[NSEW]\.? )?{NAME}(?: {NAME}){{0,2}} {STREET}\b\.?(?:,?"
            r" (?:Apt|Suite|Unit|#)\.? ?\w{1,5})?"
            rf"(?:, {NAME}(?: {NAME}){{0,2}}(?:,? {STATE}(?: \d{{5}}(?:-\d{{4}})?)?)?)?"
        ),
        yes=(
            "lives at 1600 Pennsylvania Avenue",
            "221B Baker Street, London",
            "742 Evergreen Terrace, Springfield, IL 62704",
        ),
        no=("12 Monkeys", "a street of houses", "3 Way switch"),
        source="USPS Publication 28, appendix C",
        trigger=r"\b\d{1,5}[A-Za-z]? (?:[NSEW]\.? )?[A-ZÀ-Þ]",
    ),
    P(
        name="STREET_ADDRESS_EU",
        description="Street address, German, French, Italian and Spanish form",
        regex=(
            r"(?:\b[A-ZÄÖÜ][a-zäöüß]{1,30}(?:-[A-ZÄÖÜ][a-zäöüß]{1,30}){0,3}(?:straße|strasse|str\.|weg|allee|platz|gasse|ring|damm|ufer)"
            r" \d{1,4}(?: ?[a-z])?\b"
            r"|\b[A-ZÄÖÜ][a-zäöüß]{1,30}(?:er|en|ische)?"
            r" (?:Straße|Strasse|Str\.|Allee|Platz|Weg|Ring|Damm) \d{1,4}(?: ?[a-z])?\b"
            r"|\b\d{1,4}(?: ?(?:bis|ter))?,?"
            r" (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai|cours) (?:(?:de |du |des"
            r" |d'|de la |l'){0,2})[A-ZÀ-Þ][a-zß-ÿ]{1,30}(?:[ -][A-ZÀ-Þ][a-zß-ÿ]{1,30}){0,3}"
            r"|\b(?:Via|Piazza|Corso|Viale|Calle|Avenida|Plaza|Paseo) (?:(?:de |del |della |di"
            r" ){0,1})[A-ZÀ-Þ][a-zß-ÿ]{1,30}(?: [A-ZÀ-Þ][a-zß-ÿ]{1,30}){0,2},? \d{1,4}\b)"
            r"(?:, (?:[A-Z]-)?\d{4,5} [A-ZÀ-Þ][a-zß-ÿ]{1,30}(?:[ -][A-ZÀ-Þ][a-zß-ÿ]{1,30}){0,2})?"
        ),
        yes=(
            "Hauptstraße 12",
            "Berliner Allee 5, 10115 Berlin",
            "12 rue de la Paix, 75002 Paris",
            "Via Roma 10",
        ),
        no=("die Straße", "la rue de la Paix", "Via Roma"),
        source="DIN 5008, NF Z10-011",
        priority=51,
    ),
    P(
        name="US_ZIP",
        description="US postal code after its state or its name",
        regex=(
            rf"\b(?:[A-Z][a-z]{{1,30}},? {STATE} (\d{{5}}(?:-\d{{4}})?)|[Zz](?:ip|IP)(?:["
            r" _-]?[Cc]ode)?(?: is|:|=)? ?\"?(\d{5}(?:-\d{4})?))\b"
        ),
        yes=("Beverly Hills, CA 90210", "zip code: 94105-1234"),
        no=("room 90210", "CA 9021"),
        source="USPS Publication 28",
        priority=40,
    ),
    P(
        name="UK_POSTCODE",
        description="British postcode, near a word for it or alone",
        regex=(
            r"\b(?:GIR"
            r" ?0AA|(?:[A-PR-UWYZ]\d[0-9A-HJKPSTUW]?|[A-PR-UWYZ][A-HK-Y]\d[0-9ABEHMNPRVWXY]?)"
            r" ?\d[ABD-HJLNP-UW-Z]{2})\b"
        ),
        context=(
            "postcode",
            "post code",
            "postal code",
            "address",
            "london",
            "lives",
            "street",
            "road",
            "zip",
        ),
        weak=True,
        lone=True,
        yes=("postcode EC1A 1BB", "M1 1AA", "GIR 0AA"),
        no=("QA1 1AA", "M1 1CA", "chip EC1A 1BB here"),
        source="Royal Mail PAF, BS 7666",
        priority=40,
    ),
    P(
        name="EU_POSTCODE",
        description="Postal code of DE, FR, NL, IT, ES, near a word for it",
        regex=r"\b(?:(?:D|F|I|E|A|CH)-)?(?:0[1-9]\d{3}|[1-9]\d{4}|[1-9]\d{3} ?[A-Z]{2})\b",
        context=(
            "plz",
            "postleitzahl",
            "code postal",
            "postcode",
            "cap",
            "código postal",
            "cp",
            "postal code",
        ),
        weak=True,
        yes=("PLZ: 10115", "code postal 75002", "Postcode 1012 AB"),
        no=("error 10115", "PLZ 00115"),
        source="UPU S42",
        priority=39,
    ),
    P(
        name="COORDINATES",
        description="Latitude and longitude, decimal or in degrees",
        regex=(
            r"(?:[-+]|\b)\d{1,2}\.\d{4,17}°?(?: ?[NS])?(?:, ?| )[-+]?\d{1,3}\.\d{4,17}°?(?:"
            r" ?[EW]\b)?"
            r"|\b\d{1,2}° ?\d{1,2}' ?(?:\d{1,2}(?:\.\d{1,6})?\" ?)?[NS],? ?\d{1,3}° ?\d{1,2}'"
            r" ?(?:\d{1,2}(?:\.\d{1,6})?\" ?)?[EW]\b"
        ),
        check=addresses.check_coordinates,
        yes=("48.858370, 2.294481", "at 40°42'46\"N 74°00'22\"W"),
        no=("1.5, 2.5", "148.858370, 2.294481", "0.0000, 0.0000"),
        source="ISO 6709",
    ),
)
