"""The forms in which times are written, the letters of zones, and months as other languages write them."""

from __future__ import annotations

from dataclasses import dataclass

ZONES = {
    "Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "EET": 2, "EEST": 3,
    "MSK": 3, "JST": 9, "KST": 9, "HKT": 8, "SGT": 8, "AEST": 10, "AEDT": 11, "NZST": 12, "HST": -10,
    "AKST": -9, "AKDT": -8, "PST": -8, "PDT": -7, "MST": -7, "MDT": -6, "CDT": -5, "EST": -5, "EDT": -4, "BRT": -3,
    "SAST": 2, "WIB": 7, "WITA": 8, "WIT": 9, "AWST": 8, "ACST": 9.5, "ACDT": 10.5, "NZDT": 13, "NPT": 5.75, "PKT": 5,
    "ICT": 7, "PHT": 8, "MYT": 8, "EAT": 3, "WAT": 1, "IDT": 3, "TRT": 3, "IRST": 3.5, "UZT": 5, "SAMT": 4, "YEKT": 5,
    "OMST": 6, "NOVT": 7, "KRAT": 7, "IRKT": 8, "YAKT": 9, "VLAT": 10, "MAGT": 11, "PETT": 12, "CLT": -4, "CLST": -3,
    "UYT": -3, "VET": -4,
}  # fmt: skip
"""Hours by which clocks of zones are ahead that have one meaning, or one that nearly everybody means."""

AMBIGUOUS = ("IST", "CST", "BST", "AST", "ADT", "AMT", "ECT", "GST", "SST", "WST", "ACT", "ART")
"""Letters that several zones have: a time with them is read as one without a zone."""

_LETTERS = "|".join(sorted({*ZONES, *AMBIGUOUS}, key=len, reverse=True))
# Any word in capitals that could be a zone: which of them are is asked of the few that there are, which is faster.
_ZONE = r"(?: ?([A-Z]{1,5}\b|[+-][0-9]{2}:?[0-9]{2}\b|[+-][0-9]{2}(?:[^\w:.]|$)))?"
# As PHP writes it.
_ZONE_OR_PLACE = _ZONE.replace("(?: ?(", "(?: ?([A-Z][a-z]+/[A-Z][A-Za-z_/]+|", 1)
_CLOCK = r"\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"
MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"

_MONTHS = {
    "Jan": "januar januari janvier janv enero ene gennaio gen janeiro ocak stycznia sty января янв",
    "Feb": "februar februari février févr fév febrero febbraio fevereiro fev şubat lutego lut февраля фев",
    "Mar": "märz mär mrz maart mrt mars marzo março marca mart марта мар",
    "Apr": "april avril avr abril abr aprile nisan kwietnia kwi апреля апр",
    "May": "mai mei mayo maggio mag maio mayıs maja maj мая май",
    "Jun": "juni juin junio giugno giu junho haziran czerwca cze июня июн",
    "Jul": "juli juillet juil julio luglio lug julho temmuz lipca lip июля июл",
    "Aug": "august augustus augusti août aout agosto ago ağustos sierpnia sie августа авг",
    "Sep": "september septembre sept septiembre settembre set setembro eylül września wrz сентября сен",
    "Oct": "oktober okt octobre octubre ottobre ott outubro out ekim października paź октября окт",
    "Nov": "november novembre noviembre novembro kasım listopada lis ноября ноя",
    "Dec": "dezember dez december décembre déc diciembre dic dicembre dezembro aralık grudnia gru декабря дек",
}
"""Months as other languages write them, whole or short."""

_WORDS = [(word, month) for month, words in _MONTHS.items() for word in (month.lower(), *words.split())]

MONTH_WORDS = dict(sorted(_WORDS, key=lambda pair: -len(pair[0])))
"""The month of a word in English; the longest words first, for some begin with others."""

_LOCAL_MONTH = "|".join(MONTH_WORDS)


