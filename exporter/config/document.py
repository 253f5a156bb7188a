"""The text of exporter.yml as values, with the line of each: YAML 1.1, in which `on` is true and `010` is eight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml

from exporter.config.problems import Place, Problem

MAX_PLACES = 100_000
"""Keys and items of lists in a text: blocks that repeat each other by aliases would fill all memory."""

_SIGNS = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
"""What `<<` and `=` are as keys: there is no value of them to construct."""


@dataclass(frozen=True)
class Document:
    """What a text says, and where it says it."""

    values: object
    lines: Mapping[Place, int] = field(default_factory=dict)
    """Of every key, and of every item of a list; from 1. What is merged (`<<`) has the line where it is written."""
    problems: tuple[Problem, ...] = ()
    """Keys that are there twice: the first of them would be lost without a word."""

    def line(self, path: Place) -> int | None:
        """The line of a setting, or where it is missing, of the block that it belongs to. None: there is no text."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read(text: str) -> Document:
    """Raises yaml.YAMLError where the text is not YAML, or a block holds itself."""
    loader = _Loader(text)
    try:
        return _read(loader)
    except RecursionError as error:
        raise yaml.YAMLError("its blocks are nested too deeply") from error
    finally:
        loader.dispose()


def _read(loader: _Loader) -> Document:
    root = loader.get_single_node()
    if root is None:
        return Document(None)
    twice = tuple(_twice(loader, root))
    values = loader.construct_document(root)
    # Only now, for this is what resolves merges.
    lines = dict(islice(_lines(loader, root, ()), MAX_PLACES + 1))
    if len(lines) > MAX_PLACES:
        problem = f"more than {MAX_PLACES:,} settings; what aliases (*) repeat counts each time"
        raise yaml.composer.ComposerError(problem=problem, problem_mark=root.start_mark)
    return Document(values, {(): root.start_mark.line + 1, **lines}, twice)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which says also of a date such as `2026-02-30` where it stands."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(problem=str(error), problem_mark=node.start_mark) from error


def _twice(loader: yaml.SafeLoader, root: yaml.Node) -> Iterator[Problem]:
    """Keys that a block has twice; what aliases repeat is looked at once."""
    seen: set[yaml.Node] = set()

    def walk(node: yaml.Node, path: Place, above: tuple[yaml.Node, ...]) -> Iterator[Problem]:
        if node in above:
            raise yaml.composer.ComposerError(problem="a block holds itself", problem_mark=node.start_mark)
        if node in seen:
            return
        seen.add(node)
        first: dict[str | int, int] = {}
        for part, line, value in _items(loader, node):
            if part in first:
                yield Problem((*path, part), f"the key is there twice, first in line {first[part]}; keep one")
            first.setdefault(part, line)
            yield from walk(value, (*path, part), (*above, node))

    return walk(root, (), ())


def _lines(loader: yaml.SafeLoader, node: yaml.Node, path: Place) -> Iterator[tuple[Place, int]]:
    for part, line, value in _items(loader, node):
        yield (*path, part), line
        yield from _lines(loader, value, (*path, part))


def _items(loader: yaml.SafeLoader, node: yaml.Node) -> Iterator[tuple[str | int, int, yaml.Node]]:
    """Key or position, line and value of what a node holds."""
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield index, value.start_mark.line + 1, value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            part = key.value if key.tag in _SIGNS else str(loader.construct_object(key))
            yield part, key.start_mark.line + 1, value
