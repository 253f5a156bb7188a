"""A kind of import rule for import-linter: each child of a package, present or to come, may import what is listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyContract(Contract):
    """What is not allowed is refused, so that a new file is inside its rule from birth.

    packages: each, or with `each_child` each of its children, is a room of its own.
    allowed: rooms of ours that may be imported from all of them, with all that is inside.
    shared: with `each_child`, children whose name begins so may be imported by all of them ("_").
    Packages that are not ours are nobody's business here.
    """

    type_name = "only"

    packages = fields.ListField(subfield=fields.StringField())
    allowed = fields.ListField(subfield=fields.StringField(), required=False)
    each_child = fields.BooleanField(default=False)
    shared = fields.StringField(required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        del verbose
        refused = sorted(set(self._refused(graph)))
        return ContractCheck(kept=not refused, metadata={"refused": refused})

    def _refused(self, graph: ImportGraph) -> Iterator[tuple[str, str]]:
        ours = {name.partition(".")[0] for name in graph.modules if not graph.is_module_squashed(name)}
        for room in self._rooms(graph):
            for module in graph.modules:
                if not _inside(module, room) or graph.is_module_squashed(module):
                    continue
                for imported in graph.find_modules_directly_imported_by(module):
                    if imported.partition(".")[0] in ours and not self._may(room, imported):
                        yield module, imported

    def _rooms(self, graph: ImportGraph) -> list[str]:
        packages: list[Any] = list(self.packages)  # type: ignore[call-overload]
        if not self.each_child:
            return packages
        return sorted(child for package in packages for child in graph.find_children(package))

    def _may(self, room: str, imported: str) -> bool:
        allowed: Any = self.allowed or ()
        if any(_inside(imported, place) for place in (room, *allowed)):
            return True
        parent, _, _ = room.rpartition(".")
        return bool(self.shared) and imported.startswith(f"{parent}.{self.shared}")

    def render_broken_contract(self, check: ContractCheck) -> None:
        for module, imported in check.metadata["refused"]:
            output.print_error(f"{module} imports {imported}", bold=False)


def _inside(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")
