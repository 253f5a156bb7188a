"""Replace secrets and personal data in log text by typed placeholders, before it is stored, told or sent anywhere."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from exporter.ingest.redaction.finder import Finder, Looked, Secret
from exporter.ingest.redaction.library import library
from exporter.ingest.redaction.placeholders import WITHHELD, placeholder
from exporter.ingest.redaction.rule import OwnRule
from exporter.ingest.redaction.rules import LIBRARY, ON_REQUEST, RULES
from exporter.ingest.redaction.seen import Seen
from exporter.ingest.redaction.settings import RedactionSettings
from exporter.ingest.redaction.view import HIDDEN
from exporter.model import ConfigError, NoTelemetry, Telemetry

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

MAX_CHARS = 262_144
"""Longer texts are cut first, at a word, so that no secret is cut in two and escapes its pattern."""

# A pass that changes the text makes at least one piece of it shorter; real lines need two passes.
_MAX_PASSES = 12

TOGETHER = 2_000_000
"""Characters that the library looks at as one text."""

Replace = Callable[[str, str], str]
"""From a type and a secret to what stands for it."""


class Redactor:
    """Replaces what should not leave the process; equal values get equal placeholders, by a keyed hash.

    Thread-safe. Redacting twice is the same as once.

    >>> from exporter.ingest.redaction import PLACEHOLDER
    >>> redactor = Redactor(b"0123456789abcdef")
    >>> redactor.redact("password=hunter2") == redactor.redact("password=hunter2")
    True
    >>> PLACEHOLDER.sub("<?>", redactor.redact("login of ann@example.org failed, password=hunter2"))
    'login of <?> failed, password=<?>'
    """

    def __init__(
        self,
        key: bytes,
        extra: Sequence[tuple[str, str]] = (),
        *,
        ip: bool = False,
        entropy: bool = False,
        disable: Sequence[str] = (),
        telemetry: Telemetry | None = None,
    ) -> None:
        if len(key) < 16:
            raise ConfigError("redaction: the key has fewer than 16 bytes; make one of 32 random bytes and keep it")
        own = tuple(OwnRule.of(name, pattern) for name, pattern in extra)
        left_out = {*disable, *(() if ip else ON_REQUEST["ip"]), *(() if entropy else ON_REQUEST["entropy"])}
        self._key = key[:64]
        self._finder = Finder((*own, *(rule for rule in RULES if rule.name not in left_out)))
        self._library = LIBRARY not in left_out
        self._tokens = "jwt" not in left_out
        self._seen = Seen(forgets_numbers=not own and not ip and not entropy)
        self._telemetry = telemetry or NoTelemetry()
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    @classmethod
    def of(cls, settings: RedactionSettings, key: bytes, telemetry: Telemetry | None = None) -> Redactor:
        """The redactor that the configuration describes."""
        return cls(
            key,
            settings.extra_patterns(),
            ip=settings.ip,
            entropy=settings.entropy,
            disable=settings.disable,
            telemetry=telemetry,
        )

    @property
    def counts(self) -> dict[str, int]:
        """Replacements so far, by type; `failed` are lines that were withheld."""
        with self._lock:
            return dict(self._counts)

    def redact(self, text: str) -> str:
        """The text without secrets; WITHHELD when that cannot be had."""
        return self.redact_all([text])[0]

    def redact_series(self, texts: pl.Series) -> pl.Series:
        """`redact` of a column."""
        import polars as pl

        rows = texts.is_not_null().arg_true() if texts.null_count() else None
        before = (texts if rows is None else texts.gather(rows)).to_list()
        after = self.redact_all(before)
        changed = [at for at, (text, safe) in enumerate(zip(before, after, strict=True)) if text is not safe]
        if not changed:
            return texts
        places = changed if rows is None else rows.gather(changed)
        # What is scattered into changes in its place.
        return texts.clone().scatter(places, pl.Series([after[at] for at in changed], dtype=pl.String))

    def redact_all(self, texts: Sequence[str], instead: Replace | None = None) -> list[str]:
        """`redact` of each text; `instead` says what stands for a secret, if that is no placeholder."""
        return self._settled(list(texts), instead or self.placeholder)

    def _settled(self, texts: list[str], instead: Replace) -> list[str]:
        """Find and replace until nothing changes, which is what makes it idempotent."""
        found: Counter[str] = Counter()
        texts = [self._guarded(_cut, text, found) if len(text) > MAX_CHARS else text for text in texts]
        waiting = list(range(len(texts)))
        for _ in range(_MAX_PASSES):
            if not waiting:
                break
            secrets = self._found_in([texts[at] for at in waiting])
            changed = []
            for at, some in zip(waiting, secrets, strict=True):
                before = texts[at]
                if some is None:
                    found["failed"] += 1
                    texts[at] = WITHHELD
                elif some:
                    texts[at] = self._replaced(before, some, found, instead)
                    changed += [at] if texts[at] != before else []
            waiting = changed
        for at in waiting:
            found["failed"] += 1
            texts[at] = WITHHELD
        self._count(found)
        return texts

    def _guarded(self, change: Callable[[str], str], text: str, found: Counter[str]) -> str:
        try:
            return change(text)
        except Exception:
            found["failed"] += 1
            return WITHHELD

    def _found_in(self, texts: Sequence[str]) -> list[list[Secret] | None]:
        """The secrets of each text; None where they cannot be known, for then the text must not pass."""
        plain, tokens = zip(*map(self._without_tokens, texts), strict=True) if texts else ((), ())
        judged = self._judged(plain)
        return [
            None if (found := judged[text]) is None else [*some, *found]
            for text, some in zip(plain, tokens, strict=True)
        ]

    def _without_tokens(self, text: str) -> tuple[str, list[Secret]]:
        """As long as before, with what is a token by itself hidden already: what is left is often known."""
        if HIDDEN in text:
            text = text.replace(HIDDEN, " ")
        if not self._tokens or "eyJ" not in text:
            return text, []
        tokens = [Secret(*match.span(), "jwt", "jwt") for match in _TOKEN.finditer(text)]
        return _TOKEN.sub(lambda match: HIDDEN * len(match[0]), text), tokens

    def _judged(self, texts: Sequence[str]) -> dict[str, list[Secret] | None]:
        known, keys = self._seen.of(texts)
        judged: dict[str, list[Secret] | None] = {**known}
        # The first of those that are alike may speak for all of them.
        for some in ({key: text for text, key in reversed(keys.items())}.values(), keys):
            new = [text for text in some if text not in judged and not self._seen.is_harmless(keys[text])]
            looked = self._looked_at(new)
            self._seen.learn(keys, looked)
            judged.update((text, at.secrets) for text, at in looked.items())
        return {text: judged.get(text, []) for text in texts}

    def _looked_at(self, texts: Sequence[str]) -> dict[str, Looked]:
        if not texts:
            return {}
        looked = dict(zip(texts, self._finder.find(texts), strict=True))
        more = [text for text, at in looked.items() if at.of_library and at.secrets is not None]
        for start, end in _batches(more if self._library else ()):
            some = more[start:end]
            looked.update(zip(some, self._with_library(some, [looked[text] for text in some]), strict=True))
        return looked

    def _with_library(self, texts: Sequence[str], looked: Sequence[Looked]) -> list[Looked]:
        try:
            of_library = library().find(texts)
        except Exception as error:
            log.error("redaction: the library of rules failed, %d texts are withheld: %r", len(texts), type(error))
            return [Looked(None)] * len(texts)
        return [
            replace(at, secrets=[*at.secrets, *(Secret(start, end, LIBRARY, rule) for start, end, rule in some)])
            if some and at.secrets is not None
            else at
            for at, some in zip(looked, of_library, strict=True)
        ]

    def secrets(self, text: str) -> list[Secret]:
        """What is hidden of a text in a first pass, in order; none overlaps another. For explanations."""
        (found,) = self._found_in([text])
        return _apart(text, found or [])

    def _replaced(self, text: str, secrets: Iterable[Secret], found: Counter[str], instead: Replace) -> str:
        parts: list[str] = []
        at = 0
        for secret in _apart(text, secrets):
            parts += (text[at : secret.start], instead(secret.type, text[secret.start : secret.end]))
            at = secret.end
            found[secret.type] += 1
        return "".join((*parts, text[at:]))

    def placeholder(self, name: str, secret: str) -> str:
        """What stands for a secret of a type."""
        return placeholder(self._key, name, secret)

    def _count(self, found: Counter[str]) -> None:
        if not found:
            return
        with self._lock:
            self._counts.update(found)
        for name, amount in found.items():
            self._telemetry.count("redactions", amount, type=name)


_TOKEN = re.compile(r"(?<![A-Za-z0-9])eyJ[\w\-]{5,}+\.[\w\-]{5,}+(?:\.[\w\-]*+){0,3}")

_MOST_VALUES = 100
"""Values of a text that are looked for in the rest of it."""


def _apart(text: str, secrets: Iterable[Secret]) -> list[Secret]:
    """Secrets that do not overlap, and every other place of their values: what is found first says the type."""
    taken = bytearray(len(text))
    apart = [piece for secret in secrets for piece in _untaken(secret, taken)]
    values = {value: secret for secret in apart if _recognisable(value := text[secret.start : secret.end])}
    if len(values) <= _MOST_VALUES:
        for value in sorted(values, key=len, reverse=True):
            known = values[value]
            apart += [
                piece
                for at in _places(value, text)
                for piece in _untaken(replace(known, start=at, end=at + len(value)), taken)
            ]
    return sorted(apart)


def _places(value: str, text: str) -> Iterator[int]:
    at = text.find(value)
    while at >= 0:
        yield at
        at = text.find(value, at + len(value))


_LEAST = 20
"""Characters."""


def _untaken(secret: Secret, taken: bytearray) -> Iterator[Secret]:
    """What of a secret none before it has taken."""
    start = secret.start
    # What is only likely to be one secret is none any more where another rule knows a part of it.
    least = _LEAST if secret.type in (LIBRARY, "high_entropy") and taken.find(1, start, secret.end) >= 0 else 1
    while (start := taken.find(0, start, secret.end)) >= 0:
        end = taken.find(1, start, secret.end)
        end = secret.end if end < 0 else end
        if end - start >= least:
            taken[start:end] = b"\1" * (end - start)
            yield Secret(start, end, secret.type, secret.rule)
        start = end


def _recognisable(value: str) -> bool:
    """Whether a value is hidden wherever it stands: no word or small number that stands there for itself."""
    return len(value) >= 6 and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for at, text in enumerate(texts):
        if size > TOGETHER:
            yield start, at
            start, size = at, 0
        size += len(text)
    if start < len(texts):
        yield start, len(texts)


def _cut(text: str) -> str:
    return re.sub(r"(?<!\S)\S*+\Z", "", text[:MAX_CHARS]) + "…"
