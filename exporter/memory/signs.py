"""What tells one failure from another: its alarming texts, the kinds of fault they speak of, and what fell silent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from exporter.memory.embedding import normalise, words
from exporter.model import Contribution, Facts, Incident, IncidentDocument, Severity, stable_key
from exporter.model.failures import failure_in
from exporter.model.faults import fault_in, fault_named

MAX_LINES = 30

MAX_CHARS = 500
"""Of an alarming text."""

ROLES = {"cause": 1.0, "strain": 0.6, "peer": 0.3, "wrapper": 0.05}
"""How much a text says of what is broken, by the role of its kind of fault."""

NO_KIND = 0.6
"""The same of a text without a kind, which may be anything."""

SEVERAL = "*"
"""Stands for the services, where several say less than usual."""

HALF = 0.5
"""Of what the first of the facts scores: what scores less says nothing of which failure it is."""

_NEW = frozenset({"new_template", "status", "value"})
_FELL = frozenset({"volume", "silence"})


@dataclass(frozen=True)
class Signs:
    """What two incidents are compared by; each of it the most telling first.

    `lines` are redacted texts, `kinds` ids of faults, `fell` services that said less than usual; they count where no
    line is alarming.
    """

    lines: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    fell: tuple[str, ...] = ()
    service: str = ""
    words: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def any(self) -> bool:
        """Whether there is something to compare; nothing is like an incident without."""
        return bool(self.lines or self.fell)


def signs_of(incident: Incident) -> Signs:
    """The signs of an incident."""
    fell = {c.service or incident.service for c in incident.contributions if c.kind in _FELL and _is_less(c)}
    if missing := _missing(incident):
        # Whatever fails beside it fails always.
        return _signs((), sorted({*fell, missing}), incident.service)
    return _signs(_alarming(incident), sorted(fell), incident.service)


def _missing(incident: Incident) -> str:
    """The service of which facts tell first that it says less, or nothing; empty where they tell something else."""
    facts = incident.facts
    first = facts.measured[0] if facts and facts.measured and not facts.fails_first else None
    return first.service if first and first.kind != "slow" else ""


def signs_in(document: IncidentDocument) -> Signs:
    """The signs of a remembered one; those of the first form are read from its text, in which they lie with others."""
    service = document.services[0] if document.services else ""
    if document.form >= 2:
        service = document.service or service
        return Signs(document.lines, document.kinds, document.fell, service, _all_words(document.lines))
    return _unsorted(document.text.split("\n")[1:], service)


def signs_of_first_form(incident: Incident) -> Signs:
    """The signs of an incident as a document of the first form has them: only so are equal ones equal."""
    by_share = sorted(incident.contributions, key=lambda c: (-c.share, c.kind, c.text))
    texts = dict.fromkeys(normalise(one.text) or one.kind for one in by_share)
    return _unsorted(list(texts)[:MAX_LINES], incident.services[0] if incident.services else "")


def _unsorted(texts: Iterable[str], service: str) -> Signs:
    """Signs of texts of any kind of finding, those that say most first; no order of messages says what failed."""
    telling = [text for text in texts if " -> " not in text]
    return _signs([(text, 1 / (n + 1)) for n, text in enumerate(telling)], (), service)


def signature(signs: Signs) -> str:
    """Which failure it is, in a form that is equal when it comes again: the kind of fault that says most of what broke.

    Where a peer complains, whose peers; without a kind, the words of the most telling line; without a line, what fell.
    """
    main = fault_named(signs.kinds[0]) if signs.kinds else None
    if main and main.role in ("cause", "strain"):
        return main.id
    if main and main.role == "peer":
        return f"{main.id} {signs.service}"
    if signs.lines:
        key = " ".join(sorted(text_words(signs.lines[0])))
        return f"{stable_key(key):016x}"
    if signs.fell:
        return f"fell {signs.fell[0] if len(signs.fell) == 1 else SEVERAL}"
    return ""


@lru_cache(maxsize=20_000)
def text_words(text: str) -> frozenset[str]:
    """The words of a text, without what differs from time to time: a template says the same before and after it was
    generalised.

    >>> text_words("order 7 failed: no space left") == text_words("order <num> failed: no space left")
    True
    """
    return frozenset(words(text))


def _signs(weighed: Iterable[tuple[str, float]], fell: Sequence[str], service: str) -> Signs:
    lines: dict[frozenset[str], tuple[float, str]] = {}
    kinds: dict[str, float] = {}
    for text, weight in weighed:
        found, known = fault_in(text), text_words(text)
        telling = weight * (ROLES[found.role] if found else NO_KIND)
        if known and telling > lines.get(known, (0.0, ""))[0]:
            lines[known] = telling, normalise(text)[:MAX_CHARS]
        if found:
            kinds[found.id] = max(kinds.get(found.id, 0.0), telling)
    ranked = sorted(lines.values(), key=lambda one: (-one[0], one[1]))[:MAX_LINES]
    texts = tuple(text for _, text in ranked)
    return Signs(
        texts, tuple(sorted(kinds, key=lambda kind: (-kinds[kind], kind))), tuple(fell), service, _all_words(texts)
    )


def _alarming(incident: Incident) -> Iterator[tuple[str, float]]:
    """Texts with their weight: what facts tell first, else what is new, fails, or warns; what else is unusual is mostly
    its consequence."""
    if incident.facts and incident.facts.fails_first:
        yield from _ranked(incident.facts)
        return
    for one in incident.contributions:
        if one.kind in _NEW:
            yield one.text, 0.5 + one.share / 2
        elif one.kind == "template" and not _is_less(one) and _fails(one.text):
            yield one.text, 0.4 + one.share / 2
    for line in incident.evidence:
        if line.severity >= Severity.WARN:
            yield line.template or line.body, 0.4 if line.severity >= Severity.ERROR else 0.3


def _ranked(facts: Facts) -> Iterator[tuple[str, float]]:
    """What decides, and what matters at least half as much: a line that always comes now and then decides nothing.

    What others say of the service that itself says what is wrong comes of that; whether many of them do is chance.
    """
    decisive, alike, top = facts.decisive, facts.alike, facts.failing[0].score
    for one in facts.failing:
        if one in alike:
            yield one.words, 1.0
        elif one.score >= HALF * top:
            # Facts that somebody gives us may say nothing of how much each matters.
            weight = 0.4 * (one.score / top if top > 0 else 1.0)
            yield one.words, weight * (ROLES["wrapper"] if decisive and one.about == decisive.service else 1.0)


def _is_less(finding: Contribution) -> bool:
    return finding.observed < finding.expected


def _fails(text: str) -> bool:
    return fault_in(text) is not None or failure_in(text) > 0


def _all_words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*map(text_words, texts))


def role_of(kind: str) -> float:
    """How much a kind says of what is broken; nothing for one that this release does not know."""
    found = fault_named(kind)
    return ROLES[found.role] if found else 0.0


def said(kinds: Iterable[str]) -> list[str]:
    """Kinds in words for people."""
    return [found.say for kind in kinds if (found := fault_named(kind)) is not None]


def telling(signs: Signs) -> list[str]:
    """Kinds by which past incidents are looked for: not those that say only that something failed."""
    return [kind for kind in signs.kinds if role_of(kind) >= ROLES["peer"]]
