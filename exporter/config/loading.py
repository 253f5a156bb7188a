"""From the text of exporter.yml to its typed values, or to everything that is wrong in it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from exporter.config import document
from exporter.config.document import Document
from exporter.config.problems import Place, Problem, found_in
from exporter.config.retired import without_retired
from exporter.config.settings import Config
from exporter.config.tables import EMBEDDERS, LLMS, MEMORIES, REPORTS, SINKS, SOURCES, resolve
from exporter.model import (
    ClientSettings,
    ConfigError,
    SinkSettings,
    SourceSettings,
)

logger = logging.getLogger(__name__)

Warn = Callable[[str], object]
"""Who is told of a setting that has no effect any more."""


def load(path: Path, warn: Warn = logger.warning) -> Config:
    """Read and validate a file. Raises ConfigError: all problems, each with line, path in the file and choices."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the configuration with -c FILE") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8, at byte {error.start}; give YAML with -c FILE") from error
    try:
        found = document.read(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:{_worded(error)}") from error
    return _parsed(found, str(path), warn)


def parse(raw: Mapping[str, Any], origin: str = "configuration") -> Config:
    """Validate values that stand in no file. Raises ConfigError with every problem, one a line."""
    return _parsed(Document(raw), origin, logger.warning)


def effective(config: Config) -> str:
    """The whole configuration with its defaults as YAML, secrets masked."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def _worded(error: yaml.YAMLError) -> str:
    """Where YAML goes wrong, and what is wrong there."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{mark.line + 1}: not valid YAML, at column {mark.column + 1}: {error.problem}"
    return f" not valid YAML: {' '.join(str(error).split())}"


def _parsed(found: Document, origin: str, warn: Warn) -> Config:
    if not isinstance(found.values, Mapping):
        raise ConfigError(f"{origin}: holds no settings; the shortest useful file is one source and one sink")
    warnings: list[Problem] = []
    problems: list[Problem] = []
    config = _config(without_retired(found.values, warnings), problems)
    warnings += _doubts(config) if config else []
    for warning in _told(warnings, found, origin):
        warn(warning)
    problems = [*found.problems, *problems]
    if problems or config is None:
        raise ConfigError("\n".join(_told(problems, found, origin)))
    return config


def _told(problems: Iterable[Problem], text: Document, origin: str) -> list[str]:
    """A line for each problem, in the order of the file."""
    placed = sorted(((text.line(problem.path) or 0, problem) for problem in problems), key=lambda item: item[0])
    return [f"{origin}:{line}: {problem}" if line else f"{origin}: {problem}" for line, problem in placed]


def _config(raw: Mapping[str, Any], problems: list[Problem]) -> Config | None:
    """The settings, or None and every problem that there is."""
    filled = _with_environment(raw, (), problems)
    chosen: list[Problem] = []
    parts = _chosen(filled, chosen)
    _add(problems, chosen)
    # A block of which every line is a comment says nothing.
    others = {key: value for key, value in filled.items() if value is not None and key not in _CHOSEN}
    try:
        return _trusting(Config(**others, **parts))
    except ValidationError as error:
        # Of what could not be chosen all is said.
        known = {problem.path[:1] for problem in chosen}
        _add(problems, [problem for problem in found_in(error) if problem.path[:1] not in known])
        return None


def _trusting(config: Config) -> Config:
    """With what is said of all clients said of each that says nothing of its own."""

    def told(part: Any) -> Any:
        if isinstance(part, ClientSettings) and part.trust_env is None:
            return part.model_copy(update={"trust_env": config.trust_env})
        return part

    parts: dict[str, Any] = {name: told(getattr(config, name)) for name in ("memory", "llm", "report", "telemetry")}
    several = {name: tuple(map(told, getattr(config, name))) for name in ("sources", "sinks")}
    return config.model_copy(update={**parts, **several})


def _add(problems: list[Problem], found: Iterable[Problem]) -> None:
    """Add what is found at other places than before: the first problem of a place says what to do there."""
    places = {problem.path for problem in problems}
    problems += [p for p in found if not any(p.path[:length] in places for length in range(1, len(p.path) + 1))]


def _with_environment(value: Any, path: Place, problems: list[Problem]) -> Any:
    """`${NAME}` in any text becomes the environment's value; `$$` stands for a dollar."""
    if isinstance(value, Mapping):
        return {str(key): _with_environment(item, (*path, str(key)), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_environment(item, (*path, index), problems) for index, item in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value

    def lookup(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] not in os.environ:
            problems.append(Problem(path, f"the environment has no variable {match[1]}; set it, or use *_file"))
        return os.environ.get(match[1], match[0])

    return re.sub(r"\$\$|\$\{(\w+)\}", lookup, value)


_CHOSEN = ("sources", "sinks", "memory", "llm", "report")


def _chosen(values: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """What stands under a `type:`, as the settings of that type."""
    # Who only serves a layer reads no logs.
    reads = values.get("sources") is not None or "serve" not in values
    sources: tuple[SourceSettings | None, ...] = (
        _several(SOURCES, values.get("sources"), "sources", problems) if reads else ()
    )
    sinks: tuple[SinkSettings | None, ...] = _several(SINKS, values.get("sinks") or (), "sinks", problems)
    problems += _taken("sources", sources) + _taken("sinks", sinks) + _session_patterns(sources)
    chosen: dict[str, Any] = {"sinks": sinks, **({"sources": sources} if reads else {})}
    if memory := values.get("memory"):
        chosen["memory"] = _memory(memory, problems)
    if llm := values.get("llm"):
        chosen["llm"] = _one(LLMS, llm, ("llm",), problems)
    if report := values.get("report"):
        chosen["report"] = _one(REPORTS, report, ("report",), problems)
        if llm:
            problems.append(Problem(("report",), "llm is given, too; keep one: who is asked has a model of its own"))
    return chosen


def _memory(raw: Any, problems: list[Problem]) -> Any:
    if isinstance(raw, Mapping) and raw.get("embedder"):
        raw = {**raw, "embedder": _one(EMBEDDERS, raw["embedder"], ("memory", "embedder"), problems)}
    return _one(MEMORIES, raw, ("memory",), problems)


def _several(table: Mapping[str, str], raw: Any, name: str, problems: list[Problem]) -> tuple[Any, ...]:
    if raw is None or raw == []:
        problems.append(Problem((name,), f"missing; name at least one, its type one of {_choices(table)}"))
        return ()
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        problems.append(Problem((name,), f"must be a list, each item with a type that is one of {_choices(table)}"))
        return ()
    return tuple(_one(table, item, (name, index), problems) for index, item in enumerate(raw))


def _one(table: Mapping[str, str], raw: Any, path: Place, problems: list[Problem]) -> Any:
    """None where it is none of them; `problems` then says why."""
    if not isinstance(raw, Mapping):
        problems.append(Problem(path, f"must be a block of settings with a type that is one of {_choices(table)}"))
        return None
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in table:
        what = "missing; must be" if kind is None else f"{kind!r} is not"
        problems.append(Problem((*path, "type"), f"{what} one of {_choices(table)}"))
        return None
    try:
        return resolve(table[kind])(**raw)
    except ValidationError as error:
        problems.extend(found_in(error, path))
        return None


def _choices(table: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(table))


def _taken(name: str, items: Sequence[SourceSettings | SinkSettings | None]) -> list[Problem]:
    names = [item.name if item else None for item in items]
    return [
        Problem((name, index, "name"), f"{own!r} is taken; every one needs a name of its own")
        for index, own in enumerate(names)
        if own is not None and own in names[:index]
    ]


def _session_patterns(sources: Iterable[SourceSettings | None]) -> list[Problem]:
    problems = []
    for index, source in enumerate(sources):
        if source and source.sessions and source.sessions.pattern is not None:
            # Imported here: it brings polars.
            from exporter.ingest.settings import session_pattern

            try:
                session_pattern(source.sessions.pattern)
            except ValueError as error:
                problems.append(Problem(("sources", index, "sessions", "pattern"), str(error)))
    return problems


def _doubts(config: Config) -> list[Problem]:
    """Patterns that go on in this release, and that the next one refuses."""
    if not config.redaction.extra and not any(source.sessions and source.sessions.pattern for source in config.sources):
        return []
    from exporter.ingest import patterns
    from exporter.reading.patterns import matches_empty, problem

    problems = []
    for index, extra in enumerate(config.redaction.extra):
        if reason := patterns.only_python(extra.regex):
            bounds = f"a line that is longer than {patterns.MAX_CHARS:,} characters or takes it too long is withheld"
            told = f"{reason}; it goes on in this release, slowly ({bounds}), and the next one refuses it"
            problems.append(Problem(("redaction", "extra", index, "regex"), told))
    for index, source in enumerate(config.sources):
        pattern = source.sessions.pattern if source.sessions else None
        if pattern and not problem(pattern) and matches_empty(pattern):
            told = "matches the empty text, so it finds no key in most lines; the next release refuses it: make a part "
            problems.append(Problem(("sources", index, "sessions", "pattern"), f"{told}of it mandatory"))
    return problems
