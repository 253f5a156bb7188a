"""Which of the candidates is the same failure, which may be related, what is known of its end, and why that is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.memory.likeness import Likeness, Weight, likeness, rarity
from exporter.memory.signs import Signs, said, signature, signs_in, signs_of_first_form, text_words
from exporter.model import Incident, IncidentDocument, SimilarIncident
from exporter.model.memory import MOST_COUNTED

MAX_REASONS = 3
"""Lines that are named of each sort."""

EQUALLY = 0.1
"""Difference of evidence within which two past incidents fit equally."""

RIVAL_WORDS = 0.3
"""Share of words in common from which what two past incidents have beyond the new one is the same story."""


@dataclass(frozen=True)
class Candidate:
    """A past incident that a query brought, by which ways, and the cosine of its vector where that was one."""

    document: IncidentDocument
    matched: tuple[str, ...]
    cosine: float | None = None


@dataclass(frozen=True)
class Judged:
    """A candidate with what the comparison says of it."""

    document: IncidentDocument
    matched: tuple[str, ...]
    signs: Signs
    like: Likeness
    came_back: timedelta | None = None
    """How long after its end the same failure came again."""

    @property
    def is_same(self) -> bool:
        return self.like.tier == "same"


def judged(incident: Incident, new: Signs, candidates: Sequence[Candidate]) -> list[Judged]:
    """The candidates that are alike enough to an incident of these signs, the most useful first."""
    known = [(candidate, signs_in(candidate.document)) for candidate in candidates]
    rare, first = rarity([signs for _, signs in known]), signs_of_first_form(incident)
    found = [Judged(one.document, one.matched, signs, _compared(new, first, one, signs, rare)) for one, signs in known]
    alike = [one for one in found if one.like.tier is not None]
    return sorted(_with_outcomes(alike, incident.starts_at), key=_usefulness)


def _compared(new: Signs, first: Signs, past: Candidate, signs: Signs, rare: Weight) -> Likeness:
    """The likeness; equal to a document of the first form is what has all in common that such a document knows.

    It knows more than what is alarming, of which much is in common by chance: that is not enough to be related.
    """
    if past.document.form < 2 and (whole := likeness(first, signs, rare, past.cosine)).tier == "same":
        return whole
    return likeness(new, signs, rare, past.cosine)


def similar(
    found: Sequence[Judged], new: Signs, most: int, fingerprint: str = "", installation: str = ""
) -> tuple[SimilarIncident, ...]:
    """What is told of them, of the best as many as asked for; `fingerprint` and `installation` are the new one's."""
    told = _told(found, most)
    times = 1 + min(sum(one.is_same and _signature(one) == signature(new) for one in found), MOST_COUNTED)
    rivals = _rivals(told)
    return tuple(
        SimilarIncident(
            id=one.document.id,
            headline=one.document.headline,
            similarity=one.like.score,
            services=one.document.services,
            starts_at=one.document.starts_at,
            ends_at=one.document.ends_at,
            fix=one.document.fix,
            same_fingerprint=one.document.fingerprint == fingerprint,
            matched=one.matched,
            tier="same" if one.is_same else "related",
            times=times if one.is_same and times > 1 else 0,
            kinds=tuple(said(one.like.kinds)),
            common=one.like.common[:MAX_REASONS],
            now=one.like.now[:MAX_REASONS],
            then=one.like.then[:MAX_REASONS],
            rivals=tuple(other.document.id for other in rivals if other is not one) if one in rivals else (),
            came_back=one.came_back,
            fixed_by=one.document.fixed_by,
            fixed_at=one.document.fixed_at if one.document.fix else None,
            elsewhere=elsewhere(one.document, installation),
        )
        for one in told
    )


def elsewhere(document: IncidentDocument, installation: str) -> str:
    """What is known of the installation that wrote it, if it is another than that one."""
    if document.installation in ("", installation):
        return ""
    return ", ".join(document.origin) or f"installation {document.installation}"


def _told(found: Sequence[Judged], most: int) -> Sequence[Judged]:
    """The best, and the last time that the same failure came in any case."""
    newest = max((one for one in found if one.is_same), key=lambda one: one.document.starts_at, default=None)
    if newest is None or newest in found[:most]:
        return found[:most]
    return [*found[: most - 1], newest]


def redacted(one: SimilarIncident, redact: Callable[[str], str]) -> SimilarIncident:
    """With its texts redacted: the index is shared, and what it holds may be older than a rule of redaction."""
    return replace(
        one,
        headline=redact(one.headline),
        services=tuple(map(redact, one.services)),
        fix=redact(one.fix) if one.fix else one.fix,
        fixed_by=redact(one.fixed_by),
        elsewhere=redact(one.elsewhere),
        common=tuple(map(redact, one.common)),
        now=tuple(map(redact, one.now)),
        then=tuple(map(redact, one.then)),
    )


def _with_outcomes(found: Sequence[Judged], starts_at: datetime) -> list[Judged]:
    """When each came back: with the next one that was the same failure, at the latest with the new one."""
    same = sorted((one for one in found if one.is_same), key=lambda one: (one.document.starts_at, one.document.id))
    came = {
        one.document.key: max(timedelta(0), then - (one.document.ends_at or one.document.starts_at))
        for one, then in zip(same, [*(one.document.starts_at for one in same[1:]), starts_at], strict=False)
    }
    return [replace(one, came_back=came.get(one.document.key)) for one in found]


def _usefulness(one: Judged) -> tuple[bool, bool, float, float, float, str]:
    """The same failure first; of these what was fixed, longest for good; else the most alike, the newest of equals."""
    fixed = one.is_same and bool(one.document.fix)
    held = one.came_back.total_seconds() if fixed and one.came_back else 0.0
    return not one.is_same, not fixed, -held, -one.like.evidence, -one.document.starts_at.timestamp(), one.document.id


def _signature(one: Judged) -> str:
    return one.document.signature or signature(one.signs)


def _rivals(found: Sequence[Judged]) -> list[Judged]:
    """Those that fit as well as the best one, though they are another story: what both have beyond it is not alike."""
    if not found:
        return []
    best = max(found, key=lambda one: one.like.evidence)
    close = [one for one in found if one.like.evidence >= best.like.evidence - EQUALLY]
    others = [one for one in close if one is not best and _tell_apart(best, one)]
    return [best, *others] if others else []


def _tell_apart(one: Judged, other: Judged) -> bool:
    mine, theirs = (_all(judged.like.then) for judged in (one, other))
    if not mine or not theirs:
        return False
    return len(mine & theirs) < RIVAL_WORDS * min(len(mine), len(theirs))


def _all(lines: Sequence[str]) -> frozenset[str]:
    return frozenset().union(*map(text_words, lines))
