"""Keys, tokens, passwords, names of accounts."""

from __future__ import annotations

from functools import partial

from akiosd.redact.model import Pattern
from akiosd.redact.validators import common, keys

P = partial(Pattern, category="digital", priority=80)

LABEL = (
    r"(?:api[ _-]?keys?|api[ _-]?secret|secret[ _-]?keys?|client[ _-]?secret|(?:shared["
    r" _-]?)?access[ _-]?keys?|account[ _-]?key|(?:access|auth|refresh)[ _-]?token"
    r"|token|secret|subscription[ _-]?key|(?:encryption|signing)[ _-]?key|webhook[ _-]?secret)"
)

# {"alg {"typ {"kid {"x5t {"x5c {"jku {"enc {"cty {"jwk {"zip {"epk {"crit {"x5u (RFC 7515 § 4.1,
# RFC 7516 § 4.1)
KEY = r"(?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?"
JOSE = r"eyJ(?:hbGc|0eXA|raWQ|4NXQ|4NWM|4NXU|qa3U|lbmM|lcGs|jdHk|qd2s|6aXA|jcml0)"
HEADERS = r"(?:\s{0,4}[A-Z][A-Za-z0-9-]{1,30}: [^\n\x00]{0,120}){0,6}"
# Between the lines of a key: string quotes of languages, line numbers, marks of diffs and
# quotations.
BETWEEN = r"[\s\d\"'+,;:>|*#\x80]{0,40}"

