"""What exists, by the word that `type:` takes; the only module that knows which integrations exist.

To add an integration is to add a file and an entry here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

SOURCES = {
    "elasticsearch": "integrations.elasticsearch:ElasticsearchSettings",
    "file": "integrations.file:FileSettings",
    "loki": "integrations.loki:LokiSettings",
    "simulator": "exporter.demo.shop:SimulatorSettings",
}

SINKS = {
    "alertmanager": "integrations.alertmanager:AlertmanagerSettings",
    "console": "integrations.console:ConsoleSettings",
    "grafana": "integrations.grafana:GrafanaSettings",
    "slack": "integrations.slack:SlackSettings",
    "otlp": "integrations.otlp:OtlpSettings",
    "webhook": "integrations.webhook:WebhookSettings",
}

MEMORIES = {
    "elasticsearch": "integrations.elasticsearch_incidents:ElasticsearchIncidentsSettings",
    "local": "integrations.local_incidents:LocalIncidentsSettings",
    "none": "integrations.no_memory:NoMemorySettings",
    "remote": "integrations.remote_memory:RemoteMemorySettings",
}

EMBEDDERS = {
    "hashing": "exporter.memory.embedding:HashingSettings",
    "sentence_transformers": "integrations.sentence_transformers:SentenceTransformersSettings",
}

LLMS = {"openai": "integrations.openai:OpenAISettings"}

REPORTS = {"remote": "integrations.remote_report:RemoteReportSettings"}


def resolve(reference: str) -> Any:
    """The object that a `module:name` reference names; its module is imported only now, for most need few of them."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)
