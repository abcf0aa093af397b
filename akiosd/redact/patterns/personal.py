"""Who somebody is: names, numbers of states, ways to reach a person."""

from __future__ import annotations

from functools import partial

from akiosd.redact.model import Pattern
from akiosd.redact.validators import addresses, common, money, phones, state

P = partial(Pattern, category="personal")

NAME = r"[A-ZÀ-ÖØ-Þ](?:'[A-Z])?[A-Za-zÀ-ÖØ-öø-ÿ]{0,30}[a-zß-öø-ÿ](?:-[A-ZÀ-Þ][a-zß-ÿ]{1,30})?"
FULL = (
    rf"{NAME}(?: (?:[A-Z]\. )?(?:(?:van|von|de|der|den|da|di|du|la|le|bin|al)"
    rf" ){{0,2}}{NAME}){{0,3}}"
)
MONTH = (
    r"(?:[Jj]an(?:uary|uar|vier)?|[Ff]eb(?:ruary|ruar)?|[Ff]évrier|[Mm]ar(?:ch|s)?|[Mm]ärz|[Aa]pr(?:il)?|[Aa]vril|[Mm]a[iy]"
    r"|[Jj]un[ei]?|[Jj]uin|[Jj]ul[yi]?|[Jj]uillet|[Aa]ug(?:ust)?|[Aa]oût|[Ss]ep(?:t|tember|tembre)?|[OoÖö][ck]t(?:ober|obre)?"
    r"|[Nn]ov(?:ember|embre)?|[Dd]e[cz](?:ember)?|[Dd]écembre|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"
)
DATE = (
    rf"(?:\d{{1,2}}[-./ ]\d{{1,2}}[-./ ](?:\d{{4}}|\d{{2}})|\d{{4}}[-./]\d{{1,2}}[-./]\d{{1,2}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|er)?\.?[ -]{MONTH}\.?,?[ -]\d{{2,4}}|{MONTH}\.?"
    r" \d{1,2}(?:st|nd|rd|th)?,? \d{4})"
)
PHONE = ("phone", "tel", "telephone", "telefon", "téléphone", "tél", "mobile", "mobil", "handy", "cell", "call", "fax",
         "whatsapp", "sms", "reach me",
        "number is", "appelez", "portable", "rufnummer", "dial")  # fmt: skip
EXTENSION = r"(?: ?(?:x|ext\.?) ?\d{1,5})?"
PASSPORT = ("passport", "passports", "travel document", "reisepass", "passeport", "pasaporte", "passaporto", "pass-nr",
            "paspoort", "passnummer", "pass")  # fmt: skip
TITLE = r"(?:Mrs?|Ms|Mx|Dr|Prof|Professor|Sir|Dame|Herr|Herrn|Frau|Monsieur|Madame|Mme|Mlle|Señora?|Sra?|Mr)"
LEGAL = r"(?:Inc\b\.?|LLC\b|Ltd\b\.?|GmbH\b|GbR\b|AG\b|SARL\b|SAS\b|PLC\b|plc\b|Pty\b|LLP\b)"
COMPANY = rf"{NAME}(?: (?:& )?{NAME}){{0,3}},? {LEGAL}"
# The holder of the rights in a published work is public; years, and words a name does not begin
# with, are in between.
HOLDER = (
    r"(?:\b(?:[Cc]opyright|COPYRIGHT)|\([Cc]\)|©)[ ,:]{0,2}(?:\([Cc]\) ?|© ?)?"
    r"(?:(?:19|20)\d\d(?:[-,] ?(?:19|20)?\d\d){0,3},? )?(?:[A-Za-z.&-]{1,20} ){0,2}"
)
# Who wrote published source says so in these forms and no others are taken: what stands in a
# letter, a header of mail or a table is somebody's address also when the word "author" is near.
CREDIT = (
    r"(?:\b__author__ {0,4}[=:] {0,2}[(\"']{1,3}|[#*;/][ \t]{1,12}(?:[Aa]uthors?:|[Ww]ritten"
    r" by:?|[Mm]aintainer:)[ \t]{1,12}"
    r"|\b(?:[Cc]opyright|COPYRIGHT) (?:\([Cc]\)|©) {1,3}(?:19|20)\d\d(?: ?[-,] ?(?:19|20)\d\d)?,?"
    r" {1,3}(?:by )?)"
    r"[A-ZÀ-Þ][^<>()@\n\x00]{2,48}[<(]"
)
MAIL = (
    r"[A-Za-z0-9À-ÿ_][A-Za-z0-9À-ÿ._%+'-]{0,63}@(?:(?:[A-Za-z0-9À-ÿ](?:[A-Za-z0-9À-ÿ-]*[A-Za-z0-9À-ÿ])?\.)+(?:[A-Za-zÀ-ÿ]+|xn--[A-Za-z0-9-]+)"
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})"
)
NOT_NAMES = (
    "The This That And Or Is Was Not No If For In On At To It My Your His Her Our Who What None"
    " True False Universe"
)