PATTERNS = (
    P(
        name="AWS_ACCESS_KEY",
        description="AWS access key id",
        regex=r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
        yes=("AWS key: AKIAIOSFODNN7EXAMPLE for",),
        no=("AKIAIOSFODNN7", "AKIAiosfodnn7example"),
        source="AWS IAM identifiers",
    ),
    P(
        name="AWS_SECRET_KEY",
        description="AWS secret access key, with its name",
        regex=(
            r"\b(?:aws[_a-z-]{0,16})?secret[_ -]?(?:access[_ -]?)?key[\"']?[ ]?[:=]["
            r" ]?[\"']?([A-Za-z0-9/+]{40})\b"
        ),
        check=keys.secret(3.5),
        fold=True,
        yes=("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",),
        no=("aws_secret_access_key=",),
        source="AWS IAM identifiers",
        priority=82,
    ),
    P(
        name="GITHUB_TOKEN",
        description="GitHub token, classic or fine-grained",
        regex=r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b",
        yes=(
            "ghp_1234567890123456789012345678901234567890",
            "ghs_abcdefghijklmnopqrstuvwxyz0123456789",
        ),
        no=("ghp_short", "github_pattern"),
        source="github.blog, token formats",
        trigger=r"\b(?:gh[pousr]_|github_pat_)",
    ),
    P(
        name="GITLAB_TOKEN",
        description="GitLab token",
        regex=r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[A-Za-z0-9_-]{20,}",
        yes=("glpat-abcDEF1234567890wxyz",),
        no=("glpat-short", "global-abcDEF1234567890wxyz"),
        source="docs.gitlab.com, token overview",
        trigger=r"\bgl[a-z]+-",
    ),
    P(
        name="SLACK_TOKEN",
        description="Slack token or webhook",
        regex=r"\b(?:xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]{20,})",
        yes=(
            "xoxb-1234567890123-1234567890123-abcdefghijklmnopqrstuvwx",
            "https://hooks.slack.com/services/T1234567890/B1234567890/abcdefghijklmnopqrstuvwx",
        ),
        no=("xoxo-love", "hooks.slack.com/services"),
        source="api.slack.com, token types",
        trigger=r"\b(?:xox[abeoprs]-|xapp-|hooks\.slack)",
    ),
    P(
        name="STRIPE_KEY",
        description="Stripe key or webhook secret",
        regex=r"\b(?:[prs]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})",
        yes=("sk_live_1234567890abcdef", "pk_test_abcdefghijklmnopqrstuvwxyz123456"),
        no=("sk_live_", "task_live_1234567890abcdef"),
        source="docs.stripe.com/keys",
        trigger=r"\b(?:[prs]k_(?:live|test)_|whsec_)",
    ),
    P(
        name="GOOGLE_KEY",
        description="Google API key or OAuth token",
        regex=r"\b(?:AIza[A-Za-z0-9_-]{28,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28}|1//0?[A-Za-z0-9_-]{30,})",
        yes=(
            "AIzaSyDdI0hCZtE6vySjMm-WEfRq3CPzqKqqsHI",
            "ya29.A0ARrdaM1234567890abcdefghijklmnopqrstuvwxyzABCDEF",
        ),
        no=("AIza", "ya29.short"),
        source="cloud.google.com, API keys",
        trigger=r"\b(?:AIza|ya29\.|GOCSPX-|1//)",
    ),
    P(
        name="OPENAI_KEY",
        description="OpenAI API key",
        regex=r"\bsk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_]{20}[A-Za-z0-9_-]*",
        check=keys.secret(3.0),
        yes=(
            "sk-proj-abcdefghijklmnopqrstuvwxyz1234567890abcdefghijklmnopqr",
            "sk-1234567890abcdefghijklmnopqrstuvwxyzABCDEF1234567890",
        ),
        no=("sk-learn", "task-1234567890abcdefghijklmnop", "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        source="platform.openai.com",
        trigger=r"\bsk-",
    ),
    P(
        name="ANTHROPIC_KEY",
        description="Anthropic API key",
        regex=r"\bsk-ant-[A-Za-z0-9]{2,10}-[A-Za-z0-9_-]{20,}",
        yes=("sk-ant-api03-R2D2c3po4life_abcdefghij-klmnopqrstuv",),
        no=("sk-ant-hill", "sk-ant-api03-x"),
        source="docs.anthropic.com",
        trigger=r"\bsk-ant-",
        priority=85,
    ),
    P(
        name="SERVICE_KEY",
        description=(
            "Key with the prefix of its service: SendGrid, Hugging Face, npm, PyPI, DigitalOcean,"
            " Groq, xAI and others"
        ),
        regex=r"\b(?:SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hf_[A-Za-z]{30,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}|dop_v1_[a-f0-9]{64}"
        r"|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}|shpat_[a-f0-9]{32}|lin_api_[A-Za-z0-9]{40}|key-[a-f0-9]{32}|SK[a-f0-9]{32}|sk-or-v1-[a-f0-9]{64}"
        r"|dapi[a-f0-9]{32}|hvs\.[A-Za-z0-9_-]{24,}|ATATT3[A-Za-z0-9_=-]{50,}|r8_[A-Za-z0-9]{37}|pplx-[A-Za-z0-9]{40,}|ntn_[A-Za-z0-9]{40,}|AGE-SECRET-KEY-1[A-Z0-9]{58}"
        r"|\d{8,10}:AA[A-Za-z0-9_-]{33})\b",
        yes=(
            "SG.abcdefghijklmnop.qrstuvwxyz1234567890",
            "npm_abcdefghijklmnopqrstuvwxyz0123456789",
            "sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "bot 123456789:AAabcdefghijklmnopqrstuvwxyzABCDEFG",
        ),
        no=("SG.a.b", "npm_config_cache", "hf_hub"),
        source="each service's documentation",
        trigger=r"\b(?:SG\.|hf_|npm_|pypi-|dop_v1_|gsk_|xai-|shpat_|lin_api_|key-|SK|sk-or-v1-|dapi|hvs\.|ATATT3|r8_|pplx-|ntn_|AGE-SECRET-KEY-1|\d{8,10}:AA)[A-Za-z0-9_-]",
    ),
    P(
        name="API_KEY",
        description="A value called key, token or secret that is random enough to be one",
        regex=rf"(?:\b|_)(?:x-)?{LABEL}[\"']?(?: ?[:=]=? ?|: )[\"']?([A-Za-z0-9_./+=-]{{15,}})",
        check=keys.secret(3.0),
        fold=True,
        yes=(
            "api_key = 'f3a9c1b27d8e4056a1b2'",
            "X-Auth-Token: 1234567890abcdefghijklmnopqrstuvwxyz",
            "/cb?access_token=1234567890abcdefghijklmnopqrstuvwxyz",
            "X-API-Key: apikey987654321",
        ),
        no=(
            "token = get_token_from_store(x)",
            "X-API-Key: short",
            "secret: aaaaaaaaaaaaaaaaaaaaaaaa1",
        ),
        source="names of fields; entropy floor 3 bits a character",
        trigger=rf"(?i:{LABEL}[\"']?(?: ?[:=]=? ?|: ))",
        priority=62,
    ),
    P(
        name="JWT",
        description="JSON Web Token",
        regex=rf"\b(?:{JOSE}[A-Za-z0-9_-]*|eyJ[A-Za-z0-9_-]{{5,1000}})\.[A-Za-z0-9_-]{{6,}}\.[A-Za-z0-9_-]*",
        check=keys.check_jwt,
        yes=(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        ),
        no=("eyJhbGciOiJIUzI1NiJ9", "eyJhbGc.broken.signature", "abc.def.ghi"),
        source="RFC 7519",
        trigger=r"\beyJ",
        endless=rf"\b(?:{JOSE}[A-Za-z0-9_-]*|eyJ[A-Za-z0-9_-]{{5,1000}}\.[A-Za-z0-9_-]*)(?:\.[A-Za-z0-9_-]*){{0,2}}",
        priority=84,
    ),
    P(
        name="PRIVATE_KEY",
        description="A whole private-key block, PEM or PGP, also one that is cut off",
        regex=rf"-----BEGIN {KEY}-----{HEADERS}(?:(?:{BETWEEN}[A-Za-z0-9+/=]{{16,}})+"
        rf"(?:{BETWEEN}[A-Za-z0-9+/=]{{1,15}})?(?:{BETWEEN}=[A-Za-z0-9+/]{{4}})?(?:{BETWEEN}-----END"
        rf" {KEY}-----)?|(?:[^-\x00]|-[^-\x00]){{1,600}}-----END {KEY}-----)",
        yes=(
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq5\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF",
        ),
        no=(
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
            "-----BEGIN PRIVATE KEY----- goes first",
        ),
        source="RFC 7468",
        trigger=r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE",
        endless=rf"-----BEGIN {KEY}-----{HEADERS}(?:{BETWEEN}[A-Za-z0-9+/=]{{16,}})+"
        rf"(?:{BETWEEN}[A-Za-z0-9+/=]{{0,15}}){{0,2}}{BETWEEN}(?:-{{1,5}}[A-Z0-9"
        r" ]{0,60}-{0,5})?",
        loose=True,
        priority=90,
    ),
    P(
        name="URL_PASSWORD",
        description="User and password in a URL",
        regex=r"\b[a-z][a-z0-9+.-]{1,15}://([^\s/:@?#\"'<>\x00]{0,128}:[^\s/?#\"'<>\x00]{2,255})@",
        loose=True,
        yes=(
            "postgres://admin:s3cr3t@db.example/app",
            "https://u:pw12@host",
            "https://u:p%40ss1@host.org",
        ),
        no=(
            "https://example.com/a:b",
            "mailto:x@y.org",
            "https://example.com:8080?to=ada@lovelace.org",
        ),
        source="RFC 3986 § 3.2.1",
        instead_of=("EMAIL",),
        trigger=r"://[^\s/:@?#\"'<>\x00]{0,128}:",
        priority=83,
    ),
    P(
        name="BEARER_TOKEN",
        description="Credentials of an Authorization header",
        regex=r"\b(?:bearer|authorization: \"?(?:basic|token|digest)) ([A-Za-z0-9._~+/=-]{12,})",
        check=common.needs_digit,
        fold=True,
        loose=True,
        yes=(
            "Authorization: Bearer abcd1234567890efghijk1234567890lmnop",
            "Authorization: Basic dXNlcm5hbWU6cGFzc3dvcmQ0NTY=",
        ),
        no=("the bearer of this letter", "Authorization: Bearer <token>"),
        source="RFC 6750, RFC 7617",
        trigger=r"(?i:\bbearer|\bauthorization:) ",
        priority=75,
    ),
    P(
        name="SESSION_COOKIE",
        description="Session identifier in a cookie, URL or field",
        regex=(
            r"\b(?:(?:[a-z]{1,12}[_-])?(?:session|sess|sid|session_?id|phpsessid|jsessionid|connect\.sid|csrf_?token)[\"']?[=:]"
            r" ?[\"']?([A-Za-z0-9_%.-]{12,})"
            r"|(?:set-)?cookie: \"?[A-Za-z0-9_.-]+=([A-Za-z0-9_%.+/=-]{12,}))"
        ),
        check=common.needs_digit,
        fold=True,
        yes=(
            "Cookie: session_id=abc123def456ghi789; x=1",
            "PHPSESSID=abcdefghijklmnopqrstuvwxyz123456",
            "express_sid=s3cr3tvalue0001",
        ),
        no=("session=abc", "session = requests", "cookie: theme=dark"),
        source="RFC 6265",
        trigger=r"(?i:sess(?:ion)?(?:_?id)?|(?:\b|_)sid|cookie|csrf_?token)[\"']?[=:]",
        priority=61,
    ),
    P(
        name="PASSWORD",
        description="A password with its name",
        regex=(
            r"(?:(?:\b|_)[a-z]{0,12}(?:password|passwd|passphrase|passwort|mot de"
            r" passe|pwd)(?:[\"']?[ ]?[:=] ?[\"']?| is )"
            r"|--pass(?:word|wd|phrase)? |(?:\b|_)pass[\"']?[:=] ?[\"']?)([^\s\"'<>,;&\x00]{6,})"
        ),
        check=common.all_of(keys.check_password, common.needs_digit),
        fold=True,
        loose=True,
        yes=(
            "password: hunter2!",
            "DB_PASSWORD=Xk9$mm2p",
            "my password is tr0ub4dor",
            "PGPASSWORD=abc12345",
            "export DB_PASS=Xk9$mm2p",
            '"pass":"S3cretValue"',
            "psql --password hunter22",
        ),
        trigger=r"(?i:pass|password|passwd|passphrase|passwort|mot de passe|pwd)[\"' :=]",
        no=("password = get_password()", "password: ${SECRET1}", "password=None"),
        source="names of fields",
        priority=60,
    ),
    P(
        name="PASSPHRASE",
        description="A password in quotes, also one of words",
        regex=(
            r"(?:\b|_)[a-z]{0,12}(?:password|passwd|passphrase|passwort|pwd)[\"']? ?[:=]"
            r" ?[\"']([^\"'\n\x00]{8,64})[\"']"
        ),
        check=keys.check_passphrase,
        fold=True,
        loose=True,
        yes=("password='correct horse battery'", '{"dbPassword": "swordfishes"}'),
        no=("password: 'enter your password'", 'password="${PASSWORD}"', "password: correct horse"),
        source="names of fields",
        priority=59,
    ),
    P(
        name="USERNAME",
        description="Name of an account, with a word for it",
        regex=(
            r"\b(?:user[ _-]?name|login[ _-]name|user[ _-]?id|screen[ _-]name|benutzername|nom"
            r" d'utilisateur)(?: is|:)[ \"']{1,2}([A-Za-z0-9][A-Za-z0-9._-]{2,31})"
        ),
        check=common.needs_digit,
        fold=True,
        yes=("username: jdoe42", "my user name is grace_hopper1"),
        no=("username: str", "the user name is required"),
        source="names of fields",
        priority=25,
    ),
    P(
        name="SOCIAL_HANDLE",
        description="@handle near the name of a network",
        regex=r"@([A-Za-z0-9_][A-Za-z0-9_.]{2,29})",
        context=(
            "twitter",
            "instagram",
            "tiktok",
            "telegram",
            "mastodon",
            "bluesky",
            "x.com",
            "snapchat",
            "my handle",
        ),
        check=common.not_one_of(
            "property abstractmethod classmethod staticmethod dataclass override"
        ),
        weak=True,
        yes=("follow me on Instagram @ada.lovelace", "twitter: @grace_h"),
        no=("@property", "use @dataclass here"),
        source="handle rules of the networks",
        priority=24,
    ),
)
