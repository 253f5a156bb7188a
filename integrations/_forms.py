"""Where in documents of one form a value stands: nested, dotted, or a mix of both, in whatever letters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Route = tuple[str, ...]
"""Keys that lead to a value in nested objects; a key may have dots of its own."""


def lookup(document: Mapping[str, Any], path: str) -> Any:
    """The value at a path, whether keys are nested, dotted, or a mix of both; None when absent.

    >>> lookup({"log.level": "warn"}, "log.level"), lookup({"log": {"level": "info"}}, "log.level")
    ('warn', 'info')
    """
    if path in document:
        return document[path]
    head, dot, rest = path.partition(".")
    while dot:
        value = document.get(head)
        if isinstance(value, Mapping) and (found := lookup(value, rest)) is not None:
            return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


Form = tuple[Any, ...]
"""Which of the keys that matter a document has, then the forms of those of their values that can be objects."""

MAX_KEYS = 1024
"""Sets of keys that are remembered; more is a sign of documents without a form."""


class Keys:
    """The keys on one level that can lead to a value."""

    def __init__(self) -> None:
        self.inner: dict[str, Keys] = {}
        self._known: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[tuple[str, Keys], ...]]] = {}

    def grow(self, parts: Sequence[str]) -> None:
        """Add a path, in whatever letters: any of its dots may be part of a key, or lead to the next level."""
        for count in range(1, len(parts) + 1):
            branch = self.inner.setdefault(".".join(parts[:count]).lower(), Keys())
            if count < len(parts):
                branch.grow(parts[count:])

    def form(self, document: Mapping[str, Any]) -> Form:
        """The form of a document; documents of one form have their values in the same places."""
        keys = tuple(document)
        telling, branches = self._known.get(keys) or self._look(keys)
        if not branches:
            return telling, ()
        # A comprehension of a tuple would be a generator, which is slower.
        inner = [branch.form(value) if type(value := document[key]) is dict else None for key, branch in branches]
        return telling, tuple(inner)

    def alike(self, documents: Sequence[Mapping[str, Any]]) -> bool:
        """Whether all documents are of one form for sure; many times faster than to find the form of each."""
        if len(set(map(tuple, documents))) > 1:
            return False
        for key, branch in (self._known.get(tuple(documents[0])) or self._look(tuple(documents[0])))[1]:
            inner = [document[key] for document in documents]
            kinds = set(map(type, inner))
            if dict in kinds and (len(kinds) > 1 or not branch.alike(inner)):
                return False
        return True

    def expanded(self, form: Form) -> dict[str, Any]:
        """A form by key: None for a value, a dict for an object."""
        telling, inner = form
        branches = self._branches(telling)
        objects = {
            key: branch.expanded(of) for (key, branch), of in zip(branches, inner, strict=True) if of is not None
        }
        return dict.fromkeys(telling) | objects

    def _look(self, keys: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, Keys], ...]]:
        if len(self._known) >= MAX_KEYS:
            self._known.clear()
        telling = tuple(key for key in keys if key.lower() in self.inner)
        return self._known.setdefault(keys, (telling, self._branches(telling)))

    def _branches(self, telling: Iterable[str]) -> tuple[tuple[str, Keys], ...]:
        return tuple((key, branch) for key in telling if (branch := self.inner[key.lower()]).inner)


def routes(known: Mapping[str, Any], path: str) -> Iterator[Route]:
    """The ways in which a path can be in a form, dotted keys before nested ones, as `lookup` takes them; keys that
    differ in their letters alone come after."""
    yield from ((key,) for key in _alike(known, path))
    parts = path.split(".")
    for count in range(1, len(parts)):
        for head in _alike(known, ".".join(parts[:count])):
            if isinstance(inner := known[head], dict):
                yield from ((head, *rest) for rest in routes(inner, ".".join(parts[count:])))


def _alike(known: Mapping[str, Any], name: str) -> list[str]:
    """The keys that are a name, the exact one first."""
    return sorted((key for key in known if key.lower() == name.lower()), key=lambda key: key != name)


def at(documents: Sequence[Mapping[str, Any]], route: Route) -> list[Any]:
    """What stands at the end of a route in documents of one form."""
    if len(route) == 1:
        (key,) = route
        return [document[key] for document in documents]
    if len(route) == 2:
        outer, inner = route
        return [document[outer][inner] for document in documents]
    found: list[Any] = list(documents)
    for key in route:
        found = [value[key] for value in found]
    return found
