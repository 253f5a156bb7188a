"""Where the log goes and in which form: text for people, JSON for those who ship it."""

from __future__ import annotations

import json
import logging
import os
import secrets
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from exporter.model import ConfigError
from exporter.wording.text import clean, one_line, rfc3339

if TYPE_CHECKING:
    from exporter.ingest.redaction import Redactor

FORMAT = "LOG_FORMAT"
"""The variable of the environment: `text`, the default, or `json`."""

LIBRARIES = ("elastic_transport", "elasticsearch", "opentelemetry", "httpx2", "urllib3")
"""What matters of their failures is said by whoever called them, once and without addresses."""


@lru_cache(1)
def _redactor() -> Redactor:
    from exporter.ingest.redaction import Redactor

    return Redactor(secrets.token_bytes(16))


def _safe(text: str) -> str:
    """What servers answer, and what errors quote, is foreign text: our own log is redacted as everything is."""
    return _redactor().redact(text)


class _Inert(logging.Formatter):
    """Text in which nothing that others wrote is a command to a terminal, or looks like an entry of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # logging's name
        record.message = one_line(_safe(record.message))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return clean(_safe(super().formatException(ei)))


class _Json(logging.Formatter):
    """One object a line, in the names of OpenTelemetry's log data model and of most shippers."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "timestamp": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = _safe(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def configure() -> None:
    """Log to standard error, as the environment says. Raises ConfigError for a form that there is not."""
    logging.basicConfig(level=logging.INFO, handlers=[handler()])
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)


def handler() -> logging.Handler:
    """What writes entries to standard error."""
    form = os.environ.get(FORMAT, "text").strip().lower() or "text"
    if form not in ("text", "json"):
        raise ConfigError(f"{FORMAT} is {form!r}: write text or json")
    found = logging.StreamHandler()
    found.setFormatter(_Json() if form == "json" else _Inert("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return found
