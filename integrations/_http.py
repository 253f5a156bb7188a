"""HTTP as every integration speaks it: TLS and authentication from settings, no redirects, errors told apart."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import Field, SecretStr, model_validator

from exporter.model import (
    NO_MORE_FILES,
    OWN_NAME,
    ClientSettings,
    ConfigError,
    Duration,
    ExporterError,
    PermanentError,
    Settings,
    TransientError,
    audit,
    may_open,
    read_secret,
)
from exporter.wording.text import brief

MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of one answer that are read; more is an error, never memory."""

RETRYABLE = frozenset({408, 425, 429})


class TlsSettings(Settings):
    """How a server proves who it is, and how we do."""

    ca_file: Path | None = None
    """Certificates of the authorities that are trusted; default: those of the system."""
    cert_file: Path | None = None
    """Our own certificate, for servers that ask for one."""
    key_file: Path | None = None
    """The key of our own certificate; may stand in `cert_file`, too."""
    insecure_skip_verify: bool = False
    """Trust anybody. For a test only: whoever is on the way reads along."""

    @model_validator(mode="after")
    def _pair(self) -> TlsSettings:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file beside it")
        return self

    def context(self) -> ssl.SSLContext:
        """Raises ConfigError when a file cannot be used, TransientError when none can be opened now."""
        if not may_open():
            # It would know no authority then, and trust nobody for as long as it lives.
            raise TransientError(NO_MORE_FILES)
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(file) for file in (self.ca_file, self.cert_file, self.key_file) if file)
            raise ConfigError(f"tls: {files}: {error}; give readable PEM files that belong together") from error
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class HttpSettings(ClientSettings):
    """What every integration that speaks HTTP can be told; at most one way to authenticate."""

    username: str | None = None
    """For basic authentication, with a password."""
    password: SecretStr | None = None
    """Of `username`."""
    password_file: Path | None = None
    """File that holds the password; read at each use."""
    token: SecretStr | None = None
    """Bearer token."""
    token_file: Path | None = None
    """File that holds the bearer token; read at each use, for orchestrators rotate it."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent with every request, such as X-Scope-OrgID for a tenant."""
    tls: TlsSettings = TlsSettings()
    """How the server proves who it is, and how we do."""
    timeout: Duration = timedelta(seconds=30)
    """Of one request."""

    @model_validator(mode="after")
    def _one_way(self) -> HttpSettings:
        if self.username and (self.token or self.token_file):
            raise ValueError("give either username and password, or a token")
        if self.token and self.token_file:
            raise ValueError("give either token or token_file")
        if self.password and self.password_file:
            raise ValueError("give either password or password_file")
        return self

    def request_headers(self) -> dict[str, str]:
        """Authentication and the operator's own headers. Raises ConfigError when a secret's file is unreadable."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        if token := read_secret(self.token, self.token_file):
            headers["Authorization"] = f"Bearer {token}"
        elif self.username:
            password = read_secret(self.password, self.password_file) or ""
            pair = base64.b64encode(f"{self.username}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        return headers


@dataclass(frozen=True)
class Answer:
    """A whole answer below 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Raises TransientError when it is not JSON: a page of a proxy, or cut off on the way."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            start = self.body[:80].decode("utf-8", "replace")
            raise TransientError(f"the answer is not JSON; it begins {start!r}: is a proxy in between?") from error

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def is_page(self) -> bool:
        """Whether it is a whole HTML document: what proxies and logins answer, whatever the status, and no API does."""
        return self.body[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


class Client:
    """One server's connections; opened at first use, in the event loop that uses it."""

    def __init__(self, settings: HttpSettings, place: str, audited: bool = True) -> None:
        self._settings = settings
        self._place = place
        self._audited = audited
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout.total_seconds()),
                connector=aiohttp.TCPConnector(ssl=self._settings.tls.context()),
                headers={"User-Agent": OWN_NAME},
                trust_env=bool(self._settings.trust_env),
            )
        return self._session

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta | None = None,  # noqa: ASYNC109  # of this request instead of the client's
        **content: Any,
    ) -> Answer:
        """Send one request. Raises TransientError or PermanentError with the status and the server's words.

        `content` is json, or what aiohttp takes: data, params. The URL stands in no message, for it may be a secret.
        """
        kind: Mapping[str, str] = {}
        if (body := content.pop("json", None)) is not None:
            content["data"], kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        try:
            sent = {**kind, **self._settings.request_headers(), **(headers or {})}
            session = self._open()
        except ConfigError as error:
            # Files of secrets are rotated: in a moment it may be there again.
            raise TransientError(f"{self._place}: {error}") from error
        if self._audited and "data" in content:
            audit(self._place, content["data"])
        if timeout is not None:
            content["timeout"] = aiohttp.ClientTimeout(total=timeout.total_seconds())
        try:
            async with session.request(method, url, headers=sent, allow_redirects=False, **content) as response:
                body = await _read(response, self._place)
                answer = Answer(response.status, dict(response.headers), body)
        except TimeoutError as error:
            raise TransientError(f"{self._place}: no answer within the time-out") from error
        except aiohttp.ClientConnectorCertificateError as error:
            message = f"{self._place}: its certificate is not trusted; give tls.ca_file"
            raise PermanentError(message) from error
        except aiohttp.InvalidURL as error:
            raise PermanentError(f"{self._place}: the URL in the configuration is not valid") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransientError(f"{self._place}: {_reason(error)}") from error
        if answer.status >= 300:
            raise refusal(self._place, answer)
        if answer.is_page:
            raise TransientError(f"{self._place}: answers with a web page; is a proxy or a login in between?")
        return answer

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class Refused(PermanentError):
    """A server's no, with its status, headers and words."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class Unready(TransientError):
    """A server's not now, with its status, headers and words."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message, retry_after(answer.headers))
        self.answer = answer


