"""Samples of the kinds in kinds.txt, drawn anew in each run."""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, get_args
from urllib.parse import quote

Class = Literal["form", "named", "personal", "alike"]
CLASSES: tuple[Class, ...] = get_args(Class)

KINDS_FILE = Path(__file__).parent / "kinds.txt"

APART_FILE = Path(__file__).parent / "apart.txt"
"""Kinds that were written without a look at the rules."""

_LETTERS, _DIGITS = string.ascii_letters, string.digits

ALPHABETS = {
    "A": _LETTERS + _DIGITS,
    "a": string.ascii_lowercase + _DIGITS,
    "U": string.ascii_uppercase + _DIGITS,
    "B": string.ascii_uppercase + "234567",
    "V": "ABCDEFGHJKLMNPRSTUVWXYZ" + _DIGITS,
    "d": _DIGITS,
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "l": string.ascii_lowercase,
    "L": string.ascii_uppercase,
    "m": _LETTERS,
    "w": _LETTERS + _DIGITS + "_-",
    "b": _LETTERS + _DIGITS + "+/",
    "k": _LETTERS + _DIGITS + "./",
    "g": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}

GIVEN = ("Annelies", "Bartosz", "Celestine", "Dmitriy", "Eleonora", "Fredrika", "Giuseppe", "Hildegard", "Ignacio")
FAMILY = (
    "Abernathy",
    "Brzezicki",
    "Castellano",
    "Dombrowski",
    "Eichendorff",
    "Featherstone",
    "Goncharov",
    "Hofstetter",
)
WORDS = (
    "correct",
    "horse",
    "battery",
    "staple",
    "violet",
    "kettle",
    "marble",
    "thunder",
    "pocket",
    "lantern",
    "willow",
)


@dataclass(frozen=True)
class Kind:
    """A line of kinds.txt."""

    of: Class
    name: str
    sample: str
    look_alike: str

    def draw(self, chance: Random) -> tuple[str, tuple[str, ...]]:
        """A text, and what is secret in it."""
        text = _drawn(self.sample, chance).replace("\\n", "\n")
        secrets = tuple(re.findall("«([^»]*)»", text))
        return re.sub("[«»]", "", text), secrets

    def draw_look_alike(self, chance: Random) -> str:
        return _drawn(self.look_alike, chance).replace("\\n", "\n")


def kinds(file: Path = KINDS_FILE) -> list[Kind]:
    """All lines of a file."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            of, name, sample, look_alike = line.split(" | ")
            found.append(Kind(next(known for known in CLASSES if known == of), name, sample, look_alike))
    return found


def _drawn(template: str, chance: Random) -> str:
    def make(match: re.Match[str]) -> str:
        alphabet, size, name, argument = match.groups()
        if alphabet in ALPHABETS and size:
            return _run(ALPHABETS[alphabet], int(size), chance)
        return MAKERS[name](chance, argument or "")

    return re.sub(
        r"\{(?:([A-Za-z])(\d+)n?|([A-Za-z0-9]+)(?::(\w+))?)\}", make, template.replace("{SSHA}", "\0")
    ).replace("\0", "{SSHA}")


def _run(alphabet: str, size: int, chance: Random) -> str:
    """Random characters; of an alphabet with digits and letters some of both, and no nought first."""
    while True:
        text = "".join(chance.choices(alphabet, k=size))
        mixed = alphabet == _DIGITS or size < 8 or (any(map(str.isdigit, text)) and any(map(str.isalpha, text)))
        if text[0] not in "0-_" and (mixed or not set(alphabet) & set(_DIGITS)):
            return text


def _password(chance: Random, _: str) -> str:
    """What a person might choose: a word, digits and a sign."""
    word = chance.choice(WORDS)
    shape = chance.randrange(4)
    number = chance.randrange(100, 99_999)
    sign = chance.choice("!#%*+?")
    return (
        f"{word.title()}{number}{sign}{_run(_LETTERS, 3, chance)}",
        f"{_run(_LETTERS + _DIGITS, 12, chance)}",
        f"{word}-{chance.choice(WORDS)}{number}",
        f"{sign}{_run(_LETTERS, 5, chance)}{number}{word}",
    )[shape]


def _luhn(digits: str) -> str:
    """The digits with their check digit."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        digit = int(char) * (2 - index % 2)
        total += digit - 9 if digit > 9 else digit
    return digits + str(-total % 10)


