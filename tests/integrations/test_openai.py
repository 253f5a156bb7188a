"""The model's client against a scripted server over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from exporter.model import PermanentError, Telemetry, TransientError
from exporter.telemetry import PrometheusTelemetry
from integrations.openai import OpenAISettings
from integrations.openai.answers import InvalidAnswer, parse
from integrations.openai.client import Capabilities, OpenAI
from integrations.openai.settings import is_private
from tests.fakes.llm import FakeLLM, Reply, answers_oddly, fails, hangs, says, scripted
from tests.servers.process import PATIENCE

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
GOOD = {"answer": "yes"}


class Clock:
    """A clock that tests step."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 14, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


def settings(url: str, **changes: Any) -> OpenAISettings:
    return OpenAISettings.model_validate(
        {"type": "openai", "base_url": url, "model": "qwen", "timeout": f"{PATIENCE:g}s"} | changes
    )


@asynccontextmanager
async def model(
    *script: Reply, telemetry: Telemetry | None = None, clock: Clock | None = None, **options: Any
) -> AsyncIterator[tuple[OpenAI, FakeLLM]]:
    fake_options = {key: options.pop(key) for key in ("forms", "unknown") if key in options}
    async with scripted(*script, **fake_options) as fake:
        llm = OpenAI(settings(fake.url, **options), telemetry or PrometheusTelemetry(), clock or Clock())
        try:
            yield llm, fake
        finally:
            await llm.close()


async def ask(llm: OpenAI) -> Any:
    return await llm.complete("the system", "the user", SCHEMA)


async def test_a_schema_is_asked_for_and_the_object_comes_back() -> None:
    async with model(says(GOOD)) as (llm, fake):
        assert await ask(llm) == GOOD
    sent = fake.requests[0].body
    assert sent["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}
    assert [m["role"] for m in sent["messages"]] == ["system", "user"]
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == ("qwen", 1200, 0.0)


async def test_a_server_that_refuses_schemas_is_asked_for_an_object_and_that_is_remembered() -> None:
    async with model(says(GOOD), forms=("json_object",)) as (llm, fake):
        assert [await ask(llm), await ask(llm)] == [GOOD, GOOD]
    assert [request.form for request in fake.requests] == ["json_schema", "json_object", "json_object"]


async def test_what_a_server_refused_is_tried_again_a_day_later() -> None:
    clock = Clock()
    async with model(says(GOOD), forms=("json_object",), clock=clock) as (llm, fake):
        await ask(llm)
        fake.forms = ("json_schema",)
        clock.time += timedelta(days=1)
        await ask(llm)
    assert [request.form for request in fake.requests] == ["json_schema", "json_object", "json_schema"]


async def test_an_object_is_found_in_plain_text_between_fences_and_thoughts() -> None:
    text = f'<think>maybe {{"answer": "no"}}</think>Sure!\n```json\n{json.dumps(GOOD)}\n```\nAnything else?'
    async with model(says(text), forms=()) as (llm, fake):
        assert await ask(llm) == GOOD
    assert [request.form for request in fake.requests] == ["json_schema", "json_object", None]


@pytest.mark.parametrize("first", ["{'answer': 'yes'", "no idea", '{"reply": "yes"}', "[1, 2]", '{"answer": ' * 5000])
async def test_an_invalid_answer_may_be_repaired_once(first: str) -> None:
    async with model(says(first), says(GOOD)) as (llm, fake):
        assert await ask(llm) == GOOD
    assert [m["role"] for m in fake.requests[1].body["messages"]] == ["system", "user", "assistant", "user"]
    assert "not what was asked for" in fake.requests[1].last


async def test_an_answer_that_is_not_repaired_is_given_up() -> None:
    telemetry = PrometheusTelemetry()
    async with model(says("no"), telemetry=telemetry) as (llm, fake):
        with pytest.raises(InvalidAnswer, match="not even repaired: there is no JSON object"):
            await ask(llm)
    assert len(fake.requests) == 2
    assert telemetry.value("log_anomaly_exporter_llm_requests_total", outcome="invalid") == 1


async def test_max_tokens_is_called_what_the_server_calls_it() -> None:
    async with model(says(GOOD), unknown=("max_tokens",)) as (llm, fake):
        await ask(llm)
        await ask(llm)
    assert ["max_tokens" in request.body for request in fake.requests] == [True, False, False]
    assert fake.requests[1].body["max_completion_tokens"] == 1200


async def test_a_refused_temperature_is_left_out() -> None:
    async with model(says(GOOD), unknown=("temperature",)) as (llm, fake):
        assert await ask(llm) == GOOD
    assert ["temperature" in request.body for request in fake.requests] == [True, False]


async def test_a_server_that_knows_nothing_of_it_all_still_answers() -> None:
    unknown = ("response_format", "max_tokens", "temperature")
    async with model(says(GOOD), unknown=unknown) as (llm, _):
        assert await ask(llm) == GOOD
        assert llm.capabilities.level == "text"


async def test_a_server_that_refuses_everything_is_given_up() -> None:
    unknown = ("response_format", "max_tokens", "max_completion_tokens", "temperature")
    async with model(says(GOOD), unknown=unknown) as (llm, fake):
        with pytest.raises(PermanentError):
            await ask(llm)
    assert len(fake.requests) <= 8


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (fails(401, "bad key"), "check api_key"),
        (fails(403, "no"), "check api_key"),
        (fails(404, "model not found"), "check model and base_url"),
        (fails(400, "This model's maximum context length is 4096 tokens, max_tokens 1200"), "prompt is too long"),
        (fails(429, "quota", code="insufficient_quota"), "quota is used up"),
        (fails(418, "teapot at https://user:secret@host/x"), r"418, teapot at \(address\)"),
        (answers_oddly("{}"), "ending in /v1"),
        (answers_oddly("<html>login</html>", "text/html"), "ending in /v1"),
        (answers_oddly("{not json"), "not understood|ending in /v1"),
        (answers_oddly('{"choices": [], "object": "chat.completion"}'), "ending in /v1"),
        (answers_oddly("", status=307, Location="http://127.0.0.1:9/v1/chat/completions"), "redirect"),
        (says("", finish="length"), "hidden reasoning"),
        (says(None), "empty answer"),
        (says('{"answer": "y', finish="length"), "raise max_tokens"),
        (says(None, refusal="I cannot help with that"), "refused"),
        (says("", finish="content_filter"), "content filter"),
    ],
)
async def test_what_would_fail_again_is_permanent(reply: Reply, message: str) -> None:
    async with model(reply) as (llm, fake):
        with pytest.raises(PermanentError, match=message):
            await ask(llm)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("reply", [fails(500), fails(503), fails(408), fails(429, "slow down")])
