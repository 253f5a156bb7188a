"""Whether a candidate is what its form says: check digits, encodings, and what only looks alike."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import itertools
import math
import re
import string
from collections import Counter


def luhn(digits: str) -> bool:
    """The check digit of payment cards.

    >>> luhn("4111111111111111")
    True
    """
    total = 0
    for index, char in enumerate(reversed(digits)):
        digit = int(char) * (1 + index % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


def is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return luhn(digits) and len(set(digits)) > 1


# By country, for letters and digits in any case would otherwise look like one too often.
_IBAN_LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29
    ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
    LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29
    PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
    YE30
"""


IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_LENGTHS.split()}


def is_iban(text: str) -> bool:
    compact = re.sub(r"[ .\-]", "", text).upper()
    if IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    digits = "".join(str(int(char, 36)) for char in compact[4:] + compact[:4])
    return int(digits) % 97 == 1


def is_email(text: str) -> bool:
    """Whether it is no version: pkg@1.2.3-rc.final."""
    return re.match(r"\d+\.\d+\.", text.rpartition("@")[2]) is None


def is_phone(text: str) -> bool:
    return 7 <= sum(map(str.isdigit, text)) <= 15


def is_userinfo(text: str) -> bool:
    """A bare name (spark://driver@10.0.0.1) is no secret; a password or a token is."""
    return (":" in text and not text.endswith(":")) or "/" in text or (len(text) >= 20 and any(map(str.isdigit, text)))


def is_bearer(text: str) -> bool:
    """Whether it is no word: "Bearer authentication failed" names no token."""
    return len(text) >= 20 or any(char.isdigit() for char in text)


def is_basic(text: str) -> bool:
    try:
        decoded = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return (b":" in decoded or decoded.count(b"\0") == 2) and len(decoded) > 3


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# What stands where a value would, and is none.
_NO_SECRETS = frozenset(
    """
    null none nil true false undefined n/a na redacted [redacted] filtered [filtered] masked hidden secret password
    passwd token key unknown missing required expired expires invalid wrong incorrect empty yes no on off ok okay
    failed failure fails success successful denied reset changed change changing updated rotated mandatory optional
    rejected accepted refused granted allowed authentication authorization policy verified valid not for the is was
    string str text bytes int integer optional[str] str|none default protected encrypted hashed error errors
    mismatch disabled enabled unset absent present from file env vault basic bearer negotiate plain md5 sha256
    scram-sha-256 a an in at to of and or but be by has have does must should cannot can't could with without too
    boş geçersiz hatalı leer fehlt ungültig falsch abgelaufen vide absent absente invalide expiré expirée vacío vacía
    faltante inválido inválida caducada vazio vazia ausente expirado vuoto vuota mancante errata leeg ontbreekt brak
    puste chybí mangler saknas puuttuu hiányzik lipsă yok пусто неверный отсутствует 为空 错误 空 無効 없음 null, none,
    weak strong long short blank set given used unused stored provided supplied specified needed found notfound {}
    [] () - -- ? ... … object array number boolean type prompt interactive stdin never always
    """.split()  # noqa: SIM905 - a list of so many strings is no list that is read
)

_REFERENCE = re.compile(
    r"\$\{.*|\$[A-Z_][A-Z0-9_]*|\$\(.*|\{\{.*|\{\w*\}?|%\(?\w*\)?[sdvq]|<[\w \-.]*>?|\[\w+\]|@\w+|:\w+|\?"
    r"|process\.env\..*"
    r"|os\.(?:environ|getenv).*|secretkeyref.*|valuefrom.*"
    r"|/(?:run|etc|var|home|root|opt|usr|mnt|tmp|app|srv|dev|proc)(?:/.*)?"
    r"|(?:/[a-z][\w.\-]{0,20}){2,}/?|[a-z]:\\.*",
    re.IGNORECASE,
)


def is_secret(text: str) -> bool:
    """Nothing that is masked already, that only names a place, or that says whether there is a secret."""
    bare = text.strip().strip("\"'`").rstrip(".,;:!?)").lower()
    return bare not in _NO_SECRETS and bare.strip("*x.-•#_") != "" and _REFERENCE.fullmatch(text.strip()) is None


