"""The distinct shapes of lines: each is looked at once, and remembered."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.ingest import messages
from exporter.ingest.keys import lets_in, naming
from exporter.ingest.redaction import RedactionSettings, Redactor
from exporter.ingest.settings import ReductionSettings
from exporter.model import stable_key
from exporter.reading.levels import HIDDEN_LEVEL, level_in

UInt64s = npt.NDArray[np.uint64]

Safe = Callable[[list[Any]], list[Any]]
"""Texts, or None, redacted."""

Int64s = npt.NDArray[np.int64]

_MAX_REMEMBERED = 100_000
_MAX_REMEMBERED_CHARS = 16_000_000
"""Shapes, and characters of them, that are remembered; with more all are forgotten."""

SHAPES_SCHEMA = {"shape": pl.UInt64(), "text": pl.String(), "given": pl.Boolean()}

# Hashes of polars hold inside one process only; a seed of its own keeps anyone from preparing collisions.
SEED = secrets.randbits(63)


def frame_of(schema: Mapping[str, pl.DataType], *columns: Any) -> pl.DataFrame:
    """A frame of columns in the order of a schema: what pl.DataFrame does, without its long way of finding out."""
    return pl.DataFrame(
        [
            column.alias(name) if isinstance(column, pl.Series) else pl.Series(name, column, dtype)
            for (name, dtype), column in zip(schema.items(), columns, strict=True)
        ]
    )


@dataclass(frozen=True)
class Shape:
    """What is known of a coarse shape once it has been seen; a pure function of its text."""

    key: int
    text: str
    severity: int
    continuation: bool
    hidden_level: bool
    code: bool
    phrase: bool
    duration: bool
    place: int
    """Of a duration, by its number; 0 where none is known."""
    given: bool = False


@dataclass(frozen=True)
class Shapes:
    """The distinct shapes of some lines: which lines have which."""

    distinct: tuple[Shape, ...]
    inverse: Int64s

    @cached_property
    def keys(self) -> list[int]:
        """Of the distinct shapes."""
        return [shape.key for shape in self.distinct]

    def key_of_each(self) -> UInt64s:
        """The key of its shape for every line."""
        return np.array(self.keys, np.uint64)[self.inverse]

    def of_each(self, name: str, dtype: Any) -> npt.NDArray[Any]:
        """An attribute of its shape for every line."""
        return np.array([getattr(shape, name) for shape in self.distinct], dtype)[self.inverse]

    def rows(self, name: str) -> Int64s | None:
        """The lines whose shape has an attribute, or None when no shape has."""
        having = [getattr(shape, name) for shape in self.distinct]
        return np.flatnonzero(np.array(having)[self.inverse]) if any(having) else None

    def frame(self, used: pl.Series) -> pl.DataFrame:
        """As `Reduced.shapes` has them; continuation lines use none."""
        shapes = dict(zip(self.keys, self.distinct, strict=True))
        if any(shape.continuation for shape in self.distinct):
            shapes = {key: shapes[key] for key in used.unique() if key}
        return frame_of(
            SHAPES_SCHEMA,
            list(shapes),
            [shape.text for shape in shapes.values()],
            [shape.given for shape in shapes.values()],
        )


def distinct_shapes(texts: pl.Series, settings: ReductionSettings) -> Shapes:
    """The shape of each message. What is known of a shape is remembered for the next page."""
    coarse = shapes_of(texts, settings.max_line_chars)
    hashes, first, inverse = _grouped(coarse.hash(SEED))
    known = _memory(settings)
    shapes = [known.get(key) for key in hashes.tolist()]
    unknown = [index for index, shape in enumerate(shapes) if shape is None]
    if unknown:
        if len(known) > _MAX_REMEMBERED or known.characters > _MAX_REMEMBERED_CHARS:
            known.forget()
        rows = first[unknown]
        for index, shape in zip(unknown, _learn(coarse.gather(rows), texts.gather(rows), settings), strict=True):
            shapes[index] = known[int(hashes[index])] = shape
            known.characters += len(shape.text)
    return Shapes(tuple(shape for shape in shapes if shape), inverse)


def with_given(shapes: Shapes, templates: pl.Series, settings: ReductionSettings) -> Shapes:
    """Where the source brings a template it is the shape, as it is; what else is known comes from the line."""
    if templates.null_count() == len(templates):
        return shapes
    rows = np.flatnonzero(templates.is_not_null().to_numpy())
    _, first, inverse = _grouped(templates.gather(rows).hash(SEED))
    texts = templates.gather(rows).gather(first).str.head(settings.max_line_chars)
    safe = redactor(settings.redaction, settings.redaction_key).redact_series(texts).to_list()
    # The same template may be of lines whose own shapes differ: one row for each pair.
    pairs, inverse = _pairs(shapes.inverse[rows], inverse)
    given = [
        replace(
            shapes.distinct[own], key=stable_key(f"\0{texts[text]}"), text=safe[text], given=True, continuation=False
        )
        for own, text in pairs
    ]
    whole = shapes.inverse.copy()
    whole[rows] = inverse + len(shapes.distinct)
    return Shapes((*shapes.distinct, *given), whole)


def _pairs(first: Int64s, second: Int64s) -> tuple[list[tuple[int, int]], Int64s]:
    """The distinct pairs of two columns, and which one each row has."""
    pairs, inverse = np.unique(np.column_stack((first, second)), axis=0, return_inverse=True)
    return [(int(a), int(b)) for a, b in pairs], inverse.ravel()


def _grouped(hashes: pl.Series) -> tuple[UInt64s, Int64s, Int64s]:
    """The distinct hashes, where each is first, and which one each line has."""
    distinct, first, inverse = np.unique(hashes.to_numpy(), return_index=True, return_inverse=True)
    return distinct, first, inverse.ravel()


class _Memory(dict[int, Shape]):
    """Shapes by the hash of what they were made of, and how many characters they have together."""

    characters = 0

    def forget(self) -> None:
        self.clear()
        self.characters = 0


@lru_cache(64)
def _memory(settings: ReductionSettings) -> _Memory:
    return _Memory()


def forget() -> None:
    """Forget the shapes seen so far: results stay the same, only slower once."""
    for memory in (_memory, _names):
        memory.cache_clear()


@lru_cache(64)
def redactor(settings: RedactionSettings, key: bytes) -> Redactor:
    return Redactor.of(settings, key or secrets.token_bytes(16))


@lru_cache(64)
def _names(redaction: RedactionSettings, key: bytes) -> dict[str, str]:
    return {}


# Words, numbers and ids with signs between, none as long as a token: most names are such.
_HARMLESS = re.compile(
    r"[a-z]{0,15}|(?=[^a-z]*[a-z])(?=.{1,32}\Z)[a-z0-9]{1,12}(?:[-._/:][a-z0-9]{1,12}){0,12}|[0-9a-f]{16,32}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|blk_-?\d+"
)


def safe_keys(settings: ReductionSettings) -> Safe:
    """Keys of sessions, redacted: by what stands before them, too, where the pattern that finds them says so."""
    name, safe = naming(settings.session_pattern), safe_names(settings)
    if not lets_in(name, redactor(settings.redaction, settings.redaction_key)):
        return safe

    def safe_named(texts: list[Any]) -> list[Any]:
        named = safe([name + text if text else text for text in texts])
        return [text and text.removeprefix(name) for text in named]

    return safe_named


def safe_names(settings: ReductionSettings) -> Safe:
    """Services, hosts, streams, sessions and traces, redacted; what they came to is remembered."""
    known = _names(settings.redaction, settings.redaction_key)

    def safe(texts: list[Any]) -> list[Any]:
        unknown = [
            text for text in dict.fromkeys(texts) if text and text not in known and not _HARMLESS.fullmatch(text)
        ]
        if unknown:
            if len(known) > _MAX_REMEMBERED:
                known.clear()
            found = redactor(settings.redaction, settings.redaction_key).redact_all(unknown)
            known.update(zip(unknown, found, strict=True))
        return [known.get(text, text) if text else text for text in texts] if known else texts

    return safe


def _learn(texts: pl.Series, lines: pl.Series, settings: ReductionSettings) -> list[Shape]:
    """Redacted, for templates are made of them; the key is that of the text as it was. `lines` have these shapes."""
    redacted = _without_secrets(texts, lines, settings)
    hints = messages.hints(texts).rows()
    return [
        Shape(
            stable_key(text),
            safe,
            level_in(text),
            settings.multiline and messages.continues(text),
            HIDDEN_LEVEL.search(text) is not None,
            *hint,
        )
        for text, safe, hint in zip(texts.to_list(), redacted, hints, strict=True)
    ]


# Characters that no language has: one stands for a type while a line becomes a shape.
_PRIVATE = 0xE000

_private = re.compile("[\ue000-\uf8ff]")

_BEYOND = 1_024
"""Characters after what is looked at of a line: a secret over that border is one all the same."""

_OF_DIGITS = frozenset(("card", "iban", "phone", "ip", "mac"))
"""Types that hang on digits, which a shape has not: lines of one shape would differ."""


def _without_secrets(shapes: pl.Series, lines: pl.Series, settings: ReductionSettings) -> list[str]:
    """The shapes, redacted. Secrets are found in lines, for their form is lost where digits are all one; a line stands
    for all of its shape, so only what letters say counts."""
    most = settings.max_line_chars
    kinds: list[str] = []

    def sign(kind: str, secret: str) -> str:
        if kind in _OF_DIGITS or not any(map(str.isalpha, secret)):
            return secret
        if kind not in kinds:
            kinds.append(kind)
        return chr(_PRIVATE + kinds.index(kind))

    whole = [beginning(line, most + _BEYOND) for line in lines.str.head(most + 2 * _BEYOND)]
    plain = [_private.sub("\ufffd", line) for line in whole]
    redacted = redactor(settings.redaction, settings.redaction_key).redact_all(plain, sign)
    changed = [at for at, (line, safe) in enumerate(zip(plain, redacted, strict=True)) if line != safe]
    if not changed:
        return shapes.to_list()
    safe = shapes_of(pl.Series(shapes.name, [redacted[at] for at in changed], dtype=pl.String), most)
    texts = shapes.to_list()
    for at, text in zip(changed, safe, strict=True):
        texts[at] = _private.sub(lambda match: f"<{kinds[ord(match[0]) - _PRIVATE]}:000000>", text)
    return texts


def beginning(text: str, most: int) -> str:
    """At most so much of a text, not cut inside of a word, unless it is a very long one."""
    if len(text) <= most:
        return text
    cut = text.rfind(" ", most - 1_024, most)
    return text[: cut if cut >= 0 else most]


def text_keys(
    texts: pl.Series, hashes: pl.Series, names: dict[int, str] | None, safe: Safe = lambda texts: texts
) -> UInt64s:
    """The stable key of each text, made `safe`, 0 where there is none; the texts are noted in `names`."""
    numbers = hashes.to_numpy()
    if (numbers == numbers[0]).all():
        distinct, inverse = [texts[0]], None
    else:
        _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
        distinct = texts.gather(first).to_list()
    distinct = safe(distinct)
    keys = [stable_key(text) if text else 0 for text in distinct]
    if names is not None:
        names.update((key, text) for key, text in zip(keys, distinct, strict=True) if key)
    return np.full(len(texts), keys[0], np.uint64) if inverse is None else np.array(keys, np.uint64)[inverse.ravel()]


CUT = "<...>"
"""Ends a shape, and a template, of lines that are longer than is looked at."""

# ASCII word boundaries and classes keep Rust's regex on its fast path, also on text that is not ASCII.
BOUNDARY = r"(?-u:\b)"

_UUID = r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"

COARSE = "|".join(
    (
        BOUNDARY + _UUID + BOUNDARY,
        BOUNDARY + r"0[xX][0-9A-Fa-f]+" + BOUNDARY,
        BOUNDARY + r"[0-9A-Fa-f]{8,}" + BOUNDARY,
        BOUNDARY + r"[A-Za-z]*[0-9]+[A-Za-z]+[0-9][A-Za-z0-9]*" + BOUNDARY,
        BOUNDARY + r"[A-Z]{1,2}[0-9]{2,}" + BOUNDARY,
        r"[0-9]+",
    )
)
"""What every line is cleaned of: each match becomes a single 0. What is left is the line's shape."""


def shapes_of(messages: pl.Series, max_chars: int) -> pl.Series:
    """The coarse shape of each message: the one pattern that every line goes through. Longer ones end with CUT."""
    text = pl.col(messages.name)
    shape = text.str.head(max_chars).str.replace_all(COARSE, "0")
    if (messages.str.len_bytes() > max_chars).any():
        longer = text.str.len_chars() > max_chars
        shape += pl.when(longer).then(pl.lit(f" {CUT}")).otherwise(pl.lit(""))
    return messages.to_frame().select(shape).to_series()
