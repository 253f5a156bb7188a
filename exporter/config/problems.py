"""What is wrong in exporter.yml: where, what stands there, and what could."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

Place = tuple[str | int, ...]
"""Where a setting stands: keys and, in lists, positions from 0."""

_SECRETS = ("key", "token", "password", "secret", "url", "headers")
"""Words in a path of which the value is not shown: it may be a secret, or hold one."""


@dataclass(frozen=True)
class Problem:
    """One thing to put right."""

    path: Place
    message: str

    def __str__(self) -> str:
        place = ".".join(str(part) for part in self.path)
        return f"{place or 'configuration'}: {self.message}"


def found_in(error: ValidationError, path: Place = ()) -> list[Problem]:
    """The problems of a block that stands at `path`."""
    found = []
    for item in error.errors(include_url=False):
        place = (*path, *item["loc"])
        found.append(Problem(place, _message(item["type"], item["msg"], item["input"], place)))
    return found


def explain(error: ValidationError) -> list[str]:
    """The problems of values that stand in no file, a line each."""
    return [str(problem) for problem in found_in(error)]


def _message(kind: str, message: str, value: object, path: Place) -> str:
    if kind == "extra_forbidden":
        return "unknown key; check its spelling and indentation"
    if kind == "missing":
        return "missing"
    message = message.removeprefix("Value error, ")
    if kind in ("model_type", "dict_type"):
        message = "must be a block of settings, such as `{key: value}`"
    secret = any(word in str(part) for part in path for word in _SECRETS)
    if isinstance(value, (str, int, float, bool)) and repr(value) not in message and not secret:
        return f"{value!r}: {message}"
    return message
