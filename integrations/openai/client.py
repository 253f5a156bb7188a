"""Ask a language model behind any OpenAI-compatible endpoint for one JSON object."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from exporter.model import (
    Check,
    Clock,
    ConfigError,
    ExporterError,
    PermanentError,
    SystemClock,
    Telemetry,
    TransientError,
    read_secret,
)
from exporter.wording.text import brief, shorten
from integrations._http import retry_after
from integrations.openai.answers import MAX_ANSWER_CHARS, InvalidAnswer, parse, repair
from integrations.openai.settings import OpenAIOptions

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

MAX_ATTEMPTS = 8
"""Requests for one answer: two steps down the ladder, two options that are refused, one repair, and some room."""

REPROBE_AFTER = timedelta(days=1)
"""Servers learn: after this long, what a server refused is tried again."""

_CHECK_SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Capabilities:
    """What the server was found to understand."""

    level: Literal["json_schema", "json_object", "text"] = "json_schema"
    tokens_as: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    swapped: bool = False
    temperature: bool = True
    since: datetime | None = None


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
        self._day: Any = None
        self._spent = 0

    async def complete(self, system: str, user: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """One JSON object with the schema's required keys. Raises TransientError or PermanentError."""
        async with self._slots:
            began = time.monotonic()
            outcome = "ok"
            try:
                async with asyncio.timeout(2 * self._settings.timeout.total_seconds()):
                    return await self._answer(system, user, schema)
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

    async def _answer(self, system: str, user: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask, one step lower for each thing that the server refuses; let the model repair its answer once."""
        self._probe_again()
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        for _ in range(MAX_ATTEMPTS):
            self._within_budget()
            try:
                content, cut = await self._ask(messages, schema)
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

    def _within_budget(self) -> None:
        today = self._clock.now().date()
        if self._day != today:
            self._day, self._spent = today, 0
        limit = self._settings.daily_tokens
        if limit is not None and self._spent >= limit:
            raise TransientError(
                f"llm {self.model}: today's {limit} tokens are spent; raise daily_tokens, or wait for tomorrow"
            )

    async def _ask(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]) -> tuple[str, bool]:
        """The text of one answer, and whether it was cut."""
        import openai

        client = self._connected()
        try:
            response = await client.chat.completions.create(**self._request(messages, schema))
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except (openai.APITimeoutError, TimeoutError):
            raise TransientError(f"llm {self.model}: no answer in time; raise timeout or take a faster model") from None
        except openai.APIConnectionError as error:
            reason = type(error.__cause__ or error).__name__
            raise TransientError(f"llm {self.model}: cannot be reached ({reason}); check base_url") from None
        except ExporterError:
            raise
        except Exception as error:
            # An odd body makes the client raise nearly anything.
            raise PermanentError(
                f"llm {self.model}: an answer that is not understood ({type(error).__name__})"
            ) from None
        return self._content(response, messages)

    def _request(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]) -> dict[str, Any]:
        known = self.capabilities
        request: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "stream": False,
            known.tokens_as: self._settings.max_tokens,
        }
        if known.temperature:
            request["temperature"] = self._settings.temperature
        if known.level == "json_schema":
            form = {"name": "answer", "schema": schema, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        elif known.level == "json_object":
            request["response_format"] = {"type": "json_object"}
        return request

    def _content(self, response: Any, messages: Sequence[Mapping[str, str]]) -> tuple[str, bool]:
        choices = getattr(response, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        if choice is None or message is None:
            raise PermanentError(
                f"llm {self.model}: answered something that is no chat completion; base_url must be that of an "
                "OpenAI-compatible API, mostly ending in /v1"
            )
        content = message.content if isinstance(message.content, str) else ""
        self._account(response, messages, content)
        if getattr(message, "refusal", None):
            raise PermanentError(f"llm {self.model}: the model refused to answer")
        finish = choice.finish_reason
        if finish == "content_filter":
            raise PermanentError(f"llm {self.model}: the server's content filter withheld the answer")
        if not content.strip():
            hint = "; raise max_tokens, it was spent on hidden reasoning" if finish == "length" else ""
            raise InvalidAnswer(f"llm {self.model}: an empty answer{hint}")
        return content[:MAX_ANSWER_CHARS], finish == "length"

    def _account(self, response: Any, messages: Sequence[Mapping[str, str]], content: str) -> None:
        """Count tokens, by estimate where the server does not tell; notice a prompt that was cut in silence."""
        chars = sum(len(message["content"]) for message in messages)
        usage = getattr(response, "usage", None)
        prompt = _whole(getattr(usage, "prompt_tokens", None))
        answer = _whole(getattr(usage, "completion_tokens", None))
        self._spent += (chars // 3 if prompt is None else prompt) + (len(content) // 3 if answer is None else answer)
        self._telemetry.count("llm_tokens", prompt or chars // 3, direction="input")
        self._telemetry.count("llm_tokens", answer or len(content) // 3, direction="output")
        if prompt and chars > 8_000 and chars / prompt > 8:
            raise PermanentError(
                f"llm {self.model}: the server read {prompt} tokens of a prompt of {chars} characters, so it cuts "
                "prompts in silence; raise its context length (Ollama: num_ctx)"
            )

    def _refused(self, error: Any) -> Exception:
        """What an error status means: an option to leave out, something that passes, or something that does not."""
        status: int = error.status_code
        said = _said(error)
        if status in (400, 422) and (without := self._without(said.lower())):
            return _RefusedOption(without)
        place = f"llm {self.model}: {status}"
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
        if status == 413 or "context length" in said.lower() or "context_length" in said.lower():
            return PermanentError(f"{place}, the prompt is too long for the model; take one with a longer context")
        return PermanentError(f"{place}, {said}")

    def _without(self, said: str) -> Capabilities | None:
        """Capabilities without the option that an error names, or None when it names none that can be left out."""
        known = self.capabilities
        if "context length" in said or "context_length" in said:
            return None
        if re.search(r"response_format|json_schema|json_object|structured|guided|grammar|schema", said):
            lower: dict[str, Literal["json_object", "text"]] = {"json_schema": "json_object", "json_object": "text"}
            return replace(known, level=lower[known.level]) if known.level in lower else None
        if re.search(r"max_tokens|max_completion_tokens", said) and not known.swapped:
            other: Literal["max_tokens", "max_completion_tokens"] = (
                "max_completion_tokens" if known.tokens_as == "max_tokens" else "max_tokens"
            )
            return replace(known, tokens_as=other, swapped=True)
        if "temperature" in said and known.temperature:
            return replace(known, temperature=False)
        return None

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
        """Leave out what the environment added (OPENAI_ORG_ID, OPENAI_CUSTOM_HEADERS); put our key in."""
        for name in list(request.headers):
            if name.lower() not in _HEADERS:
                del request.headers[name]
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"


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


def _said(error: Any) -> str:
    """The server's own words, short, without addresses (they may hold secrets) and control characters."""
    body = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        body = (
            " ".join(str(inner.get(k) or "") for k in ("message", "code", "param"))
            if isinstance(inner, Mapping)
            else inner
        )
    return shorten(re.sub(r"\w+://\S+", "(address)", brief(str(body or "no reason given"), 2_000)), 200)
