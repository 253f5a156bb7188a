"""Addresses that open lines where people read them: Kibana's Discover and Grafana's Explore."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator

from exporter.model import Settings, Wanted
from exporter.wording.text import rfc3339

MOMENT = timedelta(milliseconds=1)
"""Around a moment: what stores round it to."""


def _base(value: str | None) -> str | None:
    if value is not None and not re.match(r"https?://[^/\s]+", value):
        raise ValueError(f"{value!r} is not a URL; write https://host, with the path below which it is")
    return value.rstrip("/") if value is not None else None


BaseUrl = Annotated[str | None, AfterValidator(_base)]


class GrafanaLinks(Settings):
    """Where people read the lines of a source in Grafana."""

    grafana_url: BaseUrl = None
    """Where people reach Grafana: pages then link to exactly the lines of a fact, in Explore."""
    grafana_datasource: str | None = None
    """The UID of the data source in Grafana that has these logs, as its address shows it."""


def explore(settings: GrafanaLinks, kind: str, query: Mapping[str, Any], wanted: Wanted) -> str | None:
    """Grafana's Explore with a query of a kind of data source; None where it is not said which."""
    if not (settings.grafana_url and settings.grafana_datasource):
        return None
    source = {"type": kind, "uid": settings.grafana_datasource}
    pane = {
        "datasource": settings.grafana_datasource,
        "queries": [{"refId": "A", "datasource": source, **query}],
        "range": {"from": _milliseconds(wanted.start - MOMENT), "to": _milliseconds(wanted.end + MOMENT)},
    }
    panes = quote(json.dumps({"lines": pane}, separators=(",", ":"), ensure_ascii=False), safe="")
    return f"{settings.grafana_url}/explore?schemaVersion=1&orgId=1&panes={panes}"


def discover(base: str, data_view: str | None, query: str, timestamp: str, wanted: Wanted) -> str:
    """Kibana's Discover with a query in KQL, over a data view or its default one."""
    app: dict[str, Any] = {
        "query": {"language": "kuery", "query": query},
        "sort": [[timestamp, "asc"]],
    }
    if data_view:
        # The first as releases before 8.15 have it.
        app = {"index": data_view, "dataSource": {"dataViewId": data_view, "type": "dataView"}, **app}
    time = {"from": rfc3339(wanted.start - MOMENT), "to": rfc3339(wanted.end + MOMENT)}
    return f"{base}/app/discover#/?_g={_escaped({'time': time})}&_a={_escaped(app)}"


def phrase(text: str) -> str:
    """A phrase of KQL, and of Lucene.

    >>> phrase('say "no"')
    '"say \\\\"no\\\\""'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def rison(value: Any) -> str:
    """A value in the form in which Kibana's addresses carry it.

    >>> rison({"a": ["it's", True, None], "b": 1})
    "(a:!('it!'s',!t,!n),b:1)"
    """
    if value is None or isinstance(value, bool):
        return {None: "!n", True: "!t", False: "!f"}[value]
    if isinstance(value, Mapping):
        return f"({','.join(f'{name}:{rison(one)}' for name, one in value.items())})"
    if isinstance(value, list | tuple):
        return f"!({','.join(map(rison, value))})"
    if isinstance(value, int):
        return str(value)
    text = str(value).replace("!", "!!").replace("'", "!'")
    return f"'{text}'"


def _escaped(value: Any) -> str:
    return quote(rison(value), safe="()!:,'*-._~@")


def _milliseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))
