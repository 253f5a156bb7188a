"""Ask a language model behind any OpenAI-compatible endpoint for one JSON object."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from exporter.model import (
    Check,
    Clock,
    ConfigError,
    ExporterError,
    Meter,
    Note,
    PermanentError,
    SystemClock,
    Telemetry,
    TooLongError,
    TransientError,
    audit,
    read_secret,
)
from integrations._http import retry_after
from integrations.openai.answers import MAX_ANSWER_CHARS, InvalidAnswer, parse, repair
from integrations.openai.capabilities import Capabilities, is_too_long
from integrations.openai.network import strangers
from integrations.openai.replies import said_by, text_of
from integrations.openai.settings import OpenAIOptions

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

Messages = Sequence[Mapping[str, str]]

MAX_ATTEMPTS = 12
"""Requests for one answer: every rung of the ladder, one repair, and some room."""

REPROBE_AFTER = timedelta(days=1)
"""Servers learn: after this long, what a server refused is tried again."""

DENSEST = 5.5
"""Characters a token: of log lines and JSON no tokenizer makes so few tokens, so that a prompt of which a server counts
fewer was cut."""

LEAST_CUT = 4_000
"""Characters of a prompt from which that is looked at."""

_CHECK_SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


class OpenAI:
    """An `LLM`. What a server refuses is remembered, so that it is refused once a day."""

    def __init__(self, settings: OpenAIOptions, telemetry: Telemetry, clock: Clock | None = None) -> None:
        self.model = settings.model
        self.capabilities = Capabilities()
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock or SystemClock()
        self._client: AsyncOpenAI | None = None
        self._key: str | None = None
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._at_home = settings.allow_remote

    async def complete(
        self, system: str, user: str, schema: Mapping[str, Any], meter: Meter | None = None
    ) -> Mapping[str, Any]:
        """One JSON object with any of the schema's required keys. Raises TransientError or PermanentError."""
        async with self._slots:
            began = time.monotonic()
            outcome = "ok"
            try:
                async with asyncio.timeout(2 * self._settings.timeout.total_seconds()):
                    return await self._answer(system, user, schema, meter or Meter())
            except TimeoutError as error:
                outcome = "transient"
                raise TransientError(
                    f"llm {self.model}: no answer in time; raise timeout or take a faster model"
                ) from error
            except InvalidAnswer:
                outcome = "invalid"
                raise
            except ExporterError as error:
                outcome = "transient" if isinstance(error, TransientError) else "permanent"
                raise
            finally:
                self._telemetry.count("llm_requests", outcome=outcome)
                self._telemetry.observe("llm_seconds", time.monotonic() - began)

    async def check(self) -> Sequence[Check]:
        """Ask for an answer of one word: it proves the address, the key, the model and the form at once."""
        subject = f"llm {self.model} at {urlsplit(self._settings.base_url).netloc}"
        try:
            await self.complete('Answer with the JSON object {"ok": true} and nothing else.', "Ready?", _CHECK_SCHEMA)
        except ExporterError as error:
            return [Check(subject, False, str(error), "check base_url, model and api_key")]
        return [Check(subject, True, f"answers as {self.capabilities.level}")]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _answer(self, system: str, user: str, schema: Mapping[str, Any], meter: Meter) -> Mapping[str, Any]:
        """Ask, one step lower for each thing that the server refuses; let the model repair its answer once."""
        self._probe_again()
        await self._stay_at_home()
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        for _ in range(MAX_ATTEMPTS):
            try:
                content, cut = await self._ask(messages, schema, meter)
            except _RefusedOption as refused:
                self.capabilities = replace(refused.without, since=self._clock.now())
                continue
            try:
                return parse(content, schema)
            except ValueError as problem:
                if cut:
                    raise InvalidAnswer(
                        f"llm {self.model}: the answer was cut at {self._settings.max_tokens} tokens; raise max_tokens"
                    ) from problem
                if len(messages) > 2:
                    raise InvalidAnswer(f"llm {self.model}: no valid answer, not even repaired: {problem}") from problem
                messages += repair(content, problem)
        raise PermanentError(f"llm {self.model}: the server refuses every form of request that is known")

    def _probe_again(self) -> None:
        since = self.capabilities.since
        if since is not None and self._clock.now() - since >= REPROBE_AFTER:
            self.capabilities = Capabilities()

    async def _stay_at_home(self) -> None:
        """Names are looked up: what they say of where they lead is no proof. Raises PermanentError."""
        if self._at_home:
            return
        host = urlsplit(self._settings.base_url).hostname or ""
        try:
            outside = await strangers(host)
        except OSError as error:
            raise TransientError(f"llm {self.model}: {host} cannot be looked up; check base_url") from error
        if outside:
            raise PermanentError(
                f"llm {self.model}: {host} is {outside[0]}, outside of your own network, and log lines (redacted) "
                "would be sent there; use a model of your own, or permit it with allow_remote: true"
            )

    async def _ask(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], meter: Meter
    ) -> tuple[str, bool]:
        """The text of one answer, and whether it was cut."""
        client = self._connected()
        request = self.capabilities.request(messages, schema, self._settings.max_tokens, self._settings.temperature)
        meter.calls += 1
        where = urlsplit(self._settings.base_url)
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": self.model,
            "gen_ai.output.type": "text" if self.capabilities.level == "text" else "json",
            "gen_ai.request.max_tokens": self._settings.max_tokens,
            "server.address": where.hostname or "",
        }
        with self._telemetry.span(f"chat {self.model}", outgoing=True, **attributes) as note:
            content, cut = await self._send(client, request, messages, meter, note)
        return content, cut

    async def _send(
        self, client: AsyncOpenAI, request: Mapping[str, Any], messages: Messages, meter: Meter, note: Note
    ) -> tuple[str, bool]:
        import openai

        try:
            response: Any = await client.chat.completions.create(model=self.model, **request)
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except (openai.APITimeoutError, TimeoutError):
            raise TransientError(f"llm {self.model}: no answer in time; raise timeout or take a faster model") from None
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except ExporterError:
            raise
        except Exception as error:
            # An odd body makes the client raise nearly anything.
            raise PermanentError(
                f"llm {self.model}: an answer that is not understood ({type(error).__name__})"
            ) from None
        return self._content(response, messages, meter, note)

    def _unreachable(self, error: Exception) -> ExporterError:
        """A connection that failed: certificates are told apart, for waiting mends none."""
        causes = _causes(error)
        if wrong := next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None):
            return PermanentError(
                f"llm {self.model}: its certificate is not trusted ({wrong.verify_message}); give tls.ca_file"
            )
        if any(isinstance(one, ssl.SSLError) or "SSL" in str(one) for one in causes):
            return PermanentError(
                f"llm {self.model}: no TLS can be spoken with it (certificates: tls.ca_file, tls.cert_file); "
                "check whether base_url is http or https"
            )
        return TransientError(f"llm {self.model}: cannot be reached ({type(causes[-1]).__name__}); check base_url")

    def _content(self, response: Any, messages: Messages, meter: Meter, note: Note) -> tuple[str, bool]:
        choices = getattr(response, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        if choice is None or message is None:
            raise PermanentError(
                f"llm {self.model}: answered something that is no chat completion; base_url must be that of an "
                "OpenAI-compatible API, mostly ending in /v1"
            )
        content = text_of(message)
        self._account(response, messages, content, meter, note)
        if getattr(message, "refusal", None):
            raise PermanentError(f"llm {self.model}: the model refused to answer")
        finish = choice.finish_reason
        if finish == "content_filter":
            raise PermanentError(f"llm {self.model}: the server's content filter withheld the answer")
        if not content.strip():
            hint = "; raise max_tokens, it was spent on hidden reasoning" if finish == "length" else ""
            raise InvalidAnswer(f"llm {self.model}: an empty answer{hint}")
        return content[:MAX_ANSWER_CHARS], finish == "length"

    def _account(self, response: Any, messages: Messages, content: str, meter: Meter, note: Note) -> None:
        """Count tokens, by estimate where the server does not tell; notice a prompt that was cut in silence."""
        chars = sum(len(message["content"]) for message in messages)
        usage = getattr(response, "usage", None)
        prompt = _whole(getattr(usage, "prompt_tokens", None))
        answer = _whole(getattr(usage, "completion_tokens", None))
        sent, received = prompt or chars // 3, answer or len(content) // 3
        meter.sent += sent
        meter.received += received
        note({"gen_ai.usage.input_tokens": sent, "gen_ai.usage.output_tokens": received})
        self._telemetry.count("llm_tokens", sent, direction="input", model=self.model)
        self._telemetry.count("llm_tokens", received, direction="output", model=self.model)
        if prompt and chars > LEAST_CUT and chars / prompt > DENSEST:
            raise TooLongError(
                f"llm {self.model}: the server read {prompt} tokens of a prompt of {chars} characters, so it cuts "
                "prompts in silence; raise its context length (Ollama: num_ctx)"
            )

    def _refused(self, error: Any) -> Exception:
        """What an error status means: an option to leave out, something that passes, or something that does not."""
        status: int = error.status_code
        said = said_by(error.body)
        place = f"llm {self.model}: {status}"
        if status == 413 or (status < 500 and is_too_long(said)):
            return TooLongError(f"{place}, the prompt is too long for the model; take one with a longer context")
        if without := self.capabilities.without(status, said):
            return _RefusedOption(without)
        if status == 429 and "insufficient_quota" in said:
            return PermanentError(f"{place}, the quota is used up; see your account at the provider")
        if status in (408, 409, 425, 429) or status >= 500:
            return TransientError(f"{place}, {said}", retry_after(error.response.headers))
        if status in (401, 403):
            return PermanentError(f"{place}, not allowed; check api_key and its rights on this model")
        if status == 404:
            return PermanentError(f"{place}, no such model or path; check model and base_url, mostly ending in /v1")
        if 300 <= status < 400:
            return PermanentError(f"{place}, a redirect, which is not followed; give the final address as base_url")
        return PermanentError(f"{place}, {said}")

    def _connect(self) -> AsyncOpenAI:
        import httpx2
        from openai import AsyncOpenAI

        seconds = self._settings.timeout.total_seconds()
        http = httpx2.AsyncClient(
            verify=self._settings.tls.context(),
            # A redirect would carry the prompt and the key elsewhere; so would a proxy that nobody asked for.
            follow_redirects=False,
            trust_env=bool(self._settings.trust_env),
            timeout=httpx2.Timeout(seconds, connect=min(5.0, seconds)),
            event_hooks={"request": [self._only_our_headers]},
        )
        # Everything is given, for what is not is taken from the environment.
        return AsyncOpenAI(
            api_key="none",
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=self._settings.base_url,
            timeout=seconds,
            max_retries=0,
            http_client=http,
        )

    def _connected(self) -> AsyncOpenAI:
        """The client, with the key as it now stands in its file."""
        try:
            self._key = read_secret(self._settings.api_key, self._settings.api_key_file)
            self._client = self._client or self._connect()
        except ConfigError as error:
            raise PermanentError(f"llm {self.model}: {error}") from error
        return self._client

    async def _only_our_headers(self, request: httpx2.Request) -> None:
        """Leave out what the environment added (OPENAI_ORG_ID, OPENAI_CUSTOM_HEADERS); put our key in. This is all that
        leaves."""
        audit(f"llm {self.model} at {request.url.netloc.decode()}", await request.aread())
        for name in list(request.headers):
            if name.lower() not in _HEADERS:
                del request.headers[name]
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        for name, value in self._settings.headers.items():
            request.headers[name] = value.get_secret_value()


_HEADERS = frozenset(
    {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "user-agent",
    }
)


class _RefusedOption(Exception):
    """The server does not know an option; the request may succeed `without` it."""

    def __init__(self, without: Capabilities) -> None:
        super().__init__()
        self.without = without


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error and what it came from, the first cause last."""
    found: list[BaseException] = []
    while error is not None and len(found) < 10:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
