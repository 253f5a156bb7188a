"""What sources are learnt with, and the state file that holds it: what changed is learnt anew."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from exporter.config import Config
from exporter.detection import tables as detection_tables
from exporter.facts.observed import tables as facts_tables
from exporter.ingest.redaction import fingerprint as redaction_fingerprint
from exporter.mining.rows import TABLES as MINING_TABLES
from exporter.mining.settings import fingerprint as mining_fingerprint
from exporter.reading import FIRST, READING
from exporter.state.file import Rows, State
from exporter.state.learnt import Learnt, form_of, learn_with

log = logging.getLogger(__name__)

FORMAT = 3
"""Raised when what stages write changes its meaning without its tables changing: then all is learnt anew."""


OBSERVED = 2
"""Raised when what is counted of a window changes its meaning or its form: then every source is learnt anew."""


def learnt_with(config: Config) -> dict[str, Learnt]:
    """What each source is learnt with: where one of these is another, that source is learnt anew."""
    common: dict[str, object] = {
        "reading": READING,
        "observed": OBSERVED,
        "mining": mining_fingerprint(config.mining),
        "detection": config.detection.model_dump(mode="json"),
        # Templates that were mined with other rules may hold what these hide.
        "redaction": [redaction_fingerprint(), config.redaction.model_dump(mode="json")],
    }
    return {
        source.name: {name: _mark(value) for name, value in {**common, **source.learnt_with()}.items()}
        for source in config.sources
    }


UNMARKED: Learnt = {
    **{name: hashlib.sha256(json.dumps(FIRST).encode()).hexdigest()[:16] for name in ("reading", "observed")},
    "redaction": "of release 0.1",
}
"""What sources were learnt with that release 0.1 has not marked one by one, where it is not what it is today."""


def fingerprint(config: Config) -> str:
    """As release 0.1 marked what it had learnt: of all sources together. Where it is that, what was learnt is kept."""
    parts = {
        "format": FORMAT,
        "mining": mining_fingerprint(config.mining),
        "detection": _detection(config),
        "sources": {
            source.name: [str(source.window), str(source.late_window), repr(source.sessions), str(source.group_by)]
            for source in config.sources
        },
    }
    return _mark(parts)


def _detection(config: Config) -> object:
    """Options of detection as release 0.1 had them, and the default that it had where it is another one now."""
    options = config.detection.model_dump(mode="json", exclude={"known_for"})
    if "adopt_after" not in config.detection.model_fields_set:
        options["adopt_after"] = "6h"
    return options


def _mark(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def open_state(config: Config, path: Path | None = None) -> State:
    """The state file with the tables of all stages, and what was learnt with these settings. Raises StateError."""
    form, *same = _forms(config)
    state = State(path or config.state, (MINING_TABLES, detection_tables(), facts_tables()), form, same)
    try:
        learn_anew(state, config)
    except BaseException:
        state.close()
        raise
    return state


def same_form(rows: Rows, config: Config) -> bool:
    """Whether what a state file holds means what it means today. Raises StateError."""
    return form_of(rows) in (None, *_forms(config))


def _forms(config: Config) -> tuple[str, str]:
    """The mark of today's form, and how it was marked before."""
    return f"format {FORMAT}", fingerprint(config)


def learn_anew(state: State, config: Config) -> None:
    """Forget what was learnt of sources whose settings are others now; the rest of them go on."""
    for source, names in learn_with(state, learnt_with(config), UNMARKED).items():
        log.warning("%s: %s differs from what it was learnt with: it is learnt anew", source, ", ".join(names))
