"""What exporter.yml says about the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.model import ClientSettings, LLMSettings, Unit
from integrations._http import TlsSettings
from integrations.openai.network import is_private


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
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent with every request, such as those of a gateway before the model."""
    max_tokens: Annotated[int, Unit("tokens")] = Field(default=1200, ge=16, le=100_000)
    """Of the answer; all that is asked for fits. Models that reason spend it on hidden tokens, too: give them more."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """How much chance there is in the answer; 0: as little as the model can."""
    allow_remote: bool = False
    """Permit an address outside of your own network, which is looked up before anything is sent. What is sent is
    redacted, but it leaves."""

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
