"""What is found does not hang on how much is looked at together."""

from __future__ import annotations

from random import Random

from exporter.ingest.redaction.finder import Finder, Looked
from exporter.ingest.redaction.presence import is_short
from exporter.ingest.redaction.rules import RULES
from exporter.ingest.redaction.seen import Seen
from tests.secrets.makers import kinds
from tests.secrets.planting import planted


def _lines() -> list[str]:
    chance = Random(23)
    some = [str(planted(kind, chance, "line").rows[0]["body"]) for kind in kinds() if kind.of != "alike"]
    return [*some, *(kind.draw_look_alike(chance) for kind in kinds() if kind.look_alike != "-")]


def test_a_few_lines_are_looked_at_as_many_are() -> None:
    lines, finder = _lines(), Finder(RULES)
    assert is_short(lines[:1])
    assert not is_short(lines)
    together = finder.find(lines)
    assert any(one.of_library for one in together)
    assert any(not one.of_library for one in together)
    assert [finder.find([line]) for line in lines] == [[one] for one in together]


def test_lines_that_are_alike_but_for_numbers_are_so_in_any_company() -> None:
    seen = Seen(forgets_numbers=True)
    lines = [line for line in _lines() if len(line) < 1_000]
    harmless = ["order 17 of shop-1 took 12 ms", "[OrderId:04d45d9b-aff3-44e1-90e4-8111af186263] saved"]
    seen.learn(seen.of([*harmless, *lines])[1], {line: Looked([]) for line in harmless})
    alike = ["order 4 of shop-2 took 250 ms", "[OrderId:63720793-0780-45fd-b34b-2fb68186d000] saved"]
    assert all(seen.of([line])[0] == {line: []} for line in alike)
    assert not any(line in seen.of([line])[0] for line in lines)