def is_token(text: str) -> bool:
    """Long, or with digits: "unexpected token: expected ')'" holds words."""
    return is_secret(text) and (
        len(text) >= 16 or (len(text) >= 6 and any(map(str.isdigit, text)) and not _NUMBER.fullmatch(text))
    )


_NUMBER = re.compile(r"[\d.,:+\-]{1,5}|0[xX][0-9a-fA-F]{1,16}")


def is_session(text: str) -> bool:
    """A session's key that lets somebody in; ZooKeeper's are short numbers."""
    if re.fullmatch(r"0x[0-9a-fA-F]{1,16}|[\d.,:_\-]+|blk_-?\d+|[a-z\-]+", text):
        return False
    return is_token(text) and len(text) >= 12


_UUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")


def is_key(text: str) -> bool:
    """Long and mixed, and no UUID, path or list of words: `key=` names much that is no secret."""
    if len(text) < 16 or _UUID.fullmatch(text) or not is_secret(text):
        return False
    if not re.fullmatch(r"[A-Za-z0-9+/_\-.~=]+", text) or re.fullmatch(r"[\d.\-:]+", text):
        return False
    if len(text) >= 20 and re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", text):
        return True
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    if len(text) >= 24 and min(upper, lower) >= 4 and _changes(text) >= 0.35:
        return True
    return is_mixed(text) or (len(text) >= 24 and text.isalnum() and sum(map(str.isdigit, text)) >= 2)


def is_mixed(text: str) -> bool:
    """Digits and letters that alternate as no word with a number does."""
    digits, letters = sum(map(str.isdigit, text)), sum(map(str.isalpha, text))
    if digits < 2 or letters < 4:
        return False
    return _changes(text) >= 0.25 and entropy(text) >= 3.0


def is_linked(text: str) -> bool:
    """What stands in a link that lets somebody in: a UUID or random characters, no name of a file."""
    if re.search(r"\.[a-z]{1,5}\d?$", text):
        return False
    return _UUID.fullmatch(text) is not None or is_mixed(text) or (len(text) >= 24 and _changes(text) >= 0.3)


def is_password(text: str) -> bool:
    """Chosen as a password is: letters with digits or signs among them; in quotes also words."""
    if len(text) < 5 or not is_secret(text):
        return False
    if re.fullmatch(
        r"[\d.,:/%+\-]+(?:[a-z]{1,2}|[kmgt]i?b)?|0x[0-9a-f]{1,20}|v?\d+(?:\.\d+)+[\w.\-]*|#\d+|[\w.\-]+:\d+|\[?[a-z]+\d?\]?",
        text,
    ):
        return False
    letters, digits = any(map(str.isalpha, text)), any(map(str.isdigit, text))
    sign = re.search(r"[!#$%^&*+?@~§]", text) is not None
    return letters and (digits or sign) and not re.fullmatch(r"[\w.\-]+\([\w, ]*\)?|[a-z]+=\S*", text)


def is_weak(text: str) -> bool:
    """After a word that also means something else, such as `pass` and `pw`: no small number, no plain word."""
    return is_secret(text) and (is_password(text) or (text.isdigit() and len(text) >= 6))


def is_number_of(text: str) -> bool:
    """A number that somebody was given: at least four digits or most of it, no word alone."""
    digits = sum(map(str.isdigit, text))
    if digits >= 2 and len(text) >= 8 and re.fullmatch(r"[A-Z0-9]+", text):
        return True
    return digits >= 4 and digits * 5 >= len(text.replace(" ", "")) and is_secret(text)


def is_random(text: str) -> bool:
    """Mixed like base64, unlike an identifier, a path, a hexadecimal id or a UUID.

    Letters of both cases and digits alternate in random text about every second character; in CamelCase, paths and
    words about every fifth.
    """
    if re.fullmatch(r"[0-9a-fA-F_\-]+", text) or max(map(len, re.split(r"[/_\-]", text))) < 12:
        return False
    kinds = text.translate(_KINDS)
    if min(kinds.count("u"), kinds.count("l")) < 3 or kinds.count("d") < 2:
        return False
    return _changes(text) >= 0.4 and entropy(text) >= 3.7


def is_secret_hex(text: str) -> bool:
    return _UUID.fullmatch(text) is None and len(set(text)) >= 8


_KINDS = str.maketrans(
    {
        **dict.fromkeys(string.ascii_uppercase, "u"),
        **dict.fromkeys(string.ascii_lowercase, "l"),
        **dict.fromkeys(string.digits, "d"),
    }
    | dict.fromkeys("+/=_-.~", "o")
)


