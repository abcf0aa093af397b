"""Health: insurance, records, measurements, codes."""

from __future__ import annotations

from functools import partial

from akiosd.redact.model import Pattern
from akiosd.redact.patterns.personal import FULL
from akiosd.redact.validators import common, health

P = partial(Pattern, category="health")

MBI_A, MBI_X = "[AC-HJKMNP-RT-Y]", "[AC-HJKMNP-RT-Y0-9]"
DRUG = (
    r"(?:metformin|lisinopril|atorvastatin|amlodipine|omeprazole|levothyroxine|insulin|ibuprofen|paracetamol|acetaminophen"
    r"|amoxicillin|aspirin|sertraline|fluoxetine|prednisone|warfarin|metoprolol|losartan|gabapentin|simvastatin|morphine"
    r"|oxycodone|tramadol|diazepam|lorazepam|escitalopram|citalopram|pantoprazole|ramipril|bisoprolol|furosemide|clopidogrel)"
)
PLAN = ("insurance", "member", "member id", "policy", "subscriber", "health plan", "group", "medicaid", "medicare", "aetna",
        "cigna", "humana", "blue cross", "mutuelle", "adhérent", "complémentaire", "bupa", "axa health", "versicherung")  # fmt: skip

PATTERNS = (
    P(
        name="US_HEALTH_INSURANCE",
        description="US or British private health insurance member number, near its name",
        regex=r"\b(?:[A-Z]{1,4}\d{6,12}(?:-\d{1,2})?|W\d{9})\b",
        context=PLAN,
        weak=True,
        yes=("insurance member ID XYZ123456789", "Aetna W123456789"),
        no=("part XYZ123456789", "member since 2001"),
        source="BCBS and insurers' cards",
        priority=42,
    ),
    P(
        name="FR_HEALTH_INSURANCE",
        description="French complementary insurance number, near its name",
        regex=r"\b\d{8,10}\b",
        context=("mutuelle", "adhérent", "numéro adhérent", "complémentaire santé", "amc"),
        weak=True,
        yes=("mutuelle numéro adhérent 12345678",),
        no=("commande 12345678",),
        source="SESAM-Vitale, AMC number",
        priority=41,
    ),
    P(
        name="DE_HEALTH_INSURANCE",
        description="German health insurance number (KVNR)",
        regex=r"\b[A-Z]\d{9}\b",
        check=health.check_kvnr,
        context=(
            "krankenkasse",
            "kvnr",
            "egk",
            "egk-nummer",
            "versichertennummer",
            "krankenversicherung",
            "gesundheitskarte",
        ),
        fold=True,
        weak=True,
        lone=True,
        yes=("KVNR: A123456780", "A000500015"),
        no=("A123456787", "part A123456780 ok"),
        source="§ 290 SGB V",
        priority=51,
    ),
    P(
        name="DE_PENSION_INSURANCE",
        description="German pension insurance number (RVNR)",
        regex=r"\b\d{2} ?\d{6} ?[A-Z] ?\d{3}\b",
        check=health.check_rvnr,
        yes=("RVNR: 15070649C103", "65 070803 A 019"),
        no=("15070649C100", "15071349C103"),
        source="VKVV § 2",
    ),
    P(
        name="UK_NHS",
        description="British NHS number",
        regex=r"\b\d{3}[ -]?\d{3}[ -]?\d{4}\b",
        check=health.check_nhs,
        context=("nhs", "health service", "patient", "nhs number"),
        weak=True,
        lone=True,
        priority=56,
        yes=("NHS number 943 476 5919", "401-023-2137"),
        no=("401-023-2138", "item 9434765919 sold"),
        source="NHS data dictionary, python-stdnum",
    ),
    P(
        name="US_NPI",
        description="US national provider identifier",
        regex=r"\b[12]\d{3}[- ]?\d{3}[- ]?\d{3}\b",
        check=health.check_npi,
        context=("npi", "provider", "prescriber", "physician", "national provider"),
        weak=True,
        lone=True,
        yes=("NPI: 1234567893", "1245319599", "1234-567-893"),
        no=("NPI 1234567890", "row 1245319599 of"),
        source="45 CFR 162.406",
        priority=54,
    ),
    P(
        name="US_DEA",
        description="US DEA registration of a prescriber",
        regex=r"\b[ABCDEFGHJKLMPRSTUX][A-Z9]\d{7}\b",
        check=health.check_dea,
        fold=True,
        yes=("DEA BB1388568", "GL0285191"),
        no=("BG8207031", "BB1388569"),
        source="21 CFR 1301",
    ),
    P(
        name="US_MBI",
        description="US Medicare beneficiary identifier",
        regex=rf"\b[1-9]{MBI_A}{MBI_X}\d-?{MBI_A}{MBI_X}\d-?{MBI_A}{{2}}\d{{2}}\b",
        fold=True,
        yes=("1EG4-TE5-MK73", "The MBI is 4EF6GH8JK12 for"),
        no=("1SG4-TE5-MK73", "1EG4-TE5-OK73", "AEG4-TE5-MK73"),
        source="CMS, MBI format",
    ),
    P(
        name="MEDICAL_RECORD_NUMBER",
        description="Number of a medical record, with its name",
        regex=(
            r"\b(?:MRN|medical[ _-]?record(?:[ _-]?number| no\.?)?|patient["
            r" _-]?(?:id|number|no\.?)|chart(?:[ _-]?number| no\.?))["
            r" :#=\"]{1,4}((?:[A-Z]{1,3}-?)?\d{5,10})\b"
        ),
        fold=True,
        yes=("MRN: 12345678", "medical record number 00123456", "Patient ID: P-884213"),
        no=("MRN pending", "patient id: x"),
        source="HIPAA 45 CFR 164.514",
        priority=57,
    ),
    P(
        name="MEDICATION",
        description="A drug with its dose, or a dose with how often it is taken",
        regex=(
            rf"\b(?:{DRUG}(?: [a-z]{{1,12}})? \d{{1,4}}(?:\.\d{{1,2}})?"
            r" ?(?:mg|mcg|µg|g|ml|units?|iu)"
            r"|\d{1,4}(?:\.\d{1,2})? ?(?:mg|mcg|µg|ml|units|iu) (?:(?:po|iv|im|sc|orally|by"
            r" mouth) )?"
            r"(?:once|twice|daily|bid|tid|qid|qhs|prn|every|per day|three times|q\d{1,2}h|pro"
            r" tag|par jour|täglich))\b"
        ),
        fold=True,
        yes=("metformin 500 mg", "take 20 mg twice a day", "Lisinopril 10mg daily"),
        no=("500 mg of salt", "aspirin is a drug"),
        source="RxNorm ingredients, HL7 timing abbreviations",
    ),
    P(
        name="BLOOD_PRESSURE",
        description="Blood pressure",
        regex=(
            r"\b(?:(?:bp|blood[ _-]?pressure|blutdruck|rr|tension)(?: of| is| was|:|=)?["
            r" :=\"]{0,3}\d{2,3} ?/ ?\d{2,3}|\d{2,3} ?/ ?\d{2,3} ?mm ?hg)\b"
        ),
        check=health.check_bp,
        fold=True,
        yes=("BP 120/80", "blood pressure: 135/85 mmHg", "was 118/76 mmHg"),
        no=("see 120/80", "BP 12/2024"),
        source="LOINC 85354-9",
    ),
    P(
        name="VITAL_SIGN",
        description="Heart rate, temperature, saturation, weight with its name",
        regex=(
            r"\b(?:(?:heart[ _-]?rate|pulse|hr|puls)(?: of| is| was)?[ :=\"]{1,3}\d{2,3}(?:"
            r" ?bpm)?|\d{2,3} ?bpm"
            r"|(?:temp|temperature|fever|fieber|température)(?: of| is| was)?["
            r" :=\"]{1,3}\d{2,3}(?:\.\d)? ?°? ?[cf]"
            r"|(?:spo2|o2[ _-]?sat|oxygen[ _-]?saturation)(?: of| is| was)?[ :=\"]{1,3}\d{2,3} ?%?"
            r"|(?:respiratory[ _-]?rate|rr)[ :=\"]{1,3}\d{1,2}|(?:bmi)[ :=\"]{1,3}\d{2}(?:\.\d)?)"
        ),
        fold=True,
        yes=("heart rate: 72 bpm", "SpO2 98%", "temp 38.5 C"),
        no=("the temperature rose", "pulse width"),
        source="LOINC vital signs panel 85353-1",
    ),
    P(
        name="LAB_RESULT",
        description="A laboratory value with its name",
        regex=r"\b(?:hb_?a1c|a1c|glucose|ldl|hdl|cholesterol|triglycerides|creatinine|egfr|hemoglobin|haemoglobin|hgb|wbc|rbc|platelets"
        r"|potassium|sodium|tsh|psa|crp|inr|alt|ast|bilirubin|ferritin|troponin|vitamin"
        r" d|blutzucker|glycémie)(?: level)?(?: of| is| was)?"
        r"[ :=\"]{1,3}\d{1,4}(?:\.\d{1,2})?"
        r" ?(?:%|mg/dl|mmol/l|g/dl|ng/ml|u/l|iu/l|miu/l|mg/l|meq/l|k/ul|pg/ml|µmol/l)",
        fold=True,
        yes=("HbA1c: 7.2%", "glucose 110 mg/dL", "LDL was 130 mg/dl"),
        no=("alt 5", "sodium lamp"),
        source="LOINC common laboratory panel",
    ),
    P(
        name="ICD10_CODE",
        description="ICD-10 diagnosis code, near a word for it",
        regex=r"\b[A-TV-Z]\d[0-9AB](?:\.[0-9A-Z]{1,4})?\b",
        context=(
            "icd",
            "icd-10",
            "icd10",
            "diagnosis",
            "diagnosed",
            "diagnose",
            "dx",
            "diagnostic",
        ),
        weak=True,
        yes=("diagnosis E11.9", "ICD-10: F32.1"),
        no=("table A12", "column E11.9"),
        source="WHO ICD-10, ICD-10-CM",
        priority=35,
    ),
    P(
        name="DSM_CODE",
        description="DSM diagnosis code with its name",
        regex=(
            r"\bDSM(?:-(?:5|IV|V)(?:-TR)?)?[ :#\"]{1,4}(?:code )?((?:F\d{2}|\d{3})(?:\.\d{1,2})?)\b"
        ),
        fold=True,
        yes=("DSM-5: 296.32", "DSM-IV 300.02"),
        no=("DSM-5 was published", "dsm 12"),
        source="DSM-5-TR",
    ),
    P(
        name="SNOMED_CODE",
        description="SNOMED CT identifier, near its name",
        regex=r"\b\d{6,18}\b",
        check=health.check_snomed,
        context=("snomed", "sct", "snomed ct", "concept"),
        weak=True,
        yes=("SNOMED 73211009",),
        no=("SNOMED 73211008", "code 73211009"),
        source="SNOMED CT release format 2, python-stdnum (Verhoeff)",
    ),
    P(
        name="EMERGENCY_CONTACT",
        description="The person named as emergency contact",
        regex=(
            r"\b(?:[Ee]mergency[ _-]?[Cc]ontact|[Nn]ext[ _-]of["
            rf" _-][Kk]in|[Nn]otfallkontakt|[Cc]ontact d'urgence)(?: is|:| -) ?\"?({FULL})"
        ),
        check=common.not_one_of("The None Name Phone Number"),
        yes=("Emergency contact: Grace Hopper", "next of kin is Alan Turing"),
        no=("emergency contact: none", "in an emergency"),
        source="labels of forms",
    ),
)
