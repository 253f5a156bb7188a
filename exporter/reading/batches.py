"""Records that came several at once in one document: OTLP's, CloudWatch's and CloudTrail's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BATCHES = frozenset(("resourceLogs", "logEvents", "Records"))
"""Keys of which a batch has one."""

MOST = 100_000
"""Records of one batch that are read."""

DEEPEST = 16
"""Levels of a value that are looked into."""


def records_of(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The records of a batch, each with what the batch says of all; None where a document is none.

    >>> records_of({"logGroup": "/aws/lambda/cart", "logEvents": [{"timestamp": 1794916800000, "message": "no"}]})
    [{'logGroup': '/aws/lambda/cart', 'timestamp': 1794916800000, 'message': 'no'}]
    """
    for key, parted in (("resourceLogs", _of_otlp), ("logEvents", _of_cloudwatch), ("Records", _of_cloudtrail)):
        if isinstance(document.get(key), list):
            found = [record for record, _ in zip(parted(document), range(MOST), strict=False)]
            return found or None
    return None


def _of_otlp(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for resource_logs in _objects(batch["resourceLogs"]):
        attributes = _attributes(resource_logs.get("resource"))
        for scope_logs in _objects(resource_logs.get("scopeLogs")):
            for record in _objects(scope_logs.get("logRecords")):
                own = {"attributes": _attributes(record), "body": _value(record.get("body"))}
                yield {**record, **own, "resource": {"attributes": attributes}}


def _of_cloudwatch(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    common = {key: value for key, value in batch.items() if key in ("logGroup", "logStream", "owner")}
    for event in _objects(batch["logEvents"]):
        yield {**common, **event}


def _of_cloudtrail(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for record in _objects(batch["Records"]):
        if "eventTime" in record:
            yield {"service": record.get("eventSource"), **record}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _attributes(owner: Any) -> dict[str, Any]:
    pairs = _objects(owner.get("attributes")) if isinstance(owner, dict) else []
    return {str(pair.get("key")): _value(pair.get("value")) for pair in pairs}


def _value(value: Any, depth: int = 0) -> Any:
    """A value without the word that says what it is."""
    if not isinstance(value, dict) or len(value) != 1 or depth > DEEPEST:
        return value
    ((kind, inner),) = value.items()
    if kind == "arrayValue":
        return [_value(one, depth + 1) for one in _objects(inner.get("values"))] if isinstance(inner, dict) else None
    if kind == "kvlistValue":
        pairs = _objects(inner.get("values")) if isinstance(inner, dict) else []
        return {str(pair.get("key")): _value(pair.get("value"), depth + 1) for pair in pairs}
    return inner if kind in ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue") else value