def _card(chance: Random, prefix: str) -> str:
    starts = {"4": "4", "5": "5" + chance.choice("12345"), "50": "5018", "35": "35" + chance.choice("3456")}
    start = starts.get(prefix, prefix)
    size = {"37": 15, "36": 14}.get(prefix, 16)
    return _luhn(start + _run(_DIGITS, size - 1 - len(start), chance))


def _grouped(sign: str) -> Callable[[Random, str], str]:
    def make(chance: Random, prefix: str) -> str:
        digits = _card(chance, prefix)
        return sign.join(digits[at : at + 4] for at in range(0, 16, 4))

    return make


def _iban(chance: Random, country: str) -> str:
    bban = {
        "DE": lambda: _run(_DIGITS, 18, chance),
        "GB": lambda: _run(string.ascii_uppercase, 4, chance) + _run(_DIGITS, 14, chance),
        "FR": lambda: _run(_DIGITS, 23, chance),
    }[country]()
    number = int("".join(str(int(char, 36)) for char in f"{bban}{country}00"))
    return f"{country}{98 - number % 97:02}{bban}"


def _uuid(chance: Random, _: str) -> str:
    return "-".join(_run("0123456789abcdef", size, chance) for size in (8, 4, 4, 4, 12))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _jwt(chance: Random, _: str) -> str:
    parts = (
        {"alg": "HS256", "typ": "JWT"},
        {"sub": _run(_DIGITS, 10, chance), "iat": chance.randrange(10**9, 2 * 10**9)},
    )
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, _run(ALPHABETS["w"], 43, chance)])


def _email(chance: Random, _: str) -> str:
    name = f"{chance.choice(GIVEN)}.{chance.choice(FAMILY)}{chance.randrange(100)}"
    return f"{name}@{_run(string.ascii_lowercase, 7, chance)}.example.org".lower()


MAKERS: dict[str, Callable[[Random, str], str]] = {
    "pw": _password,
    "pwu": lambda chance, _: quote(_password(chance, ""), safe=""),
    "words": lambda chance, _: f"{' '.join(chance.sample(WORDS, 3))} {chance.randrange(10, 99)}",
    "b64": lambda chance, size: _base64(chance.randbytes(int(size))),
    "basic": lambda chance, _: _base64(
        f"{chance.choice(GIVEN)}:{_password(chance, '')}{_run(_LETTERS, 4, chance)}".encode()
    ),
    "plain": lambda chance, _: _base64(f"\0{chance.choice(GIVEN)}\0{_password(chance, '')}".encode()),
    "pem": lambda chance, _: _base64(chance.randbytes(48)),
    "jwt": _jwt,
    "uuid": _uuid,
    "UUID": lambda chance, _: _uuid(chance, "").upper(),
    "card": _card,
    "cards": _grouped(" "),
    "cardd": _grouped("-"),
    "cardp": _grouped("."),
    "iban": _iban,
    "ibans": lambda chance, country: re.sub("(.{4})(?=.)", r"\1 ", _iban(chance, country)),
    "ibanl": lambda chance, country: _iban(chance, country).lower(),
    "email": _email,
    "emailu": lambda chance, _: _email(chance, "").replace("@", "%40"),
    "emailw": lambda chance, _: _email(chance, "").replace("@", " at ").replace(".", " dot "),
    "emaili": lambda chance, _: _email(chance, "").replace("@", "@müller-"),
    "emailp": lambda chance, _: _email(chance, "").replace("@", f"+tag{chance.randrange(100)}@"),
    "ssn": lambda chance, _: f"{chance.randrange(100, 665)}-{chance.randrange(10, 99)}-{chance.randrange(1000, 9999)}",
    "mac": lambda chance, _: ":".join(_run(ALPHABETS["h"], 2, chance) for _ in range(6)),
    "given": lambda chance, _: chance.choice(GIVEN) + _run(string.ascii_lowercase, 4, chance),
    "family": lambda chance, _: chance.choice(FAMILY) + _run(string.ascii_lowercase, 4, chance),
    "B32": lambda chance, _: _run(ALPHABETS["B"], 32, chance),
}
"""Makers by name: each takes the chance, and what stands after the colon."""
