"""Where samples are planted: rows of a source, each with a word of its own by which its line is found again."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.secrets.makers import Kind

Row = dict[str, Any]

ALONE = (
    "@",
    "value @, next",
    "rejected (@)",
    "rejected [@]",
    "rejected <@>",
    "url ?x=@&y=1",
    "was k:@: then",
    "body a%3D@%26b%3D1",
    "said begin\\n@\\nend",
    'got "@" back',
    "got '@' back",
    'got {"k":"@"}',
    'got {\\"k\\":\\"@\\"}',
    "https://api.example.org/v1/items?key=@&x=1",
    "https://api.example.org/v1/@/items",
    "set k=@;v=2",
    "rejected @.",
    "rejected @!",
    "a|@|b",
    "`@` failed",
    "x=@}",
)
"""Around a token that needs nothing beside it; @ stands for it."""

AROUND = ("@", "failed: @", "request 17 (@)", "@, giving up", "[worker] @ [retry]", 'note "@" end')
"""Around a sample that brings its own surroundings."""

NAMES = ("service", "host", "trace", "session")


@dataclass(frozen=True)
class Planted:
    """What was planted, and by which rows."""

    kind: Kind
    place: str
    mark: str
    text: str
    secrets: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def needles(self) -> Iterator[str]:
        """Texts that may be seen nowhere; a short secret is looked for with what stands before it."""
        for secret in self.secrets:
            at = self.text.find(secret)
            alone = len(secret) >= 8
            yield secret if alone else self.text[max(0, at - 6) : at] + secret
            if self.place == "parts" and len(secret) >= 12:
                middle = max(1, len(secret) // 2)
                yield from (secret[:middle], secret[middle:])
            if len(secret) >= 24 and " " not in secret:
                yield secret[len(secret) // 2 :]
                yield secret[len(secret) // 4 : len(secret) * 3 // 4]


def word(chance: Random) -> str:
    """A word that is in no other line."""
    return "q" + "".join(chance.choices(string.ascii_lowercase, k=11))


def planted(kind: Kind, chance: Random, place: str) -> Planted:
    """A sample of a kind in a place."""
    mark = word(chance)
    text, secrets = kind.draw(chance)
    alone = (text,) == secrets
    if place in ("line", "service", "host", "trace", "session"):
        carrier = chance.choice(ALONE if alone else AROUND) if place == "line" else "@"
        text = carrier.replace("@", text)
    return Planted(kind, place, mark, text, secrets, tuple(PLACES[place](mark, text, secrets, chance)))


def places_of(kind: Kind) -> Sequence[str]:
    """Where a kind can be planted, beside plain lines."""
    sample = kind.sample
    alone = sample.startswith("«") and sample.endswith("»") and sample.count("«") == 1
    return [*SPREAD, *NAMES, "key"] if alone and kind.of == "form" else SPREAD


def alike(kind: Kind, chance: Random) -> Planted:
    """A look-alike in a line."""
    mark, text = word(chance), kind.draw_look_alike(chance)
    return Planted(kind, "alike", mark, text, (), ({"body": f"{mark} {text}"},))


def _line(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
    first = chance.random() < 0.3
    return [{"body": f"{text} {mark}" if first else f"{mark} {text}"}]


def _json(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
    if chance.random() < 0.5:
        return [
            {"body": json.dumps({"level": "error", "message": f"{mark} failed", "detail": text}, ensure_ascii=False)}
        ]
    return [{"body": json.dumps({"level": "error", "what": mark, "inner": {"detail": text}}, ensure_ascii=False)}]


def _key(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
    return [{"body": json.dumps({"level": "error", "message": f"{mark} failed", text: 17})}]


def _cut(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
    """The border of what is looked at, or of what is kept, goes through the secret."""
    border = chance.choice((2_000, 4_096, 8_192))
    inside = text.find(secrets[0]) + len(secrets[0]) // 2
    before = border - len(mark) - 2 - inside
    return [{"body": f"{mark} {'so on ' * (before // 6)}{'x' * (before % 6)} {text}"}]


def _parts(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
    """As the runtimes of Kubernetes split what is long: the border goes through the secret."""
    at = len(mark) + 1 + text.find(secrets[0]) + max(1, len(secrets[0]) // 2)
    whole = f"{mark} {text}".replace("\n", " ")
    head = "2026-03-14T09:26:53.589793238Z stdout"
    return [{"body": f"{head} P {whole[:at]}"}, {"body": f"{head} F {whole[at:]}"}]


def _stack(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
    frames = "\n\tat com.example.Shop.pay(Shop.java:17)"
    return [
        {"body": f"java.lang.IllegalStateException: {mark}{frames}\nCaused by: java.io.IOException: {text}{frames}"}
    ]


def _given(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
    return [{"body": f"{mark} {text}", "template": f"{mark} {text}"}]


def _named(name: str) -> Callable[[str, str, tuple[str, ...], Random], list[Row]]:
    def rows(mark: str, text: str, secrets: tuple[str, ...], chance: Random) -> list[Row]:
        return [{"body": f"{mark} failed", name: chance.choice((text, f"of-{text}", f"{text}/x"))}]

    return rows


PLACES: dict[str, Callable[[str, str, tuple[str, ...], Random], list[Row]]] = {
    "line": _line,
    "json": _json,
    "key": _key,
    "cut": _cut,
    "parts": _parts,
    "stack": _stack,
    "given": _given,
    **{name: _named(name) for name in NAMES},
}
SPREAD = ("json", "cut", "parts", "stack", "given")
