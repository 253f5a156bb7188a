"""The web side: incident pages, API, webhooks, metrics and health."""

from exporter.web.settings import GrafanaSignatureSettings, WebSettings

__all__ = ["GrafanaSignatureSettings", "WebSettings"]
