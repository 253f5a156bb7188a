"""What an operator may set about redaction."""

from __future__ import annotations

from pydantic import Field, field_validator

from exporter.ingest.patterns import matches_nothing
from exporter.ingest.redaction.rules import TYPES
from exporter.model import Settings


class ExtraPattern(Settings):
    """A pattern of the operator's own."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    """What the placeholder is called: lower-case letters, digits and _."""
    regex: str
    """What to replace, in Rust's syntax: the group named `s` where the pattern has one, else the whole match. What only
    Python knows (look-around, references back) is refused by the next release."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        if matches_nothing(value):
            raise ValueError("matches the empty text, so it would match everywhere; make a part of it mandatory")
        return value


class RedactionSettings(Settings):
    """What is redacted beyond the built-in types. Redaction itself is always on."""

    extra: tuple[ExtraPattern, ...] = ()
    """Patterns of your own."""
    ip: bool = False
    """Also replace IP and MAC addresses. Off, for they are often what a diagnosis needs."""
    entropy: bool = False
    """Also replace what has no form and no name beside it, but looks random or like a seed phrase: hexadecimal text of
    32 characters and more, mixed text from 20 on, twelve plain words in a row. Off, for commit hashes, UUIDs, ids of
    traces and checksums look the same. Names of people have no form either: only a pattern of your own finds them."""
    disable: tuple[str, ...] = ()
    """Built-in types to leave alone, such as `email`."""

    @field_validator("disable")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in TYPES]:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(map(repr, TYPES))}")
        return value

    def extra_patterns(self) -> list[tuple[str, str]]:
        """`extra` as pairs of name and pattern."""
        return [(pattern.name, pattern.regex) for pattern in self.extra]
