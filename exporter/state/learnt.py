"""What each source was learnt with: where a setting is another one now, that source is learnt anew, and it alone."""

from __future__ import annotations

import json
from collections.abc import Mapping

from exporter.model import Write
from exporter.state.file import Rows, State, meta_row
from exporter.state.incidents import uncalibrated_row
from exporter.state.regroup import regrouped_row, ungrouped_row

Learnt = Mapping[str, str]
"""What a source is learnt with: a mark of each setting that matters, by its name."""


def form_of(rows: Rows) -> str | None:
    """The mark of the form in which a file holds what was learnt; None where it holds nothing yet."""
    found = rows.read_now("SELECT value FROM meta WHERE key = 'fingerprint'")
    return found[0][0] if found else None


def begun(rows: Rows) -> set[str]:
    """The sources of which something was learnt, or will be from where it was decided to begin."""
    return {source for (source,) in rows.read_now("SELECT source FROM checkpoints")}


def differing(rows: Rows, wanted: Mapping[str, Learnt], unmarked: Learnt) -> dict[str, tuple[str, ...]]:
    """The sources that were learnt with other settings, and which; not those of which nothing was learnt. Those that an
    earlier release has not marked one by one were learnt with what is wanted, but for what `unmarked` says."""
    known = dict(rows.read_now("SELECT key, value FROM meta WHERE key GLOB 'learnt/*'"))
    found = {}
    for source in sorted(begun(rows) & wanted.keys()):
        now = wanted[source]
        before = _marks(known.get(_key(source))) or {**now, **unmarked}
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if names:
            found[source] = tuple(names)
    return found


def learn_with(state: State, wanted: Mapping[str, Learnt], unmarked: Learnt) -> dict[str, tuple[str, ...]]:
    """Forget what was learnt with other settings. Returns those sources, and the settings."""
    changed = differing(state, wanted, unmarked)
    marks = [meta_row(_key(source), json.dumps(now, sort_keys=True)) for source, now in wanted.items()]
    state.write_now([*unlearnt(state, *changed), *marks])
    return changed


def unlearnt(rows: Rows, *sources: str) -> list[Write]:
    """Forget all that was learnt of sources. What was told stays; what was grouped cannot be grouped again without what
    is forgotten here. The threshold of incidents stays as long as a source is left that it rests on."""
    if not sources:
        return []
    derived = rows.read_now("SELECT value FROM meta WHERE key = 'derived'")
    tables = (*json.loads(derived[0][0] if derived else "[]"), "checkpoints", "undo")
    of_these = tuple((source,) for source in sources)
    learnt = [Write(table, ("source",), of_these, delete=True) for table in tables]
    left = begun(rows).difference(sources)
    return [*learnt, ungrouped_row(), regrouped_row(), *([] if left else [uncalibrated_row()])]


def _key(source: str) -> str:
    return f"learnt/{source}"


def _marks(text: str | None) -> Learnt:
    """None of them where what is kept cannot be read."""
    try:
        return {str(name): str(mark) for name, mark in json.loads(text or "{}").items()}
    except (ValueError, AttributeError):
        return {}
