"""The JSON schema of exporter.yml: for editors, and what the page of every option is printed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticUndefined, core_schema

from exporter.config.settings import Config
from exporter.config.tables import EMBEDDERS, LLMS, MEMORIES, REPORTS, SINKS, SOURCES, resolve
from exporter.model import (
    EmbedderSettings,
    LLMSettings,
    MemorySettings,
    ReportSettings,
    Settings,
    SinkSettings,
    SourceSettings,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

TABLES: Mapping[type[Settings], Mapping[str, str]] = {
    SourceSettings: SOURCES,
    SinkSettings: SINKS,
    MemorySettings: MEMORIES,
    EmbedderSettings: EMBEDDERS,
    LLMSettings: LLMS,
    ReportSettings: REPORTS,
}
"""Where `type` decides: the schema of a base has what all can be told, and then is one of these."""

_VARIABLE = {
    "type": "string",
    "pattern": r"\$\{\w+\}",
    "description": "`${NAME}`: the value of this environment variable.",
}


def options() -> dict[str, Any]:
    """What can be written, each option with description, default and, as `x-unit`, what a number counts."""
    return {"required": [], **Config.model_json_schema(schema_generator=_Generator)}


def editors_schema() -> dict[str, Any]:
    """The same for editors: anything but a `type` may also come from the environment, and a block may be empty."""
    schema = options()
    definitions = {name: _object(definition) for name, definition in schema.pop("$defs").items()}
    root = _object(schema)
    root["properties"] = {
        name: option if name in root["required"] else _or(option, {"type": "null"})
        for name, option in root["properties"].items()
    }
    root["anyOf"] = [{"required": [name]} for name in ("sources", "serve")]
    return {"$schema": DIALECT, "title": "exporter.yml", **root, "$defs": {**definitions, "Variable": _VARIABLE}}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, which knows what a `type` chooses between, and keeps what a base says of an option."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        settings: type[Settings] = schema["cls"]
        out = super().model_schema(schema)
        out.pop("title", None)
        for name, field in settings.model_fields.items():
            option = out["properties"][field.alias or name]
            option["description"] = _description(settings, name)
            option.pop("default", None)
            if (default := _default(field)) is not PydanticUndefined:
                option["default"] = default
        # What is its own comes first, and after it what it inherits from elsewhere.
        home = [base for base in settings.__mro__ if base.__module__.startswith(settings.__module__)]
        own = {name for base in home for name in base.__annotations__}
        fields = sorted(settings.model_fields.items(), key=lambda item: item[0] not in own)
        out["properties"] = {field.alias or name: out["properties"][field.alias or name] for name, field in fields}
        if settings in TABLES:
            self._base(out, TABLES[settings])
        elif issubclass(settings, tuple(TABLES)):
            out["required"] = ["type", *(name for name in out.get("required", ()) if name != "type")]
        return out

    def _base(self, out: JsonSchemaValue, table: Mapping[str, str]) -> None:
        """Let what all can be told be one of the table: `type` says which, and each says what it requires."""
        found: list[type[Settings]] = [resolve(reference) for reference in table.values()]
        out["properties"]["type"] = {"enum": sorted(table), "description": out["properties"]["type"]["description"]}
        out["required"] = [
            name
            for name in out["required"]
            if name == "type" or all(one.model_fields[name].is_required() for one in found)
        ]
        out["oneOf"] = [self.generate_inner(one.__pydantic_core_schema__) for one in found]
        # Each refuses what it does not know; here only some of it is known.
        del out["additionalProperties"]


def _description(settings: type[Settings], name: str) -> str | None:
    """What is said of an option where it is declared, or else where a base declares it."""
    for base in settings.__mro__:
        field = base.model_fields.get(name) if issubclass(base, Settings) else None
        if field and field.description:
            return " ".join(field.description.split())
    return None


def _default(field: FieldInfo) -> Any:
    """As a person writes it. Undefined: of a block, for its options have their own, and of what the machine decides."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Settings) or (field.default_factory and default):
        return PydanticUndefined
    if default is None or default is PydanticUndefined:
        return default
    return TypeAdapter(field.rebuild_annotation()).dump_python(default, mode="json")


def _object(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = {name: option if name == "type" else _filled(option) for name, option in schema["properties"].items()}
    return {**schema, "properties": properties}


def _filled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a value, any part of which may come from the environment."""
    out = dict(schema)
    for inner in ("items", "additionalProperties"):
        if isinstance(out.get(inner), Mapping):
            out[inner] = _filled(out[inner])
    if "anyOf" in out:
        out["anyOf"] = [_filled(one) if "items" in one else one for one in out["anyOf"]]
    return _or(out, {"$ref": "#/$defs/Variable"}) if any(map(_restricted, _ways(out))) else out


def _ways(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(schema.get("anyOf", [schema]))


def _restricted(schema: Mapping[str, Any]) -> bool:
    """Whether it is a scalar that not every text is."""
    return schema.get("type") in ("integer", "number", "boolean") or bool({"enum", "const", "pattern"} & schema.keys())


_ABOUT = ("description", "default", "title", "x-unit")


def _or(schema: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    about = {key: value for key, value in schema.items() if key in _ABOUT}
    core = {key: value for key, value in schema.items() if key not in _ABOUT}
    return {**about, "anyOf": [*_ways(core), other]}
