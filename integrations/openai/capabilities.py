"""What a server understands, found out from what it refuses: one rung down the ladder for each refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

Level = Literal["bounded", "json_schema", "json_object", "text"]

REFUSALS = frozenset({400, 415, 422, 500, 501})
"""Statuses with which servers refuse an option that they do not know; what they say must name it."""

_BOUNDS = frozenset({"enum", "maxItems", "minItems", "description"})
"""Keywords of a schema that some servers do not know."""

_LIMIT = re.compile(
    r"(?:less than or equal to|at most|no more than|up to|maximum|max|limit|exceeds?|<=)\D{0,40}?(\d{2,7})"
)


@dataclass(frozen=True)
class Capabilities:
    """What the server was found to understand; at first everything.

    level: "bounded" is a schema with the ids that may be chosen, "json_schema" one without.
    """

    level: Level = "bounded"
    strict: bool = True
    closed: bool = True
    """Whether it takes `additionalProperties`."""
    system: bool = True
    """Whether it takes a message with the role `system`."""
    tokens_as: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    swapped: bool = False
    most_tokens: int | None = None
    """Of an answer, where the server allows fewer than are configured."""
    temperature: bool = True
    since: datetime | None = None

    def request(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], tokens: int, temperature: float
    ) -> dict[str, Any]:
        """The parameters of a request that such a server understands, but for the model's name."""
        asked: dict[str, Any] = {
            "messages": [*messages] if self.system else _without_system(messages),
            "stream": False,
            self.tokens_as: min(tokens, self.most_tokens or tokens),
        }
        if self.temperature:
            asked["temperature"] = temperature
        if self.level == "json_object":
            asked["response_format"] = {"type": "json_object"}
        elif self.level != "text":
            form: dict[str, Any] = {"name": "answer", "schema": self._schema(schema)}
            asked["response_format"] = {
                "type": "json_schema",
                "json_schema": form | ({"strict": True} if self.strict else {}),
            }
        return asked

    def _schema(self, schema: Mapping[str, Any]) -> Any:
        left = _BOUNDS if self.level != "bounded" else frozenset()
        return _without(schema, left if self.closed else left | {"additionalProperties"})

    def without(self, status: int, said: str) -> Capabilities | None:
        """Without the option that a refusal names; None where it names none that can be left out.

        >>> Capabilities().without(400, "unknown field: strict").strict
        False
        >>> Capabilities().without(501, "not implemented").level
        'json_object'
        """
        said = said.lower()
        if status not in REFUSALS or is_too_long(said):
            return None
        return self._without_part(said) or self._without_form(status, said) or self._without_other(said)

    def _without_part(self, said: str) -> Capabilities | None:
        """The schema without a part of it."""
        if self.level not in ("bounded", "json_schema"):
            return None
        if "additionalproperties" in said and self.closed:
            return replace(self, closed=False)
        if re.search(r"\bstrict\b", said) and self.strict:
            return replace(self, strict=False)
        if re.search(r"\benum\b|max_?items|min_?items|\bdescription\b|grammar|keyword|too complex|too many", said):
            return replace(self, level="json_schema") if self.level == "bounded" else None
        return None

    def _without_form(self, status: int, said: str) -> Capabilities | None:
        named = re.search(r"response_?format|json_?schema|json_?object|structured|guided|grammar|schema|any_?of", said)
        if not named and not (status == 501 and self.level != "text"):
            return None
        lower: dict[Level, Level] = {"bounded": "json_object", "json_schema": "json_object", "json_object": "text"}
        return replace(self, level=lower[self.level]) if self.level in lower else None

    def _without_other(self, said: str) -> Capabilities | None:
        if re.search(r"max_tokens|max_completion_tokens|max_new_tokens", said):
            return self._with_fewer(said)
        if "temperature" in said and self.temperature:
            return replace(self, temperature=False)
        if self.system and re.search(
            r"system.{0,20}(?:role|message|prompt)|role.{0,20}system|roles must alternate", said
        ):
            return replace(self, system=False)
        return None

    def _with_fewer(self, said: str) -> Capabilities | None:
        limits = [int(found) for found in _LIMIT.findall(said)]
        fewer = [limit for limit in limits if 16 <= limit < (self.most_tokens or 1 << 30)]
        if fewer and (self.most_tokens is None or min(fewer) < self.most_tokens) and not _asks_for_other_name(said):
            return replace(self, most_tokens=min(fewer))
        if self.swapped:
            return None
        other = "max_completion_tokens" if self.tokens_as == "max_tokens" else "max_tokens"
        return replace(self, tokens_as=other, swapped=True)  # type: ignore[arg-type]


def _asks_for_other_name(said: str) -> bool:
    return bool(re.search(r"use '?\"?max_|not supported|unsupported|unrecognized|unknown|extra", said))


def is_too_long(said: str) -> bool:
    """Whether a refusal says that the prompt does not fit the model.

    >>> is_too_long("This model's maximum context length is 4096 tokens"), is_too_long("unknown field")
    (True, False)
    """
    return bool(
        re.search(
            r"(?i)context.{0,3}(?:length|size|window)|context_length|prompt.{0,20}too long|too many (?:input )?tokens|"
            r"input.{0,20}too long|exceeds?.{0,30}context|n_ctx|maximum.{0,20}sequence",
            said,
        )
    )


def _without_system(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The messages with what the system says at the head of the first message."""
    told = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    others = [message for message in messages if message["role"] != "system"]
    first = {"role": others[0]["role"], "content": f"{told}\n\n{others[0]['content']}"}
    return [first, *others[1:]]


def _without(value: Any, keywords: frozenset[str]) -> Any:
    """A schema without some of its keywords; names of properties are no keywords."""
    if isinstance(value, Mapping):
        return {
            key: {name: _without(one, keywords) for name, one in inner.items()}
            if key == "properties"
            else _without(inner, keywords)
            for key, inner in value.items()
            if key not in keywords
        }
    return [_without(one, keywords) for one in value] if isinstance(value, list) else value