@dataclass(frozen=True)
class Form:
    """One way to write a time: group 1 of the pattern is the time, group 2, if any, its zone."""

    name: str
    pattern: str
    format: str
    zoned: bool = False
    yearless: bool = False
    dateless: bool = False
    """Its times are nanoseconds since midnight, until `dated` says of which day."""
    rare: bool = False
    """In another language than English: looked for where nothing else is found."""


# In the order in which they are tried; where two find as many times, the one that finds them nearer to the start wins.
FORMS: tuple[Form, ...] = (
    Form("iso", rf"(\d{{4}}-\d{{2}}-\d{{2}}T{_CLOCK}){_ZONE}", "%Y-%m-%dT%H:%M:%S%.f", zoned=True),
    Form("spaced", rf"(\d{{4}}-\d{{2}}-\d{{2}} {_CLOCK}){_ZONE}", "%Y-%m-%d %H:%M:%S%.f", zoned=True),
    Form("hour of one digit", r"(\d{4}-\d{2}-\d{2} [ \d]\d:\d{2}:\d{2})", "%Y-%m-%d %k:%M:%S"),
    Form("slashed", rf"(\d{{4}}/\d{{2}}/\d{{2}} {_CLOCK}){_ZONE}", "%Y/%m/%d %H:%M:%S%.f", zoned=True),
    Form("syslog with a year", rf"({MONTH} [ \d]?\d \d{{4}} {_CLOCK}){_ZONE}", "%b %e %Y %H:%M:%S%.f", zoned=True),
    Form("syslog", rf"({MONTH} [ \d]?\d {_CLOCK})", "%Y %b %e %H:%M:%S%.f", yearless=True),
    Form("common", rf"(\d{{2}}/{MONTH}/\d{{4}}:{_CLOCK}){_ZONE}", "%d/%b/%Y:%H:%M:%S%.f", zoned=True),
    Form("common, with a blank", rf"(\d{{2}}/{MONTH}/\d{{4}} {_CLOCK}){_ZONE}", "%d/%b/%Y %H:%M:%S%.f", zoned=True),
    Form("ctime", rf"({WEEKDAY} {MONTH} [ \d]\d {_CLOCK} \d{{4}})", "%a %b %e %H:%M:%S%.f %Y"),
    Form(
        "date", rf"({WEEKDAY} {MONTH} [ \d]\d {_CLOCK} (?:{_LETTERS}|[+-]\d{{4}}) \d{{4}})", "%a %b %e %H:%M:%S%.f %Y"
    ),
    Form("epoch", r"^(?:[-<\[(] ?)?([12]\d{9}(?:\.\d{1,9})?|[12]\d{12}|[12]\d{15}|[12]\d{18})\b", ""),
    Form("epoch field", r"\b(?:ts|time|timestamp)[\"']?[=:] ?[\"']?([12]\d{9}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?)\b", ""),
    Form("audit", r"\bmsg=audit\(([12]\d{9}\.\d{3}):\d+\)", ""),
    Form("klog", r"^[IWEF](\d{4} \d{2}:\d{2}:\d{2}\.\d+)", "%Y %m%d %H:%M:%S%.f", yearless=True),
    Form("android", rf"^(\d{{2}}-\d{{2}} {_CLOCK})", "%Y %m-%d %H:%M:%S%.f", yearless=True),
    Form("cockroach", rf"^[IWEF](\d{{6}} {_CLOCK})", "%y%m%d %H:%M:%S%.f"),
    Form("hadoop", r"^(\d{6} \d{6}) ", "%y%m%d %H%M%S"),
    Form("mysql", r"^(\d{6} [ \d]?\d:\d{2}:\d{2})\b", "%y%m%d %k:%M:%S"),
    Form("spark", rf"^(\d{{2}}/\d{{2}}/\d{{2}} {_CLOCK})", "%y/%m/%d %H:%M:%S%.f"),
    Form("basic", r"(\d{8}T\d{6})(Z|[+-]\d{4})?\b", "%Y%m%dT%H%M%S", zoned=True),
    Form("dashed", r"^(\d{8}-\d{1,2}:\d{1,2}:\d{1,2})", "%Y%m%d-%H:%M:%S"),
    Form("compact", rf"^\[?(\d{{8}} {_CLOCK})", "%Y%m%d %H:%M:%S%.f"),
    # DB2 writes its zone in minutes.
    Form(
        "dotted",
        r"(\d{4}-\d{2}-\d{2}[-_]\d{2}[.:]\d{2}[.:]\d{2}(?:\.\d{1,9})?)([+-]\d{3}\b)?",
        "%Y %m %d %H %M %S%.f",
        zoned=True,
    ),
    Form("of dots", rf"(\d{{4}}\.\d{{2}}\.\d{{2}} {_CLOCK})", "%Y.%m.%d %H:%M:%S%.f"),
    Form("in keys", rf"\bdate=\"?(\d{{4}}-\d{{2}}-\d{{2}}\"? time=\"?{_CLOCK})", "%Y-%m-%d %H:%M:%S%.f"),
    Form("forge", rf"^\[(\d{{2}}{MONTH}\d{{4}} {_CLOCK})", "%d%b%Y %H:%M:%S%.f"),
    Form(
        "websphere",
        rf"^\[(\d{{1,2}}/\d{{1,2}}/\d{{2}} \d{{1,2}}:\d{{2}}:\d{{2}}:\d{{3}}){_ZONE}",
        "%m/%d/%y %H:%M:%S%.f",
        zoned=True,
    ),
    Form("snort", rf"^(\d{{2}}/\d{{2}}-{_CLOCK})", "%Y %m/%d-%H:%M:%S%.f", yearless=True),
    Form("day first", rf"(\d{{2}} {MONTH} \d{{4}} {_CLOCK}){_ZONE}", "%d %b %Y %H:%M:%S%.f", zoned=True),
    Form(
        "tomcat",
        rf"(\d{{2}}-{MONTH}-\d{{4}} {_CLOCK}){_ZONE_OR_PLACE}",
        "%d-%b-%Y %H:%M:%S%.f",
        zoned=True,
    ),
    Form("redis", rf"(\d{{2}} {MONTH} {_CLOCK})", "%Y %d %b %H:%M:%S%.f", yearless=True),
    Form("java", rf"({MONTH} \d{{1,2}}, \d{{4}} \d{{1,2}}:\d{{2}}:\d{{2}} [AP]M)", "%b %d, %Y %I:%M:%S %p"),
    Form("german", rf"(\d{{2}}\.\d{{2}}\.\d{{4}} {_CLOCK})", "%d.%m.%Y %H:%M:%S%.f"),
    Form("american, am", r"(\d{1,2}/\d{1,2}/\d{4},? \d{1,2}:\d{2}:\d{2} [AP]M)", "%m/%d/%Y %I:%M:%S %p"),
    Form("american", rf"(\d{{2}}/\d{{2}}/\d{{4}},? {_CLOCK})", "%m/%d/%Y %H:%M:%S%.f"),
    Form("british", rf"(\d{{2}}/\d{{2}}/\d{{4}},? {_CLOCK})", "%d/%m/%Y %H:%M:%S%.f"),
    Form(
        "day first, in another language",
        rf"(?i)\b(\d{{1,2}}\.?[ -](?:{_LOCAL_MONTH})\.?[ -]\d{{4}},? {_CLOCK}){_ZONE}",
        "%d %b %Y %H:%M:%S%.f",
        zoned=True,
        rare=True,
    ),
    Form(
        "syslog, in another language",
        rf"(?i)^((?:{_LOCAL_MONTH})\.? [ \d]?\d {_CLOCK})",
        "%Y %b %e %H:%M:%S%.f",
        yearless=True,
        rare=True,
    ),
    Form("rfc850", rf"(\d{{2}}-{MONTH}-\d{{2}} {_CLOCK}){_ZONE}", "%d-%b-%y %H:%M:%S%.f", zoned=True),
    Form("clock", rf"^[\[(<]?({_CLOCK})\b", "%Y-%m-%d %H:%M:%S%.f", dateless=True),
)
