"""The page of every option of exporter.yml, as Markdown: printed from the JSON schema, so that neither lacks any."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from exporter.config.schema import options

Schema = Mapping[str, Any]

_INTRODUCTION = """\
# Configuration

Every option of exporter.yml, as `log-anomaly-exporter config docs` prints it. One source and one sink are enough: what
is not written has the default that stands here. `log-anomaly-exporter check-config -c exporter.yml` prints the value of
every option of a file.

- A *duration* is a number and a unit (`ms`, `s`, `m`, `h`, `d`, `w`), or several: `30s`, `5m`, `1h30m`, `7d`.
- A *rate* is a number of incidents an hour, a day or a week: `0.5/hour`, `1/day`, `3/week`.
- `${NAME}` in a text is the value of that environment variable, and `$$` is a dollar.
- A *secret* is never shown. It can also be read from a file: the option with `_file` after its name.
- `sources[]` is every item of the list `sources`.
- Mistakes are refused with their line and path: `exporter.yml:12: sources.0.url: …`. A key that is unknown, or there
  twice, is one.
- The file is YAML 1.1: `on` and `yes` mean `true`, `off` and `no` mean `false`.

Editors that know JSON schemas complete and check the file: write the schema with
`log-anomaly-exporter config schema > exporter.schema.json`, and as the first line of exporter.yml
`# yaml-language-server: $schema=exporter.schema.json`.
"""

_HEAD = "| option | type | unit | default | what it says |\n|---|---|---|---|---|"


def markdown() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_Page(options()).lines()])


class _Page:
    """The sections of the page: one for each kind of block, where it can stand first, with all places where it can."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._definitions: Mapping[str, Schema] = root["$defs"]
        self._places: dict[str, dict[str, list[str]]] = {}
        """Of a kind of block: where it can stand, and of which types of that place."""
        self._shown: set[str] = set()
        self._find(root, "", "")

    def _find(self, block: Schema, path: str, of: str) -> None:
        for name, option in block["properties"].items():
            for kind, many in _blocks(option):
                place = f"{path}{name}{'[]' if many else ''}"
                self._places.setdefault(kind, {}).setdefault(place, []).append(of)
                self._find(self._definitions[kind], f"{place}.", of)
                for one in self._members(kind):
                    self._find(one, f"{place}.", _type(one))

    def _members(self, kind: str) -> list[Schema]:
        """What a `type` chooses between there."""
        return [self._definitions[_kind(one)] for one in self._definitions[kind].get("oneOf", ())]

    def lines(self) -> Iterator[str]:
        yield from self._section(
            "## exporter.yml", "The keys at the top of the file.", self._root["properties"], self._root["required"]
        )
        yield from self._below(self._root)

    def _below(self, block: Schema) -> Iterator[str]:
        for option in block["properties"].values():
            for kind, _ in _blocks(option):
                if kind not in self._shown:
                    self._shown.add(kind)
                    yield from self._kind(kind)

    def _kind(self, kind: str) -> Iterator[str]:
        block = self._definitions[kind]
        members = self._members(kind)
        level = "###" if all("." in place for place in self._places[kind]) else "##"
        yield f'<a id="{kind}"></a>\n'
        title = f"{level} {self._title(kind)}"
        if members:
            yield from self._choice(title, block, members)
        else:
            yield from self._section(title, block["description"], block["properties"], block.get("required", ()))
        for one in (block, *members):
            yield from self._below(one)

    def _choice(self, title: str, base: Schema, members: list[Schema]) -> Iterator[str]:
        """What all of them have, then what each has beside, or has another default for."""
        shared = {
            name: option
            for name, option in base["properties"].items()
            if any(member["properties"][name] == option for member in members)
        }
        required = [name for name, option in shared.items() if "default" not in option and not list(_blocks(option))]
        yield from self._section(title, base["description"], shared, required)
        for member in members:
            own = {name: option for name, option in member["properties"].items() if shared.get(name) != option}
            own.pop("type")
            yield from self._section(
                f"#{title} of type `{_type(member)}`", member["description"], own, member["required"]
            )

    def _title(self, kind: str) -> str:
        """Where it can stand; of which types, where those of other types have other options."""
        places = self._places[kind]
        title = ", ".join(f"`{place}`" for place in places)
        others = {place for other, found in self._places.items() if other != kind for place in found}
        if others.isdisjoint(places):
            return title
        return f"{title} of type {_either(dict.fromkeys(of for types in places.values() for of in types if of))}"

    def _section(
        self, title: str, text: str, options: Mapping[str, Schema], required: Collection[str]
    ) -> Iterator[str]:
        yield f"{title}\n"
        yield f"{text}\n"
        if options:
            yield _HEAD
            yield from (_row(name, option, name in required) for name, option in options.items())
            yield ""


def _kind(schema: Schema) -> str:
    return str(schema["$ref"].rpartition("/")[2])


def _type(block: Schema) -> str:
    return str(block["properties"]["type"]["const"])


def _ways(option: Schema) -> list[Schema]:
    """What an option can be, other than nothing."""
    return [way for way in option.get("anyOf", [option]) if way.get("type") != "null"]


def _blocks(option: Schema) -> Iterator[tuple[str, bool]]:
    """The kinds of block that an option can hold, and whether it is a list of them."""
    for way in _ways(option):
        if "$ref" in way:
            yield _kind(way), False
        elif "$ref" in way.get("items", {}):
            yield _kind(way["items"]), True


def _row(name: str, option: Schema, required: bool) -> str:
    default = "**required**" if required else _default(option)
    kinds = option.get("title") or " or ".join(map(_words, _ways(option))) or "nothing"
    units = [str(one["x-unit"]) for one in (option, *_ways(option)) if "x-unit" in one]
    cells = (f"`{name}`", kinds, "".join(units[:1]), default, option["description"])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(option: Schema) -> str:
    default = option.get("default")
    if default in (None, [], {}):
        return "none" if "default" in option else ""
    if isinstance(default, list) and all(isinstance(item, str) for item in default):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _words(way: Schema) -> str:
    """What can be written, in words."""
    if "title" in way:
        return str(way["title"])
    if "$ref" in way:
        return f"[block](#{_kind(way)})"
    if "enum" in way:
        return _either(way["enum"])
    match way.get("type"):
        case "array":
            return f"list of {_words(way['items'])}"
        case "object":
            values = way.get("additionalProperties")
            return f"{_words(values) if isinstance(values, Mapping) else 'anything'} by key"
        case "boolean":
            return "`true` or `false`"
        case "integer" | "number":
            return f"{'whole number' if way['type'] == 'integer' else 'number'}{_range(way)}"
        case _ if way.get("writeOnly"):
            return "secret"
        case _:
            return {"path": "path", "date-time": "time"}.get(way.get("format", ""), "text")


def _range(way: Schema) -> str:
    bounds = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
    found = [f"{word} {way[bound]:g}" for bound, word in bounds if bound in way]
    return f" {' '.join(found)}" if found else ""


def _either(words: Iterable[str]) -> str:
    *first, last = (f"`{word}`" for word in words)
    return f"{', '.join(first)} or {last}" if first else last