def _changes(text: str) -> float:
    """How often a character is of another kind than the one before it."""
    kinds = text.translate(_KINDS)
    return sum(a != b for a, b in itertools.pairwise(kinds)) / len(text)


def entropy(text: str) -> float:
    """Bits a character, of the characters' own frequencies.

    >>> entropy("abab")
    1.0
    """
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


def is_formed(text: str) -> bool:
    """Behind the prefix of a token: no word, no number, nothing that repeats."""
    digits, upper, lower = (sum(map(kind, text)) for kind in (str.isdigit, str.isupper, str.islower))
    if not is_secret(text) or len(set(text)) < 8:
        return False
    return (digits >= 2 and (digits + upper >= 4 or len(text) >= 20)) or min(upper, lower) >= 5


def is_authorization(text: str) -> bool:
    """A scheme with its value, or a value."""
    return is_secret(text) and all(is_secret(part) or len(part) > 12 for part in text.split()[1:2])


def is_scheme_value(text: str) -> bool:
    """What follows the name of a scheme, which is often a word of a sentence."""
    return is_mixed(text) or (len(text) >= 20 and any(map(str.isdigit, text))) or len(text) >= 40


def is_argument(text: str) -> bool:
    """A value of an option that is named after a secret."""
    return not text.startswith("-") and is_secret(text) and not text.startswith(("http://", "https://", "//"))


def is_argument_alone(text: str) -> bool:
    """A value of `-p` and the like of a command that takes a password there: no port, path, number or map."""
    if re.fullmatch(r"[\d.:,/\-]+|\[?[\w.\-]*:\d.*|[./~].*|\w+=.*|https?:.*", text):
        return False
    return is_argument(text) and (
        is_password(text) or (len(text) >= 6 and not re.fullmatch(r"[a-z]+(?:-[a-z]+)*", text))
    )


def is_chosen(text: str) -> bool:
    """As a password is chosen, and nothing like a name with a number: build2, node-17, file1.txt."""
    if re.search(r"[/\\]|\.\w{1,5}$", text) or re.fullmatch(
        r"[A-Za-z]?[a-z]+[\-_.]?\d{1,3}[a-z]?|[A-Z]+\d{1,3}|\d+[a-z]{1,3}", text
    ):
        return False
    return is_password(text)


def is_chosen_or_quoted(text: str) -> bool:
    return is_chosen(text) or (text.isdigit() and len(text) >= 6)


def is_phone_alone(text: str) -> bool:
    """Without a name beside it: as many digits as a country's code and a number have."""
    return 9 <= sum(map(str.isdigit, text)) <= 15 and len(set(text)) > 3


def is_phone_abroad(text: str) -> bool:
    """With two noughts before it, as a time of day may have."""
    return 11 <= sum(map(str.isdigit, text)) <= 17 and len(set(text)) > 3


def is_address(text: str) -> bool:
    """A number beside a word, and no place in a network."""
    if re.search(r"\d+\.\d+\.\d+|://|0x|:\d", text):
        return False
    return any(map(str.isalpha, text)) and (any(map(str.isdigit, text)) or len(text.split()) > 1) and is_secret(text)


def is_key_id(text: str) -> bool:
    return len(set(text)) >= 8


def is_named_secret(text: str) -> bool:
    """After a word for what is kept secret: no count of such things."""
    return is_secret(text) and re.fullmatch(r"[\d.,]{1,4}", text) is None


def is_name(text: str) -> bool:
    """Of a person: it begins with words that have a capital, or of a script that has none."""
    return is_secret(text[: part_of_name(text)])


def part_of_name(text: str) -> int:
    """How much of a text is the words that it begins with.

    >>> part_of_name("Ann Doe logged in"), part_of_name("missing")
    (7, 0)
    """
    words = itertools.takewhile(
        lambda word: word[0][0].isupper() or not word[0][0].isascii(), re.finditer(r"\S+", text)
    )
    return max((word.end() for word in words), default=0)


def is_number(text: str) -> bool:
    """Of letters and digits, at least one of these."""
    return any(map(str.isdigit, text))


def is_chosen_token(text: str) -> bool:
    return len(text) >= 8 and is_password(text)