def refusal(place: str, answer: Answer) -> ExporterError:
    """The error for a status of 300 or more: whether trying again may help is decided here and nowhere else."""
    words = brief(answer.text(), 300)
    message = f"{place}: answers {answer.status}{f': {words}' if words else ''}"
    if answer.status in RETRYABLE or answer.status >= 500:
        return Unready(message, answer)
    if answer.status < 400:
        return Refused(f"{message}; redirects are not followed, give the final address", answer)
    if answer.status in (401, 403):
        return Refused(f"{message}; check the credentials and what they may do", answer)
    return Refused(message, answer)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """What the header Retry-After asks for: seconds, or a date."""
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), None)
    if value is None:
        return None
    try:
        if value.strip().isdigit():
            return timedelta(seconds=min(int(value), 3600))
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    # A date of the zone -0000 is in UTC as well, and comes without one.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(timedelta(0), min(moment - (now or datetime.now(UTC)), timedelta(hours=1)))


async def _read(response: aiohttp.ClientResponse, place: str) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_chunked(1 << 16):
        size += len(chunk)
        if size > MAX_ANSWER:
            raise PermanentError(f"{place}: the answer is larger than {MAX_ANSWER >> 20} MB")
        chunks.append(chunk)
    return b"".join(chunks)


def _reason(error: Exception) -> str:
    """What went wrong, without the URL that aiohttp writes into its messages."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached ({error.os_error.strerror or 'connection failed'})"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "closed the connection before it answered"
    return f"the connection failed ({type(error).__name__})"


def join(base: str, path: str) -> str:
    """A path below a base URL that may have a path of its own.

    >>> join("https://host/grafana/", "/api/annotations")
    'https://host/grafana/api/annotations'
    """
    return f"{base.rstrip('/')}/{path.lstrip('/')}"


async def pause(attempt: int, wait: timedelta | None = None) -> None:
    """Wait before trying again: as long as the server asked for, else longer each time, never the same for all."""
    import random

    seconds = wait.total_seconds() if wait else min(30.0, 0.25 * 2**attempt)
    await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311
