"""The forms in which a value is joined to the name of a secret, as regular expressions that begin
behind the name.

``['password'] = 'x'``, ``Password("x")``, ``: str = "x"``, ``**Password:** x``, ``for bob is x``.
All are bounded, so a name costs no more than what stands near it.
"""

from __future__ import annotations

import re

_STRING = (
    r"""(?:[bBrRuULN@$]{0,2}(?:"(?P<double>(?:[^"\\\n]|\\[^\n]){1,256})"|'(?P<single>(?:[^'\\\n]|\\[^\n]){1,256})'"""
    r"""|`(?P<tick>[^`\n]{1,256})`|\\"(?P<escaped>[^"\\\n]{1,256})\\"|“(?P<curly>[^”\n]{1,256})”"""
    r"""|„(?P<low>[^“”\n]{1,256})[“”]|«\s?(?P<angled>[^«»\n]{1,256}?)\s?»))"""
)
_BARE = r"""(?P<bare>[^\s"'`<>,;&|\\\0“”„«»]{5,256})"""
_VALUE = rf"(?:{_STRING}|{_BARE})"
VALUES = ("bare", "double", "single", "tick", "escaped", "curly", "low", "angled")
"""The groups of which one is the value."""
_CLOSE = r"""(?:(?:\\?["'`”“»]|[\])}*_?!]|\[\w{0,8}\]){0,5})(?:\.(?:value|text|Value|Text))?"""
_TYPE = (
    r"(?:(?:[ \t]*:[ \t]*&?'?[\w'][\w .<>\[\]|?']{0,40}?|[ \t]+(?:string|String|str|text))(?=["
    r" \t]*=))?"
)
_SIGN = r"(?:\|\|=|\?\?=|=(?![=>])|=>|:=|:[ \t]*\||:(?!:)|：|<-|(?P<compares>={2,3}))"
_BEGINS = r"(?P<begins>\|(?!\|)|(?:[–—→⇒]|--?)(?=[ \t]))"
"""Signs that join only what stands at the beginning of a line."""
_ABOUT = (
    r"(?:["
    r" \t]+(?:for|to|of|on|at|für|fuer|von|zu|zum|de|del|da|do|di|du|la|pour|para|per|van|voor|dla|för|til|in)"
    r"[ \t][^\n.:=\"'`]{1,40}?|[ \t]*\([^()\n]{1,40}\))?"
)
_IS = (
    r"(?:["
    r" \t]+(?:is|was|now|set|changed|reset|to|from|still|just|currently|ist|lautet|war|est|es|è|é|jest|är|er|on"
    r"|je|has|been|be|becomes|это)(?!\w)|[ \t]*[:=]|[ \t]*\[default:?)"
)
_WRAPPED = r"(?P<wrapped>(?:new[ \t]+)?[A-Za-z_][\w.:]{0,40}\([ \t]*)?"

ASSIGNED = re.compile(
    rf"{_CLOSE}{_TYPE}[ \t]*(?:{_SIGN}|{_BEGINS})(?:[*_]{{1,2}}(?=[ \t]))?[ \t]*(?:!!?\w{{1,32}}["
    r" \t]+)?"
    rf"(?:{_WRAPPED}{_STRING}|{_BARE})"
)
CALLED = re.compile(rf"[({{][ \t]*{_STRING}[ \t]*[)}}]")
OTHERWISE = re.compile(rf"{_CLOSE}[ \t]*\){{0,2}}[ \t]*(?:\|\||\?\?|\bor\b|:-)[ \t]*{_STRING}")
"""``or "x"``"""
MEMBER = re.compile(rf"{_CLOSE}[ \t]*[\])]{{0,2}}[ \t]*,\s{{0,20}}{_STRING}")
"""``"password", "x"``"""
ATTRIBUTE = re.compile(
    rf"""\\?["']?[ \t][^<>\n]{{0,120}}?\bvalue[ \t]*=[ \t]*(?:{_STRING}|(?P<bare>[^\s"'<>]{{4,256}}))"""
)
BLOCK = re.compile(
    rf"""\\?["'][ \t]*\{{[^{{}}]{{0,400}}?\b(?:default|value)[ \t]*=[ \t]*{_STRING}"""
)
BESIDE = re.compile(rf"{_CLOSE}[ \t]+{_VALUE}")
SAID = re.compile(
    rf"{_CLOSE}{_ABOUT}{_IS}{{1,4}}(?:[ \t]*:?[ \t]*\r?\n[ \t]*|:?["
    rf" \t]+)(?=\W{{0,3}}\S{{0,64}}[0-9]){_VALUE}"
)
"""``for bob is x``"""
NEXT = re.compile(
    rf"{_CLOSE}[ \t]*(?P<sign>[:：=]?)[*_]{{0,2}}[ \t]*\r?\n(?:[ \t]*\r?\n)?[ \t]*(?:[-*>]["
    rf" \t]+)?{_VALUE}"
    r"[ \t.]*(?:\r?\n|\Z)"
)
"""On the next line, alone."""
SQL = re.compile(
    rf"(?:with[ \t]+\S{{1,64}}[ \t]+)?(?:by|as)[ \t]+(?:password[ \t]+)?{_VALUE}", re.I
)
"""Behind ``IDENTIFIED``."""
CREDENTIALS = re.compile(rf"s?[ \t]*[:=][ \t]*[\w.@-]{{1,64}}[ \t]*[/:][ \t]*{_VALUE}", re.I)
"""``credentials: bob / x``"""
ARGUMENT = re.compile(rf",\s{{0,20}}(?:\w{{1,32}}=)?{_STRING}")
"""Not the first of a call."""
DECLARED = re.compile(
    rf"[ \t]*(?:(?:&?'?[\w'][\w .<>\[\]|?']{{0,40}}?[ \t]*=[ \t]*)?{_STRING}|!!?\w{{1,32}}["
    rf" \t]+{_BARE})[ \t;,)]*\Z"
)
"""All there is of what has the name: ``str = "x"``, ``b'x'``, ``!!str x``."""
ACCOUNT = re.compile(
    r"(?:login|user(?:name)?|machine|account)[ \t:=]+\S{1,64}[\s,;/]+(?:and )?(?:the )?\Z"
    r"|(?:^|\n)[ \t]*(?:#define|ENV|setx|set|export)[ \t]+\Z",
    re.I,
)
"""Before a name beside which its value stands: ``login bob password x``, ``ENV PASSWORD x``."""
CLOSING = "\"'`”“»])}*_?!\\"
JOINING = CLOSING + " \t\r\n=:：|<–—→⇒-,[.{"
"""What may stand behind a name when a value goes on from there."""