async def test_what_may_pass_is_transient_and_asked_once(reply: Reply) -> None:
    async with model(reply) as (llm, fake):
        with pytest.raises(TransientError):
            await ask(llm)
    assert len(fake.requests) == 1


async def test_the_wait_that_a_server_asks_for_is_passed_on() -> None:
    async with model(fails(429, "slow down", {"Retry-After": "17"})) as (llm, _):
        with pytest.raises(TransientError) as caught:
            await ask(llm)
    assert caught.value.retry_after == timedelta(seconds=17)


async def test_a_server_that_hangs_is_left() -> None:
    async with model(hangs(), timeout="200ms") as (llm, _):
        with pytest.raises(TransientError, match="no answer in time"):
            await ask(llm)


async def test_a_server_that_is_not_there_is_transient() -> None:
    llm = OpenAI(settings("http://127.0.0.1:9/v1"), PrometheusTelemetry())
    with pytest.raises(TransientError, match="cannot be reached"):
        await ask(llm)
    await llm.close()


async def test_a_prompt_that_was_cut_in_silence_is_noticed() -> None:
    body = json.dumps(
        {
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "{}"}}],
            "usage": {"prompt_tokens": 512, "completion_tokens": 1, "total_tokens": 513},
        }
    )
    async with model(answers_oddly(body)) as (llm, _):
        with pytest.raises(PermanentError, match="num_ctx"):
            await llm.complete("system", "x" * 20_000, SCHEMA)


async def test_nothing_of_the_environment_reaches_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "stray-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "stray-org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "stray-project")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "stray-admin")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Stray: stray")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with model(says(GOOD)) as (llm, fake):
        assert await ask(llm) == GOOD
    assert "stray" not in json.dumps(dict(fake.requests[0].headers))
    assert "Authorization" not in fake.requests[0].headers


async def test_the_key_is_read_anew_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    async with model(says(GOOD), api_key_file=str(file)) as (llm, fake):
        await ask(llm)
        file.write_text("second\n")
        await ask(llm)
        file.unlink()
        with pytest.raises(PermanentError, match="readable"):
            await ask(llm)
    assert [request.headers["Authorization"] for request in fake.requests] == ["Bearer first", "Bearer second"]


async def test_tokens_are_counted_and_the_daily_budget_holds() -> None:
    telemetry, clock = PrometheusTelemetry(), Clock()
    async with model(says(GOOD), telemetry=telemetry, clock=clock, daily_tokens=20) as (llm, fake):
        await ask(llm)
        with pytest.raises(TransientError, match="daily_tokens"):
            await ask(llm)
        clock.time += timedelta(days=1)
        await ask(llm)
    assert len(fake.requests) == 2
    assert telemetry.value("log_anomaly_exporter_llm_tokens_total", direction="output") == 40


async def test_no_more_requests_at_a_time_than_configured() -> None:
    running = most = 0

    def slow() -> Reply:
        answer = says(GOOD)

        async def reply(request: Any) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return answer(request)

        return reply

    async with model(slow(), concurrency=1) as (llm, _):
        await asyncio.gather(*(ask(llm) for _ in range(4)))
    assert most == 1


async def test_check_proves_the_whole_way() -> None:
    async with model(says({"ok": True})) as (llm, _):
        checks = await llm.check()
    assert [(check.ok, check.detail) for check in checks] == [(True, "answers as json_schema")]
    async with model(fails(401)) as (llm, _):
        checks = await llm.check()
    assert not checks[0].ok
    assert "api_key" in checks[0].detail


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "https://api.openai.com/v1"}, "allow_remote: true"),
        ({"base_url": "http://169.254.169.254/v1"}, "outside of your own network"),
        ({"base_url": "localhost:8000"}, "absolute"),
        ({"base_url": "http://user:pw@localhost/v1"}, "api_key_file"),
        ({"base_url": "http://localhost/v1", "api_key": "a", "api_key_file": "/b"}, "one of them"),
        ({"base_url": "http://localhost/v1", "modle": "x"}, "modle"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**({"url": changes.pop("base_url")} | changes))


def test_a_remote_model_is_permitted_on_purpose() -> None:
    assert settings("https://api.openai.com/v1", allow_remote=True).allow_remote


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "::1", "10.1.2.3", "192.168.1.5", "ollama", "vllm.models.svc"]
)
def test_hosts_of_the_own_network_are_known(host: str) -> None:
    assert is_private(host)


def test_the_key_is_never_shown() -> None:
    shown = settings("http://localhost/v1", api_key="very-secret")
    assert "very-secret" not in repr(shown) + shown.model_dump_json()


def test_a_deep_answer_does_not_break_the_parser() -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        parse('{"a":' * 100_000, SCHEMA)


def test_capabilities_start_at_the_top() -> None:
    assert Capabilities().level == "json_schema"
