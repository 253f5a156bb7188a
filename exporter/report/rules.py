"""Write what happened, the likely cause and what to do, each sentence citing evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.incidents.given import GIVEN
from exporter.model import (
    OWN_NAME,
    Claim,
    Contribution,
    Evidence,
    Facts,
    Incident,
    Report,
    Severity,
    SimilarIncident,
    TimeRange,
)
from exporter.wording import headlines, words
from exporter.wording.impact import unchanged
from exporter.wording.text import brief, clock, day, duration, listed

LEAST_TELLING = frozenset(("transition", "gap"))
"""Order and pauses: they follow from what failed, and come last."""

RULES = "rules"
"""The `writer` of the deterministic report."""

MAX_FINDINGS = 8
"""Findings that become sentences, the strongest first."""

MORE_FINDINGS = 3
"""The same, where it is known what failed."""

MAX_CAUSES = 2
"""Suspects that become sentences: the likeliest, and the runner-up."""

MAX_CITED = 5
"""Lines that one sentence cites."""

MAX_GAPS = 5
"""Stretches that could not be read and are noted one by one."""


def write(
    incident: Incident,
    similar: Sequence[SimilarIncident] = (),
    links: Sequence[tuple[str, str]] = (),
    gaps: Sequence[tuple[str, TimeRange, str]] = (),
    unasked: str = "",
) -> Report:
    """The report that needs no model; equal arguments give equal reports.

    similar: past incidents, the most alike first. links: names and URLs of places where its logs are.
    gaps: stretches of its time that could not be read: source, when, why. unasked: why memory could not be asked.
    """
    return Report(
        incident=incident.id,
        revision=incident.revision,
        writer=RULES,
        headline=headline(incident, similar),
        what_happened=(
            *_known(incident),
            _overview(incident),
            *_again(incident, similar),
            *_findings(incident),
            *spread(incident),
            *_unchanged(incident),
        ),
        causes=_causes(incident),
        steps=_steps(incident, similar, links),
        similar=tuple(similar),
        unasked=unasked,
        notes=(*_unread(gaps), *_notes(incident)),
    )


def headline(incident: Incident, similar: Sequence[SimilarIncident] = ()) -> str:
    """What failed, whom it hit, since when, and what fixed it the last time: one line."""
    if incident.facts and (said := headlines.headline(incident.facts, similar)):
        return said
    service = words.cause(incident)
    if finding := _main_finding(incident, service):
        what = words.in_headline(finding)
    elif incident.alerted and incident.summary:
        what = f"{incident.trigger}: {incident.summary}"
    else:
        what = "unusual behaviour" if incident.trigger == "detector" else incident.trigger
    others = len(set(incident.services) - {service})
    spread = f", {others} more {'service' if others == 1 else 'services'} affected" if others else ""
    return f"{brief(service, 60)}: {brief(what, 140)}{spread}, since {clock(incident.starts_at)}"


def _main_finding(incident: Incident, service: str) -> Contribution | None:
    """The strongest finding that cites a line of the service, or of all where none does; order and pauses come last."""
    own = {line.id for line in incident.evidence if line.service == service}
    ranked = _ranked(incident)
    return next((c for c in ranked if own.intersection(c.evidence)), ranked[0] if ranked else None)


def _overview(incident: Incident) -> Claim:
    since, on = clock(incident.starts_at), day(incident.starts_at)
    if incident.trigger == GIVEN:
        # Nobody has looked at the past of these services.
        cited = tuple(line.id for line in incident.evidence[:MAX_CITED])
        told = f"of {listed(incident.services)}, from {since} to {clock(incident.updated_at)} on {on}"
        return Claim(f"This is told of what was given {told}.", cited)
    if not incident.anomalies:
        said = f": “{brief(incident.summary, 300)}”" if incident.summary else ""
        return Claim(f"At {since} on {on}, {brief(incident.trigger, 200)} fired{said}. {_looked(incident)}")
    when = f"Between {since} and {clock(incident.ends_at)}" if incident.ends_at else f"Since {since}"
    count = len(incident.services)
    verb = "behaved" if incident.ends_at else "behave" if count > 1 else "behaves"
    subject = f"{count} services {verb} unlike their past" if count > 1 else f"one service {verb} unlike its past"
    text = f"{when} on {on}, {subject}: {listed(incident.services) or 'no service'}."
    firsts: dict[str, str] = {}
    for line in incident.evidence:
        firsts.setdefault(line.service, line.id)
    return Claim(text, tuple(firsts.values())[:MAX_CITED])


def _looked(incident: Incident) -> str:
    """What the logs around an alert were compared with, where they show nothing."""
    if not incident.looked:
        return "No logs around it could be compared with their past."
    spans = [f"{brief(one.source, 60)} from {clock(one.since)} to {clock(one.through)}" for one in incident.looked]
    return f"Compared with their past, the logs of {listed(spans, 3, 120)} show nothing unusual."


def _ranked(incident: Incident) -> list[Contribution]:
    """The findings, the strongest first, order and pauses last."""
    return sorted(incident.contributions, key=lambda c: (c.kind in LEAST_TELLING, -c.share))


def _again(incident: Incident, similar: Sequence[SimilarIncident]) -> list[Claim]:
    """How often the same failure has come, as far as memory goes, and when last."""
    same = [one for one in similar if one.tier == "same" and one.times]
    if not same:
        return []
    last = max(same, key=lambda one: one.starts_at)
    ago = duration(incident.starts_at - last.starts_at)
    return [Claim(f"It is {words.time_of(last)}; last on {day(last.starts_at)} ({last.id}), {ago} ago.")]


def _known(incident: Incident) -> list[Claim]:
    """What code has counted: whom it hit, what failed, what stopped or got slow."""
    if incident.facts is None:
        return []
    kept = {line.id for line in incident.evidence}
    said = headlines.sentences(incident.facts)
    return [Claim(text, (line,) if line in kept else ()) for text, line in said]


def _findings(incident: Incident) -> list[Claim]:
    """What else was unusual: not what facts tell with all its lines, nor what follows from that."""
    kept = {line.id: line for line in incident.evidence}
    facts = incident.facts
    telling = [c for c in _ranked(incident) if not (facts and _is_told(c, facts, kept))]
    most = MORE_FINDINGS if facts and (facts.failing or facts.measured) else MAX_FINDINGS
    return [Claim(_sentence(c, kept), citations(c, kept)) for c in telling[:most]]


def _is_told(finding: Contribution, facts: Facts, kept: Mapping[str, Evidence]) -> bool:
    """Whether it is of lines that fail, errors of a service that says how it fails, requests that are counted, or less
    of a service that stopped."""
    failing, service = headlines.told_first(facts), finding.service
    lines = [kept[one.line] for one in failing if one.line in kept]
    templates = {(line.source, line.template_id) for line in lines}
    if finding.templates and templates.issuperset((finding.source, one) for one in finding.templates):
        return True
    if finding.kind == "errors":
        return any(one.service == service and one.level >= Severity.ERROR for one in failing)
    if finding.kind == "status":
        return facts.impact is not None and service == facts.impact.service
    if finding.kind == "duration":
        return any(one.kind == "slow" and one.service == service for one in facts.measured)
    if finding.kind in LEAST_TELLING and failing:
        return True
    less = finding.observed < finding.expected
    return less and any(one.kind in ("stopped", "less") and one.service == service for one in facts.measured)


def citations(finding: Contribution, kept: Mapping[str, Evidence]) -> tuple[str, ...]:
    """Ids of the lines that the finding names, else of kept lines of its templates; at most MAX_CITED."""
    named = [line for line in finding.evidence if line in kept]
    alike = (key for key, line in kept.items() if _shows(line, finding))
    return tuple(named or alike)[:MAX_CITED]


def _shows(line: Evidence, finding: Contribution) -> bool:
    """Whether the line's template is one of the finding's."""
    if line.template_id is None or line.template_id < 0 or line.template_id not in finding.templates:
        return False
    return (line.source, line.service) == (finding.source, finding.service)


def _sentence(finding: Contribution, kept: Mapping[str, Evidence]) -> str:
    return words.sentence(finding, list(dict.fromkeys(kept[line].service for line in citations(finding, kept))))


def spread(incident: Incident) -> list[Claim]:
    """Which service came first and which followed, where there are several."""
    known = {line.id for line in incident.evidence}
    first = [s for s in incident.suspects if s.first_seen is not None and s.service in incident.services]
    ordered = sorted(first, key=lambda s: (s.first_seen, -s.weight, s.service))
    if len(ordered) < 2 or ordered[0].first_seen == ordered[-1].first_seen:
        return []
    start = ordered[0].first_seen
    assert start is not None  # noqa: S101
    later = [
        f"{brief(s.service, 60)} {duration(s.first_seen - start)} later"
        for s in ordered
        if s.first_seen is not None and s.first_seen > start
    ]
    began = [s.service for s in ordered if s.first_seen == start]
    cited = dict.fromkeys(line for e in incident.timeline for line in e.evidence if line in known)
    return [Claim(f"It began in {listed(began)}; then came {listed(later, 4)}.", tuple(cited)[:MAX_CITED])]


def _unchanged(incident: Incident) -> list[Claim]:
    """What was compared and is as before: it rules out what one would look at first."""
    said = unchanged(incident)
    return [Claim(said)] if said else []


def _causes(incident: Incident) -> tuple[Claim, ...]:
    claims = []
    for rank, suspect in enumerate(incident.suspects[:MAX_CAUSES]):
        likely = "the most likely cause" if rank == 0 else "a possible cause"
        lines = [line.id for line in incident.evidence if line.service == suspect.service]
        reason = f": {brief(suspect.reason, 200)}" if suspect.reason else ""
        claims.append(Claim(f"{brief(suspect.service, 60)} is {likely}{reason}.", tuple(lines[:MAX_CITED])))
    return tuple(claims)


def _steps(
    incident: Incident, similar: Sequence[SimilarIncident], links: Sequence[tuple[str, str]]
) -> tuple[Claim, ...]:
    service, start = words.cause(incident), clock(incident.starts_at)
    own = tuple(line.id for line in incident.evidence if line.service == service)[:MAX_CITED]
    steps = [
        *known_fixes(similar),
        *(Claim(f"Open {brief(name, 60)}: {url}") for name, url in links),
        *_after_start(incident, brief(service, 60)),
        *_whence(incident, own),
        *_by_kind(incident),
        *_trace(incident, service),
    ]
    return tuple(steps) or (Claim(f"Read the logs of {brief(service, 60)} from shortly before {start} on.", own),)


def _whence(incident: Incident, own: Sequence[str]) -> list[Claim]:
    """What to compare, where all comes from one of several hosts, versions or instances."""
    known = [one for one in incident.facts.spread if one.name] if incident.facts else []
    found = [
        Claim(f"Compare {one.what} {brief(one.name, 80)} with the others of its service.", tuple(own)) for one in known
    ]
    return found


def _trace(incident: Incident, service: str) -> list[Claim]:
    """A request that failed in the service that is the cause, or in the one that is told first."""
    decisive = incident.facts.decisive if incident.facts else None
    telling = {service, decisive.service if decisive else service}
    lines = (one for one in incident.evidence if one.trace and one.severity >= Severity.ERROR)
    found = next((one for one in lines if one.service in telling), None)
    if found is None:
        return []
    where = f"Follow trace {brief(found.trace, 64)}, which failed in {brief(found.service, 60)}, through the services."
    return [Claim(where, (found.id,))]


def _after_start(incident: Incident, service: str) -> list[Claim]:
    """What began shortly before it failed."""
    starts = incident.facts.starts if incident.facts else ()
    own = [one for one in starts if one.service == words.cause(incident)]
    before = [one for one in own if one.at <= incident.starts_at]
    if not before:
        return []
    last = before[-1]
    started = f"{service} started {brief(last.version, 20)} at {clock(last.at)}"
    return [Claim(f"{started}, before it failed: look at what that changed, and go back if it is new.")]


def known_fixes(similar: Sequence[SimilarIncident]) -> list[Claim]:
    """Steps from memory: what fixed the same failure before, else what may be related; of two at most."""
    same = any(s.tier == "same" for s in similar)
    fixed = [s for s in similar if s.fix and (s.tier == "same" or not same)]
    kind = {"same": "The same failure of", "related": "What may be related, of"}
    return [Claim(f"{kind[s.tier]} {day(s.starts_at)} ({_which(s)}), was {words.fixed(s, 300)}") for s in fixed[:2]]


def _which(past: SimilarIncident) -> str:
    return f"{past.id}, in {brief(past.elsewhere, 80)}" if past.elsewhere else past.id


def _by_kind(incident: Incident) -> list[Claim]:
    found = {finding.kind for finding in incident.contributions}
    return [Claim(kind.step) for name, kind in words.KINDS.items() if name in found and kind.step]


def _unread(gaps: Sequence[tuple[str, TimeRange, str]]) -> list[str]:
    notes = [
        f"From {clock(span.start)} to {clock(span.end)} nothing could be read from `{brief(source, 63)}`: "
        f"{brief(why, 200).rstrip('.')}."
        for source, span, why in gaps[:MAX_GAPS]
    ]
    more = len(gaps) - len(notes)
    return [*notes, f"So it was in {more} more stretches of its time."] if more else notes


def _notes(incident: Incident) -> tuple[str, ...]:
    notes = [note] if (note := words.sampled(incident)) else []
    if incident.alerted:
        said = f" (“{brief(incident.summary, 200)}”)" if incident.summary and incident.anomalies else ""
        notes.append(f"Opened by {brief(incident.trigger, 120)}{said}, not by a detector.")
    if incident.reopened:
        notes.append(f"Reopened {incident.reopened} {'time' if incident.reopened == 1 else 'times'}.")
    if incident.merged_into:
        notes.append(f"Merged into incident {incident.merged_into}.")
    if not incident.fix:
        command = f"{OWN_NAME} incidents resolve {incident.id} --fix TEXT -c FILE"
        notes.append(f"Once it is over, tell what fixed it, for the next time: {command}")
    return tuple(notes)
