"""Money: cards, accounts, wallets."""

from __future__ import annotations

from functools import partial

from akiosd.redact.model import Pattern
from akiosd.redact.validators import keys, money

P = partial(Pattern, category="financial")

# Between the groups of a card; a line may end once within it.
GAP, LINE = r"(?:[ .+\t-]|  )", r" ?\r?\n"
CARD = ("card", "cards", "credit", "debit", "visa", "mastercard", "amex", "maestro", "cc", "pan", "kreditkarte",
        "karte", "carte", "carte bancaire", "tarjeta", "carta")  # fmt: skip
# Countries whose accounts have no letters (ISO 13616).
DIGITS_ONLY = "(?:AT|BE|CZ|DE|DK|EE|ES|FI|HR|HU|IS|LT|NO|PL|PT|RS|SE|SI|SK)"

PATTERNS = (
    P(
        name="CREDIT_CARD",
        description="Payment card of any scheme, American Express included",
        regex=rf"\b(?:[1-6]\d{{11,18}}|[1-6]\d{{3}}(?:{GAP}\d{{4}}){{3}}|[1-6]\d{{3}}{GAP}\d{{6}}{GAP}\d{{4,5}}"
        rf"|[1-6]\d{{3}}(?:{LINE}\d{{4}}[ -]\d{{4}}[ -]|[ -]\d{{4}}(?:{LINE}\d{{4}}[ -]|["
        rf" -]\d{{4}}{LINE}))\d{{4}})\b",
        check=money.check_card,
        yes=(
            "4012888888881881",
            "card 5555-5555-5555-4444",
            "3782 822463 10005",
            "Order #4532015112830366-001",
            "4012\t8888\t8888\t1881",
            "4012  8888  8888  1881",
            "my card is 4012 8888\n8888 1881 and",
        ),
        no=("4012888888881882", "1234567890123456", "1748503543012", "4444444444444444"),
        source="ISO/IEC 7812, python-stdnum",
        priority=70,
    ),
    P(
        name="CARD_NUMBER",
        description="A card number in groups of its own, near a word for it",
        regex=r"\b[1-6](?:[ ._/\t-]{0,2}\d){11,18}\b",
        check=money.check_card,
        context=CARD,
        weak=True,
        lone=True,
        yes=(
            "visa 4012-888888-881881",
            "card 40 12 88 88 88 88 18 81",
            "credit card 4012_8888_8888_1881",
            "4012/8888/8888/1881",
        ),
        no=("rows 40 12 88 88 88 88 18 81", "card 40 12 88 88 88 88 18 82"),
        source="ISO/IEC 7812, python-stdnum",
        priority=43,
    ),
    P(
        name="CARD_SECURITY_CODE",
        description="Card verification code with its name",
        regex=(
            r"\b(?:cvv2?|cvc2?|cid|security[ _-]?code|card[ _-]?code)(?: is|:|=|\"| )["
            r" :=\"]{0,3}(\d{3,4})\b"
        ),
        fold=True,
        yes=("CVV: 123", "security code is 4821"),
        no=("cvv", "code 123"),
        source="PCI DSS 3.2",
    ),
    P(
        name="IBAN",
        description="International bank account number",
        regex=(
            r"\b(?:[A-Z]{2}\d{2}(?:[ \t]{0,2}|[.-]|\r?\n)[A-Z0-9](?:(?:["
            r" \t]{0,2}|[.-]|\r?\n)[A-Z0-9]){10,29}"
            rf"|{DIGITS_ONLY} \d\d(?: ?\d){{12,24}})\b"
        ),
        check=money.check_iban,
        trim=money.iban_length,
        fold=True,
        yes=(
            "IBAN DE89 3704 0044 0532 0130 00 is on the bill",
            "DE89 3704 0044 0532 0130 00",
            "GB82WEST12345698765432",
            "FR1420041010050500013M02606",
            "DE89  3704  0044  0532  0130 00",
            "DE89 3704 0044\n0532 0130 00",
            "DE 89 37 04 00 44 05 32 01 30 00",
        ),
        no=("DE88370400440532013000", "GB82 WEST", "XX00 1234 5678 9012 3456"),
        source="ISO 13616, python-stdnum",
        priority=72,
    ),
    P(
        name="BIC",
        description="Bank identifier, near its name",
        regex=r"\b[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?\b",
        check=money.check_bic,
        context=("bic", "swift", "bank", "iban"),
        weak=True,
        yes=("BIC: DEUTDEFF", "swift BNPAFRPPXXX"),
        no=("BIC: ABCDZZFF", "DOCUMENT"),
        source="ISO 9362, python-stdnum",
    ),
    P(
        name="US_ROUTING_NUMBER",
        description="ABA routing number",
        regex=r"\b(?:\d{9}|\d{4}-\d{4}-\d)\b",
        check=money.check_rtn,
        context=("routing", "aba", "rtn", "bank", "transit", "wire", "ach"),
        weak=True,
        lone=True,
        yes=("routing 121000358", "121000358", "3222-7162-7"),
        no=("421042111", "1234-0000-0", "id 121000358 ok"),
        source="ABA, python-stdnum",
        priority=48,
    ),
    P(
        name="BANK_ACCOUNT",
        description="Account number, with its name",
        regex=(
            r"\b(?:(?:bank[ _]?)?(?:account|acct|a/c)(?:["
            r" _]?(?:number|no|num|nr|id))?|kontonummer|konto|compte|iban)"
            r"\.?(?: is|:|#|=)?[ \"':=#]{0,3}(\d{6,17})\b"
        ),
        fold=True,
        yes=("account number 945456787654", "acct 12345678", "Konto: 1234567890"),
        no=("order 945456787654", "account 1234", "an account of 2330673 people"),
        source="NACHA, BACS",
        priority=15,
    ),
    P(
        name="UK_SORT_CODE",
        description="British sort code, near its name",
        regex=r"\b\d{2}-\d{2}-\d{2}\b",
        context=("sort code", "sort-code", "sortcode"),
        weak=True,
        yes=("sort code 20-00-00",),
        no=("on 20-00-00",),
        source="BACS",
        priority=52,
    ),
    P(
        name="BITCOIN_ADDRESS",
        description="Bitcoin address: base58check, bech32, bech32m",
        regex=r"\b(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{11,71})\b",
        check=money.check_bitcoin,
        yes=("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
        no=("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ2", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdx"),
        source="BIP 173, BIP 350, python-stdnum",
    ),
    P(
        name="ETHEREUM_ADDRESS",
        description="Ethereum address",
        regex=r"\b0x[0-9a-fA-F]{40}\b",
        check=keys.secret(2.5),
        yes=("0x52908400098527886E0F7030069857D2E4169EE7",),
        no=("0x0000000000000000000000000000000000000000", "0x52908400098527886E0F"),
        source="EIP-55",
    ),
    P(
        name="PAYPAL",
        description="PayPal.me page or account name",
        regex=(
            r"\b(?:paypal\.me/([A-Za-z0-9]{3,20})|pay_?pal(?:[ _-]?(?:id|account|user))?:"
            r" ?\"?([A-Z0-9]{13}))\b"
        ),
        fold=True,
        yes=("pay me at paypal.me/adalovelace", "PayPal ID: 5F2K8XH3PQ7LM"),
        no=("paypal.com/help", "paypal: soon"),
        source="paypal.me",
    ),
)
