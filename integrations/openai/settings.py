"""What exporter.yml says about the model."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.model import ClientSettings, Duration, LLMSettings, Unit
from integrations._http import TlsSettings

_PRIVATE_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".svc", ".home.arpa", ".intranet", ".test")


class OpenAIOptions(ClientSettings, LLMSettings):
    """What can be said of a model behind an OpenAI-compatible endpoint."""

    type: Literal["openai"]
    base_url: str
    """Up to and including the version, such as `http://localhost:8000/v1`."""
    model: str = Field(min_length=1)
    """Its name, as the endpoint knows it."""
    api_key: SecretStr | None = None
    """Many local servers want none."""
    api_key_file: Path | None = None
    """File that holds the key; read at each use."""
    tls: TlsSettings = TlsSettings()
    """How the server proves who it is, and how we do."""
    timeout: Duration = timedelta(seconds=60)
    """Of one request; a whole answer, with retries at a lower level and a repair, takes at most twice that."""
    max_tokens: Annotated[int, Unit("tokens")] = Field(default=1200, ge=16, le=100_000)
    """Of the answer. Models that reason spend it on hidden tokens, too: give them more."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """How much chance there is in the answer; 0: as little as the model can."""
    allow_remote: bool = False
    """Permit an address outside of your own network. What is sent is redacted, but it leaves."""
    concurrency: Annotated[int, Unit("requests")] = Field(default=1, ge=1, le=16)
    """Requests at the same time."""
    daily_tokens: Annotated[int, Unit("tokens")] | None = Field(default=1_000_000, ge=1)
    """Tokens of prompts and answers a day (UTC); over it, reports are written without the model."""

    @field_validator("base_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an absolute http(s) URL, such as http://localhost:8000/v1")
        if parts.username or parts.password:
            raise ValueError("holds a user or password; use api_key or api_key_file")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.api_key and self.api_key_file:
            raise ValueError("api_key and api_key_file are both given; give one of them")
        host = urlsplit(self.base_url).hostname or ""
        if not self.allow_remote and not is_private(host):
            raise ValueError(
                f"base_url: {host} is outside of your own network, and log lines (redacted) would be sent there; "
                "use a model of your own, or permit it with allow_remote: true"
            )
        return self


def is_private(host: str) -> bool:
    """Whether a host is on this machine or in a private network, by its name alone.

    >>> is_private("127.0.0.1"), is_private("vllm.models.svc"), is_private("api.openai.com")
    (True, True, False)
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or name.endswith((*_PRIVATE_SUFFIXES, ".cluster.local"))
    # Link-local addresses are those of cloud metadata services.
    return (address.is_private or address.is_loopback) and not address.is_link_local
