"""The way into an Elasticsearch: the settings of a connection, its client, and the client's errors told apart."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.model import (
    ClientSettings,
    ConfigError,
    Duration,
    ExporterError,
    PermanentError,
    TransientError,
    audit,
    read_secret,
)
from exporter.wording.text import brief
from integrations._http import TlsSettings, retry_after

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch


class ConnectionSettings(ClientSettings):
    """Where an Elasticsearch of version 8 or 9 is, self-hosted or in the cloud, and how we get in."""

    hosts: tuple[str, ...] = Field(min_length=1)
    """Such as `https://es:9200`; several nodes of one cluster, tried in turn."""
    api_key: SecretStr | None = None
    """As Kibana shows it, encoded."""
    api_key_file: Path | None = None
    """File that holds the API key; read each time that we connect."""
    bearer_token: SecretStr | None = None
    """Of a service account, or of an identity provider."""
    bearer_token_file: Path | None = None
    """File that holds the bearer token; read each time that we connect."""
    username: str | None = None
    """For basic authentication, with a password."""
    password: SecretStr | None = None
    """Of `username`."""
    password_file: Path | None = None
    """File that holds the password; read each time that we connect."""
    tls: TlsSettings = TlsSettings()
    """How the server proves who it is, and how we do."""
    timeout: Duration = timedelta(seconds=30)
    """Of one request."""

    @field_validator("hosts")
    @classmethod
    def _urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not re.fullmatch(r"https?://[^/@\s]+:\d+(?:/\S*)?", host):
                raise ValueError("each host is a URL with its port, without user or password, such as https://es:9200")
        return value

    @model_validator(mode="after")
    def _one_way_in(self) -> ConnectionSettings:
        for name in ("api_key", "bearer_token", "password"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file are both given; give one of them")
        ways = [self.api_key or self.api_key_file, self.bearer_token or self.bearer_token_file, self.username]
        if sum(way is not None for way in ways) > 1:
            raise ValueError("more than one of api_key, bearer_token and username is given; give one of them")
        if bool(self.username) != bool(self.password or self.password_file):
            raise ValueError("username and password go together")
        return self

    def client(self, place: str, audited: bool = False) -> AsyncElasticsearch:
        """A client that asks once, with the secrets of now. Raises PermanentError, which names `place`."""
        # Otherwise the client makes a span of every request in the process's own traces.
        os.environ.setdefault("OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED", "false")
        from elasticsearch import AsyncElasticsearch, OrjsonSerializer

        try:
            return AsyncElasticsearch(
                list(self.hosts),
                serializer=OrjsonSerializer(),
                request_timeout=self.timeout.total_seconds(),
                # The client repeats at once, several times in as many milliseconds; who calls waits longer.
                max_retries=0,
                retry_on_timeout=False,
                node_class=_node(bool(self.trust_env), place if audited else ""),
                **self._way_in(),
            )
        except (ConfigError, ValueError) as error:
            raise PermanentError(f"{place}: {error}") from error

    def _way_in(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if any(host.startswith("https://") for host in self.hosts):
            options["ssl_context"] = self.tls.context()
        if key := read_secret(self.api_key, self.api_key_file):
            options["api_key"] = key
        if token := read_secret(self.bearer_token, self.bearer_token_file):
            options["bearer_auth"] = token
        if self.username:
            options["basic_auth"] = (self.username, read_secret(self.password, self.password_file) or "")
        return options


def _node(of_the_environment: bool, audited: str) -> Any:
    """The client's own node, but that it asks the proxy which the environment names, and notes what leaves."""
    from elastic_transport import AiohttpHttpNode

    class Node(AiohttpHttpNode):
        def _create_aiohttp_session(self) -> None:
            super()._create_aiohttp_session()
            if self.session and of_the_environment:
                # Before the first request; the client has no other way to say it.
                self.session._trust_env = True

        async def perform_request(  # type: ignore[override]  # as the client's own, which awaits it
            self, method: str, target: str, body: bytes | None = None, *args: Any, **options: Any
        ) -> Any:
            if audited and body:
                audit(f"{audited}: Elasticsearch at {self.base_url}", body)
            return await super().perform_request(method, target, body, *args, **options)

    return Node


def explained(error: Exception, place: str, grant: str) -> ExporterError:
    """An error of the client as one of ours, by what can be done about it; `grant` says which rights are needed."""
    from elastic_transport import TlsError
    from elasticsearch import ApiError, TransportError, UnsupportedProductError

    if isinstance(error, ExporterError):
        return error
    if isinstance(error, UnsupportedProductError):
        return PermanentError(
            f"{place}: what answers is no Elasticsearch (the header X-Elastic-Product is missing): a proxy or login "
            "page in between, or OpenSearch, which is not supported"
        )
    if isinstance(error, TlsError):
        return PermanentError(f"{place}: TLS failed ({error.message}); give the authority's certificate in tls.ca_file")
    if isinstance(error, ApiError):
        return _refusal(error, place, grant)
    if isinstance(error, TransportError):
        # The client's own words would show the address of the node, and what is in it.
        names = [type(inner).__name__ for inner in error.errors] or [type(error).__name__]
        return TransientError(f"{place}: no answer ({', '.join(dict.fromkeys(names))}); check hosts and the network")
    return PermanentError(f"{place}: {type(error).__name__}: {error}")


def _refusal(error: Any, place: str, grant: str) -> ExporterError:
    status, said = error.meta.status, f"{place}: {error.meta.status} {reason(error)}"
    if status == 401:
        return PermanentError(f"{said}; not authenticated: check api_key, bearer_token or username\n{grant}")
    if status == 403:
        return PermanentError(f"{said}; not allowed\n{grant}")
    if "media_type_header_exception" in str(error.body):
        return PermanentError(f"{said}; the server is older than 8: upgrade it")
    if status in (408, 429) or status >= 500:
        return TransientError(said, retry_after(dict(error.meta.headers)))
    return PermanentError(said)


def reason(error: Any) -> str:
    """What the server says is wrong, in one line."""
    body = error.body if isinstance(error.body, dict) else {}
    cause = body.get("error", {})
    if isinstance(cause, dict):
        root = (cause.get("root_cause") or [cause])[0]
        return brief(f"{root.get('type', '')}: {root.get('reason', '')}", 300).strip(": ")
    return brief(str(cause), 300) or brief(str(error), 300)
