"""Records that came several at once are records each, in whatever store they lie."""

from __future__ import annotations

import json
from typing import Any

from exporter.model import FieldMap
from integrations._documents import Decoder
from integrations.elasticsearch import ElasticsearchSettings, page_of
from integrations.loki import LokiSettings
from integrations.loki.batches import decoded
from integrations.loki.entries import entries_of

EVENTS = [{"id": str(n), "timestamp": 1_794_916_800_000 + n, "message": f"payment {n} stored"} for n in range(3)]
BATCH = {"messageType": "DATA_MESSAGE", "logGroup": "/aws/lambda/pay", "logStream": "1", "logEvents": EVENTS}


def hit(number: int, document: dict[str, Any]) -> dict[str, Any]:
    return {"_index": "a", "_id": str(number), "_source": document, "sort": [f"2026-11-17T12:00:0{number}.000000000Z"]}


def test_documents_that_hold_many_records_are_parted() -> None:
    settings = ElasticsearchSettings(name="a", hosts=("http://127.0.0.1:9",))
    plain = {"message": "by itself", "service": {"name": "cart"}}
    page = page_of([hit(1, BATCH), hit(2, plain)], Decoder(settings))
    assert page["body"].to_list() == ["payment 0 stored", "payment 1 stored", "payment 2 stored", "by itself"]
    assert page["service"].to_list() == ["pay", "pay", "pay", "cart"]
    assert page["id"].to_list() == ["a/1", "a/1#1", "a/1#2", "a/2"]
    # They have the time by which the store finds their document.
    assert page["timestamp"].n_unique() == 2


def test_a_line_of_loki_that_holds_many_records_is_parted() -> None:
    settings = LokiSettings(name="a", url="http://127.0.0.1:9", query='{job="a"}')
    stream = {"job": "cloudwatch", "detected_level": "error"}
    lines = [["1794916800000000000", json.dumps(BATCH)], ["1794916801000000000", '{"logEvents": "none"}']]
    entries, _ = entries_of([{"stream": stream, "values": lines}])
    page = decoded(entries, Decoder(settings), Decoder(settings.model_copy(update={"fields": FieldMap()})))
    assert sorted(page["body"]) == ["payment 0 stored", "payment 1 stored", "payment 2 stored", '{"logEvents": "none"}']
    assert page["id"].n_unique() == 4
    assert dict(zip(page["body"], page["service"], strict=True))["payment 0 stored"] == "pay"
    assert dict(zip(page["body"], page["severity"], strict=True))["payment 0 stored"] == 0
