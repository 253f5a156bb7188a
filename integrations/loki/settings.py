"""What exporter.yml says about Loki."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from exporter.model import FieldMap, OneOrMore, RecordSourceSettings, Wanted
from integrations._http import HttpSettings
from integrations._links import GrafanaLinks, explore
from integrations.loki.entries import LINE, STREAM
from integrations.loki.logql import quoted, selector_end, with_matchers


class LokiFields(FieldMap):
    """Which label, or key of the structured metadata, says what; `line` is the line itself."""

    body: OneOrMore = (LINE,)
    service: OneOrMore = (
        "service_name",
        "service",
        "app",
        "application",
        "app_kubernetes_io_name",
        "k8s_deployment_name",
        "deployment",
        "container",
        "container_name",
        "k8s_container_name",
        "component",
        "compose_service",
        "unit",
        "job",
    )
    severity: OneOrMore = (
        "severity_number",
        "severity_text",
        "level",
        "severity",
        "lvl",
        "log_level",
        "loglevel",
        "levelname",
        "detected_level",
    )
    trace: OneOrMore = ("trace_id", "traceID", "traceId", "trace", "traceid", "TraceId", "dd_trace_id")
    host: OneOrMore = (
        "pod",
        "k8s_pod_name",
        "pod_name",
        "instance",
        "host_name",
        "hostname",
        "host",
        "nodename",
        "node_name",
        "node",
    )
    stream: OneOrMore = (STREAM,)
    template: OneOrMore = ("log_record_template", "log.record.template")


class LokiOptions(RecordSourceSettings, HttpSettings, GrafanaLinks):
    """What can be said of a Loki."""

    MAY_CHANGE = (
        RecordSourceSettings.MAY_CHANGE | HttpSettings.model_fields.keys() | GrafanaLinks.model_fields.keys() | {"url"}
    )

    type: Literal["loki"] = "loki"
    url: str
    """Where the server, or the gateway before it, listens: without /loki/api/v1."""
    query: str
    """A LogQL stream selector, and line filters if need be, such as `{namespace="shop"} != "healthz"`."""
    tenant: str | None = Field(default=None, min_length=1, max_length=150)
    """Sent as X-Scope-OrgID; several, joined by `|`, where the server allows that."""
    fields: LokiFields = LokiFields()

    def lines_url(self, wanted: Wanted) -> str | None:
        """By the texts: which label names the service differs with the stream, where several may, and a trace may stand
        outside of the line."""
        labels = self.fields.service if self.group_by == ("service",) else ()
        own = [f"{labels[0]}={quoted(wanted.service)}"] if len(labels) == 1 and wanted.service else []
        lines = "".join(f" |= {quoted(text)}" for text in wanted.texts)
        return explore(self, "loki", {"expr": f"{with_matchers(self.query, own)}{lines}", "queryType": "range"}, wanted)

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not re.match(r"https?://[^/]+", value):
            raise ValueError(f"{value!r} is not a URL; write http://host:3100")
        return re.sub(r"/loki/api/v1(/query_range)?/?$", "", value).rstrip("/")

    @field_validator("query")
    @classmethod
    def _logs(cls, value: str) -> str:
        text = value.strip()
        if not text.startswith("{") or selector_end(text) is None:
            raise ValueError(f'{value!r} is not a stream selector; write one such as {{namespace="shop"}}')
        return text

    @model_validator(mode="after")
    def _one_tenant(self) -> Self:
        if self.tenant and any(name.lower() == "x-scope-orgid" for name in self.headers):
            raise ValueError("give either tenant or the header X-Scope-OrgID")
        return self
