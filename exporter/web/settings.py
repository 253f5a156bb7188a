"""The settings of the web side, which the configuration imports: nothing heavy here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.model import Settings, Unit, read_secret

LISTEN = "LOG_ANOMALY_EXPORTER_LISTEN"
"""The variable of the environment that says where to listen when exporter.yml does not."""


class GrafanaSignatureSettings(Settings):
    """The HMAC that Grafana Alerting (12 and later) can sign its webhooks with."""

    secret: SecretStr | None = None
    """The secret, as set in the contact point."""
    secret_file: Path | None = None
    """File that holds the secret; read at each use."""
    header: str = "X-Grafana-Alerting-Signature"
    """Header of the signature, as set in the contact point."""
    timestamp_header: str | None = None
    """Header of the time, if one is set in the contact point; then requests older than five minutes are refused."""

    @model_validator(mode="after")
    def _one_secret(self) -> GrafanaSignatureSettings:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("give either secret or secret_file")
        return self

    def key(self) -> bytes:
        """Raises ConfigError when the file cannot be read."""
        return (read_secret(self.secret, self.secret_file) or "").encode()


class ListenSettings(Settings):
    """Where is listened, and who may ask."""

    listen: str = "127.0.0.1:9464"
    """Host and port; `:9464` for every interface. Where this is not given, `LOG_ANOMALY_EXPORTER_LISTEN` of the
    environment is taken: the image sets it to `:9464`."""
    auth: Literal["bearer", "none"] = "bearer"
    """`none` answers everybody who can reach the port. With `bearer` and no token nobody is answered."""
    token: SecretStr | None = None
    """What whoever asks must have, as a bearer token."""
    token_file: Path | None = None
    """File with the token, read at each use. Every line is a token that is accepted: that is how one is rotated."""
    hosts: tuple[str, ...] = ()
    """Names by which we are reached, beside `localhost` and addresses: a request that calls us otherwise may come from
    a foreign page in somebody's browser, and is refused (421)."""
    client_max_size: Annotated[int, Unit("bytes")] = Field(default=16 * 1024 * 1024, ge=1024)
    """Largest body in bytes."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_environment_says(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "listen" not in given and LISTEN in os.environ:
            return {**given, "listen": os.environ[LISTEN]}
        return given

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        split_listen(value)
        return value

    @field_validator("hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name):
                raise ValueError(f"{name!r} is not a name: write it without scheme, port and path, such as logs.corp")
        return tuple(name.lower() for name in value)

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token and self.token_file:
            raise ValueError("give either token or token_file; to rotate a token, write both into token_file")
        return self

    def tokens(self) -> tuple[str, ...]:
        """The tokens that may write. Raises ConfigError when the file cannot be read."""
        return _lines(read_secret(self.token, self.token_file))

    def read_tokens(self) -> tuple[str, ...]:
        """The tokens that may read; empty when everybody may."""
        return ()


class WebSettings(ListenSettings):
    """Where the web side listens, and who may do what."""

    listen: str = "127.0.0.1:9464"
    """Host and port; `:9464` for every interface. Where this is not given, `LOG_ANOMALY_EXPORTER_LISTEN` of the
    environment is taken: the image sets it to `:9464`."""
    auth: Literal["bearer", "none"] = "bearer"
    """`none` opens the webhooks to everybody who can reach the port. With `bearer` and no token they are shut."""
    token: SecretStr | None = None
    """For the webhooks, for acting on incidents and rules, and for signing in on the pages."""
    token_file: Path | None = None
    """File with the token, read at each use. Every line is a token that is accepted: that is how one is rotated."""
    read_token: SecretStr | None = None
    """If given, pages and API ask for it: as a bearer token, or in a browser as the password of any user."""
    read_token_file: Path | None = None
    """File with such tokens, one a line; read at each use."""
    grafana_signature: GrafanaSignatureSettings | None = None
    """Accept webhooks that Grafana Alerting has signed."""
    hosts: tuple[str, ...] = ()
    """Names by which people reach the pages, beside that of `external_url`, `localhost` and addresses: a request that
    calls us otherwise may come from a foreign page in somebody's browser, and is refused (421)."""
    client_max_size: Annotated[int, Unit("bytes")] = Field(default=16 * 1024 * 1024, ge=1024)
    """Largest body in bytes; Alertmanager sends many MB unless its `max_alerts` is set."""

    @model_validator(mode="after")
    def _one_read_token(self) -> Self:
        if self.read_token and self.read_token_file:
            raise ValueError("give either read_token or read_token_file")
        return self

    def read_tokens(self) -> tuple[str, ...]:
        return _lines(read_secret(self.read_token, self.read_token_file))


class MemoryServiceSettings(ListenSettings):
    """`serve memory`: the memory of this file, for several daemons and for other people's tools. It has a state file of
    its own (`state`)."""

    at_once: Annotated[int, Unit("requests")] = Field(default=32, ge=1, le=1_000)
    """Requests that are answered at the same time; of more it is said that they are to come again (503)."""


class ReportServiceSettings(ListenSettings):
    """`serve report`: the writer of reports, with the model of this file (`llm`), if there is one. It keeps nothing."""

    at_once: Annotated[int, Unit("requests")] = Field(default=8, ge=1, le=1_000)
    """Requests that are answered at the same time; of more it is said that they are to come again (503)."""


class ServeSettings(Settings):
    """What is answered to other processes. A file that has this block needs no sources."""

    memory: MemoryServiceSettings = Field(default_factory=MemoryServiceSettings)
    """Of `serve memory`."""
    report: ReportServiceSettings = Field(default_factory=ReportServiceSettings)
    """Of `serve report`."""


@dataclass(frozen=True)
class Guarded:
    """By what a request is judged: the settings of now."""

    settings: ListenSettings
    external_url: str | None = None


@dataclass(frozen=True)
class Access(Guarded):
    """The same of pages and webhooks."""

    settings: WebSettings

    @property
    def can_act(self) -> bool:
        """Whether a token is configured, with which people act."""
        return bool(self.settings.token or self.settings.token_file)

    @property
    def open_to_all(self) -> bool:
        """Whether whoever reaches one of all our addresses can read every incident."""
        host, _ = split_listen(self.settings.listen)
        anywhere = host in ("", "0.0.0.0", "::")  # noqa: S104  # looked for, not bound
        return anywhere and not (self.settings.read_token or self.settings.read_token_file)


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of an address; no host where it is every one.

    >>> split_listen("[::1]:9464")
    ('::1', 9464)
    >>> split_listen(":9464")
    ('', 9464)
    """
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:/\s]*)):(\d{1,5})", listen)
    if not match or int(match[3]) > 65535:
        raise ValueError(f"{listen!r} is not an address: write host:port, such as 127.0.0.1:9464 or [::]:9464")
    return match[1] or match[2] or "", int(match[3])


def _lines(text: str | None) -> tuple[str, ...]:
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())