PATTERNS = (
    P(
        name="PERSON_NAME",
        description="A name after a title: Dr. Ada Lovelace",
        regex=rf"\b{TITLE}\.? ({FULL})",
        check=common.not_one_of(NOT_NAMES),
        yes=(
            "Please ask Dr. Ada Lovelace about it",
            "Mr. Mayers called",
            "Frau Müller-Lüdenscheidt ist da",
        ),
        no=("the doctor is in", "Mr. and so on", "DrPepper Cola"),
        source="honorifics of English, German, French, Spanish",
        trigger=rf"\b{TITLE}\.? [A-ZÀ-Þ]",
    ),
    P(
        name="LABELLED_NAME",
        description="A name where the text says that it is one: name: Ada Lovelace",
        regex=(
            rf"(?:\b[Mm]y name is|\b[Mm]y"
            rf" name's|\b(?:[Ff]ull|[Pp]atient|[Cc]ustomer|[Ff]irst|[Ll]ast|[Ee]mployee)["
            rf" _-][Nn]ame[\"']?[:=]"
            r"|\b[Jj]e m'appelle|\b[Ii]ch heiße|\b[Mm]ein Name ist|\b[Pp]atient(?:in)?:)"
            rf" ?[\"']?({FULL})"
        ),
        check=common.not_one_of(NOT_NAMES),
        yes=("my name is Dan Tailor", "patient name: Grace Hopper"),
        no=("my name is secret", "name: akiosd", "full_name = fmt"),
        source="labels of forms",
    ),
    P(
        name="EMAIL",
        description="An e-mail address (RFC 5321, also internationalised)",
        regex=rf"{CREDIT}{MAIL}|({MAIL})",
        check=addresses.check_email,
        yes=(
            "info@presidio.site",
            "a@xn--d1acufc.xn--p1ai",
            "user@192.168.1.100 logged in",
            "x.y+tag@sub.domain.co.uk",
            "Author: Ada Lovelace <ada@lovelace.org>",
            "the letter was written by Ada (ada@lovelace.org)",
            'filename="ada@lovelace.org.txt"',
        ),
        no=(
            "info@presidio.",
            "not@email",
            "icon@2x.png",
            "@decorator.call",
            "git@github.com:a/b.git",
            "no-reply@site.com",
            "a@b.invalid",
            "python-list@python.org",
            "getty@tty1.service",
            "# Written by Ada Lovelace <ada@lovelace.org>",
            "__author__ = 'Ada Lovelace <ada@lovelace.org>'",
            "Copyright (c) 2001-2004 by Ada Lovelace <ada@lovelace.org>",
        ),
        source="RFC 5321, RFC 6531; whose it is: RFC 2142, RFC 2606, RFC 5322 § 3.6.4",
        trigger=r"@[A-Za-z0-9À-ÿ]",
        priority=60,
    ),
    P(
        name="PHONE_INTERNATIONAL",
        joints=b"-./:",
        description="A phone number with its country code, any country",
        regex=(
            r"(?:\+|\b00 ?)(?:1[ .+-]?\(?\d{3}\)?[ .+-]?\d{3}["
            rf" .+-]?\d{{4}}{EXTENSION}|[2-9]\d{{0,2}}(?:(?: ?\(|\) ?|\)-|[ .+/-])?\d){{6,12}})"
        ),
        trim=phones.international_length,
        check=phones.check_phone_international,
        yes=(
            "+1 415 555 0132",
            "+33 6 12 34 56 78",
            "call +49 30 901820",
            "0044 20 7946 0958 is the office",
            "+44(0)2079460958",
            "+1 415 555 0132x44",
            "00 33 1 42 68 53 00",
            "+33 6 12 34 56 78 2024",
        ),
        no=("+1 000 000 0000", "1+1234567", "+99 99 99 99", "+35236450.6"),
        source="ITU-T E.164, phonenumbers",
        priority=57,
    ),
    P(
        name="PHONE_US",
        joints=b"-./:",
        description="A North American number",
        regex=rf"(?:\(\d{{3}}\) ?|\b(?:1[-. ])?\d{{3}}[-. ])\d{{3}}[-. ]\d{{4}}{EXTENSION}\b",
        check=phones.check_phone_us,
        yes=("(415) 555-0132", "415-555-0132", "call 212.736.5000 now", "415-555-0132 ext. 12"),
        no=("123-456-7890", "415-555-01322", "911-911-0000"),
        source="North American Numbering Plan, phonenumbers",
        priority=55,
    ),
    P(
        name="PHONE_UK",
        joints=b"-./:",
        description="A British number in national form",
        regex=r"\(?\b0[1-37-9]\d{1,4}\)?(?:[ .-]?\d){5,8}",
        check=phones.phone("GB"),
        yes=("020 7946 0958", "07400 123456", "(0161) 496 0000"),
        no=("020 7946", "00000 000000", "0123456"),
        source="Ofcom National Numbering Plan, phonenumbers",
    ),
    P(
        name="PHONE_FR",
        joints=b"-./:",
        description="A French number in national form",
        regex=r"\b0[1-9](?:[ .-]?\d\d){4}\b",
        check=phones.phone("FR"),
        yes=("06 12 34 56 78", "01.42.68.53.00", "0612345678"),
        no=("06 12 34 56", "00 12 34 56 78"),
        source="Arcep numbering plan, phonenumbers",
    ),
    P(
        name="PHONE_DE",
        joints=b"-./:",
        description="A German number in national form",
        regex=r"\(?\b0[1-9]\d{1,4}\)?[ /-]{1,3}\d{2,8}(?:[ -]?\d{2,5}){0,3}\b",
        check=phones.check_phone_de,
        yes=("030 901820", "0171 1234567", "(089) 21801234"),
        no=("0 30 90", "000/0000000"),
        source="Bundesnetzagentur, phonenumbers",
    ),
    P(
        name="PHONE_LABELLED",
        joints=b"-./:",
        description="Digits of any country's national form next to a word for phone",
        regex=r"\(?\b\d{1,5}\)?(?:[ .()-]{0,2}\d){6,12}\b",
        check=phones.check_phone_labelled,
        context=PHONE,
        weak=True,
        priority=20,
        yes=("tel: 09-7625400", "phone 4155550132", "Handy: 90 1234 5678"),
        no=("serial 4155550132", "09-7625400"),
        source="ITU-T E.123",
    ),
    P(
        name="BIRTH_DATE",
        description="A date that the text calls a date of birth",
        regex=rf"\b{DATE}",
        check=state.check_date,
        context=(
            "born",
            "birth",
            "birthday",
            "dob",
            "d.o.b",
            "date of birth",
            "birthdate",
            "né",
            "née",
            "naissance",
            "geboren",
            "geb",
            "geburtsdatum",
            "geburtstag",
            "nacimiento",
            "nascita",
        ),
        weak=True,
        yes=(
            "born 12/03/1980",
            "DOB: 1980-03-12",
            "date of birth: March 12, 1980",
            "geboren am 5. Mai 1990",
        ),
        no=("released 12/03/1980", "DOB: 99/99/1980"),
        source="ISO 8601 and the usual forms of the US, UK, FR, DE",
    ),
    P(
        name="US_SSN",
        description="US social security number, with separators",
        regex=r"\b\d{3}[- .]\d{2}[- .]\d{4}\b",
        check=state.check_ssn,
        yes=("078-05-1123", "abc 078 05 1123 abc"),
        no=("078-05-0000", "078 00 1123", "693-09.4444", "666-12-1234", "078-05-1120"),
        source="ssa.gov/employer/randomization.html, python-stdnum",
        priority=58,
    ),
    P(
        name="US_SSN_PLAIN",
        description="US social security number without or with odd separators",
        regex=r"\b\d{3}[-_/ ]?\d{2}[-_/ ]?\d{4}\b",
        check=state.check_ssn_plain,
        context=("ssn", "social security", "social", "ss#", "ssns"),
        weak=True,
        lone=True,
        priority=52,
        yes=("my ssn is 078051121", "078-051121", "SSN 078/05/1123"),
        no=("order 078051121 shipped", "078051121", "000000000", "078051120"),
        source="python-stdnum",
    ),
    P(
        name="US_ITIN",
        description="US individual taxpayer identification number",
        regex=r"\b9\d{2}-?[5-9]\d-?\d{4}\b",
        check=state.check_itin,
        context=("itin", "taxpayer", "individual taxpayer", "tax id", "tax", "itins", "tin"),
        weak=True,
        lone=True,
        yes=("itin 911-70-1234", "911-70-1234", "911701234"),
        no=("911-89-1234", "build 911701234 done"),
        source="irs.gov, python-stdnum",
        priority=59,
    ),
    P(
        name="US_EIN",
        description="US employer identification number",
        regex=r"\b\d{2}-\d{7}\b",
        check=money.check_ein,
        context=("ein", "employer identification", "fein", "tax id", "irs"),
        weak=True,
        yes=("EIN: 04-2103594", "employer identification number 91-1144442"),
        no=("part 91-1144442", "EIN 07-1144442"),
        source="irs.gov, python-stdnum",
    ),
    P(
        name="UK_NINO",
        description="British national insurance number",
        regex=r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        check=state.check_nino,
        fold=True,
        yes=("AA 12 34 56 B", "nino: PR 123612C", "tw987654a"),
        no=("AA 12 34 56 H", "BG123612A", "nino: nt 99 88 77 a", "FQ 00 00 00 C"),
        source="HMRC NIM39110",
    ),
    P(
        name="UK_UTR",
        description="British unique taxpayer reference",
        regex=r"\b\d{10}\b",
        check=state.check_utr,
        context=("utr", "taxpayer reference", "self assessment", "hmrc"),
        weak=True,
        yes=("UTR 1955839661",),
        no=("UTR 2955839661", "item 1955839661"),
        source="python-stdnum",
    ),
    P(
        name="UK_DRIVING_LICENCE",
        description="British driving licence number",
        regex=r"\b[A-Z][A-Z9]{4}\d[0156]\d[0-3]\d\d[A-Z9]{2}[A-Z0-9][A-Z]{2}\b",
        check=state.check_uk_licence,
        fold=True,
        yes=("MORGA657054SM9IJ", "Licence: MORGA607054SM9IJ ok"),
        no=("MORGA613054SM9IJ", "MORGA601324SM9IJ", "MORGA65705SM9IJ"),
        source="DVLA INF4D",
    ),
    P(
        name="FR_NIR",
        description="French social security number, 13 digits and key",
        regex=(
            r"\b[1-478] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-4]\d|50|6[2-9]|[7-9]\d) ?(?:\d{2}|2[AB]) ?\d{3}"
            r" ?\d{3} ?\d{2}\b"
        ),
        check=state.check_nir,
        yes=("NIR 295109912611193", "2 95 10 99 126 111 93"),
        no=("295109912611199", "2 95 10 99"),
        source="INSEE, python-stdnum",
        priority=71,
    ),
    P(
        name="FR_TAX_ID",
        description="French tax number (SPI)",
        regex=r"\b[0-3]\d ?\d{2} ?\d{3} ?\d{3} ?\d{3}\b",
        check=state.check_nif_fr,
        context=("fiscal", "impôt", "impôts", "spi", "numéro fiscal", "tax"),
        weak=True,
        yes=("numéro fiscal 07 01 987 765 493",),
        no=("numéro fiscal 07 01 987 765 432", "commande 0701987765493"),
        source="python-stdnum",
    ),
    P(
        name="FR_ID_CARD",
        description="French identity card",
        regex=r"\b(?:\d{12}|[A-Z0-9]{9})\b",
        check=common.needs_digit,
        context=(
            "carte d'identité",
            "carte nationale",
            "cni",
            "carte identité",
            "pièce d'identité",
        ),
        weak=True,
        yes=("carte d'identité 880692310285", "CNI: X4RTBPFW4"),
        no=("commande 880692310285", "CNI ABCDEFGHI"),
        source="Ministère de l'Intérieur, CNI 1988 and 2021",
    ),
    P(
        name="DE_ID_CARD",
        description=(
            "German identity card or passport number with its check digit, or near its name"
        ),
        regex=r"\b[CFGHJKLMNPRTVWXYZ][0-9CFGHJKLMNPRTVWXYZ]{8}\d?\b",
        check=state.check_de_id,
        context=(
            "personalausweis",
            "ausweis",
            "ausweisnummer",
            "perso",
            "id card",
            "reisepass",
            "pass-nr",
            "passport",
            "personalausweisnummer",
            "identity card",
        ),
        weak=True,
        fold=True,
        lone=True,
        yes=("Personalausweis L01X00T471", "Reisepass C01X00T47"),
        no=("Personalausweis L01X00T472", "chunk L01X00T471"),
        source="PAuswV annex, ICAO 9303",
    ),
    P(
        name="DE_TAX_ID",
        description="German tax identification number",
        regex=r"\b[1-9]\d ?\d{3} ?\d{3} ?\d{3}\b",
        check=state.check_idnr,
        context=(
            "steuer",
            "steuer-id",
            "steuerid",
            "idnr",
            "identifikationsnummer",
            "tax id",
            "tin",
            "steuernummer",
        ),
        weak=True,
        lone=True,
        yes=("IdNr. 36574261809", "36574261809"),
        no=("36574261890", "Bestellung 36574261809 heute"),
        source="§ 139b AO, python-stdnum",
    ),
    P(
        name="EU_VAT",
        description="VAT number of an EU state, which names a trader",
        regex=(
            r"\b(?:ATU|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK)["
            r" .-]?[A-Z0-9]{0,2}(?:[ .-]?\d){7,10}(?:B\d\d|[A-Z]{1,2})?\b"
        ),
        check=common.all_of(common.needs_digit, money.check_vat),
        fold=True,
        yes=("DE136695976", "USt-IdNr. DE 136695976"),
        no=("DE136695978", "DEADBEEFCAFE"),
        source="VIES, python-stdnum",
        priority=46,
    ),
    P(
        name="ES_NIF",
        description="Spanish DNI or NIE",
        regex=r"\b(?:[XYZ]\d{7}|\d{7,8})-?[A-Z]\b",
        check=lambda t: (
            state.check_nie(t) if t[0] in "XYZxyz" else state.check_dni(t.replace("-", "").zfill(9))
        ),
        fold=True,
        context=("dni", "nif", "nie", "identidad", "identificación", "número de identificación"),
        weak=True,
        lone=True,
        yes=("mi NIE es X9613851N", "55555555-K", "DNI 12345678Z"),
        no=("Y8063915Q", "12345678A", "blob 12345678Z end"),
        source="python-stdnum",
    ),
    P(
        name="IT_FISCAL_CODE",
        description="Italian codice fiscale",
        regex=r"\b[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]\b",
        check=state.check_codice_fiscale,
        fold=True,
        yes=("RCCMNL83S18D969H",),
        no=("RCCMNL83S18D969A",),
        source="python-stdnum",
    ),
    P(
        name="PL_PESEL",
        description="Polish PESEL number",
        regex=r"\b\d{11}\b",
        check=state.check_pesel,
        context=("pesel",),
        weak=True,
        lone=True,
        yes=("PESEL 44051401458", "44051401458"),
        no=("PESEL 44051401459", "batch 44051401458 done"),
        source="python-stdnum",
        priority=51,
    ),
    P(
        name="NL_BSN",
        description="Dutch citizen service number",
        regex=r"\b\d{9}\b",
        check=state.check_bsn,
        context=("bsn", "burgerservicenummer", "sofinummer"),
        weak=True,
        yes=("BSN 111222333",),
        no=("BSN 111222334", "111222333"),
        source="python-stdnum",
        priority=47,
    ),
    P(
        name="CA_SIN",
        description="Canadian social insurance number",
        regex=r"\b(?:[1-79]\d{2} \d{3} \d{3}|[1-79]\d{2}-\d{3}-\d{3}|[1-79]\d{8})\b",
        check=state.check_sin,
        context=("sin", "social insurance", "nas", "assurance sociale"),
        weak=True,
        lone=True,
        yes=("SIN: 130 692 544", "130-692-544"),
        no=("SIN: 130 692 545", "130-692 544"),
        source="python-stdnum",
        priority=47,
    ),
    P(
        name="CH_AHV",
        description="Swiss AHV number",
        regex=r"\b756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}\b",
        check=state.check_ahv,
        yes=("756.9217.0769.85",),
        no=("756.9217.0769.86",),
        source="python-stdnum",
        priority=47,
    ),
    P(
        name="BE_NN",
        description="Belgian national register number",
        regex=r"\b\d{2}[. ]?\d{2}[. ]?\d{2}[- ]?\d{3}[. ]?\d{2}\b",
        check=state.check_be_nn,
        context=(
            "rijksregister",
            "rijksregisternummer",
            "registre national",
            "nationaal nummer",
            "nrn",
        ),
        weak=True,
        lone=True,
        yes=("85.07.30-033.28",),
        no=("rijksregister 85.07.30-033.29", "row 85073003328 of"),
        source="python-stdnum",
        priority=47,
    ),
    P(
        name="FI_HETU",
        description="Finnish personal identity code",
        regex=r"\b\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]\b",
        check=state.check_hetu,
        fold=True,
        yes=("010594Y9032", "131052-308T"),
        no=("131052-308U", "311190-1111"),
        source="Digital and Population Data Services Agency",
        priority=51,
    ),
    P(
        name="PASSPORT",
        description="Passport number, near its name",
        regex=r"\b(?:[A-Z]{1,3}\d{6,8}|\d{9}|\d{2}[A-Z]{2}\d{5}|[A-Z]{2}\d[A-Z0-9]{2}\d[A-Z0-9]{2,3})\b",
        check=common.needs_digit,
        context=PASSPORT,
        weak=True,
        fold=True,
        yes=(
            "my passport is A12803456",
            "Passport no. 912803456",
            "passeport 12AB34567",
            "AAA123456 es mi pasaporte",
        ),
        no=("commit A12803456", "my passport expires"),
        source="ICAO 9303",
        priority=46,
    ),
    P(
        name="US_DRIVER_LICENSE",
        description="Driver's licence of a US state, near its name",
        regex=(
            r"\b(?:[A-Z]{1,2}[ -]?\d{3,8}(?:["
            r" -]?\d{3,4}){0,3}|\d{7,12}|[A-Z]\d{2}-\d{2}-\d{4}|\d{3}[A-Z]{2}\d{4})\b"
        ),
        check=common.needs_digit,
        context=(
            "driver's license",
            "drivers license",
            "driver license",
            "driving license",
            "driver's licence",
            "dl",
            "dl#",
            "license number",
            "licence number",
            "permis de conduire",
            "führerschein",
            "führerscheinnummer",
            "driving licence",
            "permit",
        ),
        weak=True,
        fold=True,
        yes=("driver's license H12234567", "DL: D1234567"),
        no=("model H12234567", "driver's license renewal"),
        source="AAMVA DL/ID formats by state",
        priority=44,
    ),
    P(
        name="LICENSE_PLATE",
        description="Vehicle registration of DE, UK, FR, US, near a word for it",
        regex=(
            r"\b(?:[A-ZÄÖÜ]{1,3}[ -][A-Z]{1,2}[ -]?\d{1,4}[EH]?|[A-HJ-PR-Y]{2}\d{2}["
            r" -]?[A-HJ-PR-Z]{3}|[A-Z]\d{1,3} ?[A-Z]{3}"
            r"|[A-HJ-NP-TV-Z]{2}-\d{3}-[A-HJ-NP-TV-Z]{2}|\d[A-Z]{3}\d{3}|[A-Z]{3}[ -]?\d{3,4})\b"
        ),
        context=(
            "plate",
            "license plate",
            "licence plate",
            "registration",
            "reg",
            "kennzeichen",
            "kfz",
            "immatriculation",
            "plaque",
            "number plate",
            "vehicle",
            "vehicles",
            "car",
            "auto",
            "fahrzeug",
            "voiture",
        ),
        weak=True,
        fold=True,
        yes=(
            "plate 7ABC123",
            "Kennzeichen B AB 1234",
            "my car reg is AB51 ABC",
            "immatriculation AB-123-CD",
        ),
        no=("section B AB 1234", "my car is fast"),
        source="FZV annex 1, DVLA INF104, SIV",
        priority=30,
    ),
    P(
        name="VIN",
        description="Vehicle identification number",
        regex=r"\b[A-HJ-NPR-Z0-9]{8}[0-9X][A-HJ-NPR-Z0-9]{4}[0-9A-HJ-NPR-Z]\d{3}\b",
        check=state.check_vin,
        yes=("1HGCM82633A004352", "VIN 1M8GDM9AXKP042788"),
        no=("1HGCM82633A004353", "11111111111111111"),
        source="ISO 3779, 49 CFR 565",
    ),
    P(
        name="COMPANY_NAME",
        description="A company by its legal form",
        regex=rf"{HOLDER}{COMPANY}|\b({COMPANY})",
        trigger=rf" {LEGAL}",
        check=common.check_company,
        doubt=lambda text: text.endswith("SAS"),
        context=(
            "company",
            "firm",
            "employer",
            "works",
            "client",
            "customer",
            "supplier",
            "invoice",
            "société",
            "facture",
        ),
        yes=("Acme Widgets Inc. sent it", "Müller & Söhne GmbH", "invoice of Dupont SAS"),
        no=(
            "the company sent it",
            "INC AX",
            "GmbH",
            "Copyright 2007 Acme Widgets, Inc.",
            "an Azure SAS token",
        ),
        source=(
            "ISO 20275 entity legal forms; 17 USC 401 (notices); a company is no person (GDPR,"
            " recital 14)"
        ),
        priority=20,
    ),
)
