"""The model's client against a scripted server over real HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from exporter.model import Meter, PermanentError, Telemetry, TooLongError, TransientError
from exporter.telemetry import PrometheusTelemetry
from integrations.openai import OpenAISettings
from integrations.openai.answers import InvalidAnswer, parse
from integrations.openai.capabilities import Capabilities
from integrations.openai.client import OpenAI
from integrations.openai.network import is_private, strangers
from tests.fakes.llm import FakeLLM, Reply, Request, answers_oddly, completion, fails, hangs, says, scripted
from tests.fakes.serving import serving
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


@pytest.mark.parametrize("first", ["no idea", '{"reply": "yes"}', "[1, 2]", '{"answer": ' * 5000])
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
    assert len(fake.requests) <= 12


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
        (says("I think that", finish="length"), "raise max_tokens"),
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


async def test_tokens_are_counted_by_model_and_for_who_asks() -> None:
    telemetry, meter = PrometheusTelemetry(), Meter()
    async with model(says("no idea"), says(GOOD), telemetry=telemetry) as (llm, _):
        await llm.complete("the system", "the user", SCHEMA, meter)
    assert (meter.calls, meter.received) == (2, 40)
    assert telemetry.value("log_anomaly_exporter_llm_tokens_total", direction="output", model="qwen") == 40


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
    assert [(check.ok, check.detail) for check in checks] == [(True, "answers as bounded")]
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
    assert Capabilities().level == "bounded"


# --- Odd servers ------------------------------------------------------------------------------------------

BOUNDED = {
    "type": "object",
    "properties": {"answer": {"type": "array", "maxItems": 3, "items": {"type": "string", "enum": ["F1", "F2"]}}},
    "required": ["answer"],
    "additionalProperties": False,
}


def unprocessable(where: str, message: str) -> dict[str, Any]:
    """What FastAPI answers to what it does not know."""
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", *where.split(".")], "msg": message, "input": {}}]}


def has(name: str, body: Any) -> bool:
    return f'"{name}"' in json.dumps(body)


EXTRA = "Extra inputs are not permitted"


def says_no(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


def in_system(body: Any) -> bool:
    return bool(body["messages"][0]["role"] == "system")


REFUSING: dict[str, tuple[Any, int, Any]] = {
    "FastAPI": (lambda body: "response_format" in body, 422, unprocessable("response_format", EXTRA)),
    "FastAPI, deeper": (
        lambda body: has("strict", body),
        422,
        unprocessable("response_format.json_schema.strict", EXTRA),
    ),
    "400": (lambda body: has("json_schema", body), 400, says_no("response_format type json_schema is unknown")),
    "500": (lambda body: "response_format" in body, 500, says_no("response_format is not implemented")),
    "501": (lambda body: "response_format" in body, 501, says_no("Not Implemented")),
    "501, as text": (lambda body: "response_format" in body, 501, "Not Implemented"),
    "strict": (lambda body: has("strict", body), 400, {"error": "unknown field: strict"}),
    "additionalProperties": (
        lambda body: has("additionalProperties", body),
        400,
        {"message": "additionalProperties is not supported in a schema"},
    ),
    "maxItems": (
        lambda body: has("maxItems", body),
        400,
        says_no("Invalid schema: keyword maxItems not allowed"),
    ),
    "a grammar": (lambda body: has("enum", body), 400, says_no("Failed to parse grammar")),
    "the system role": (in_system, 400, says_no("System role not supported")),
    "roles of a template": (in_system, 500, says_no("Conversation roles must alternate user/assistant/user/assistant")),
    "fewer tokens": (lambda body: body.get("max_tokens", 0) > 512, 400, says_no("max_tokens must be at most 512")),
    "fewer tokens, FastAPI": (
        lambda body: body.get("max_tokens", 0) > 1024,
        422,
        unprocessable("max_tokens", "Input should be less than or equal to 1024"),
    ),
}


@pytest.mark.parametrize("name", REFUSING)
async def test_what_a_server_refuses_is_left_out_and_the_rest_is_asked(name: str) -> None:
    refuses, status, words = REFUSING[name]

    def reply(request: Request) -> web.Response:
        if refuses(request.body):
            text = words if isinstance(words, str) else json.dumps(words)
            return web.Response(text=text, status=status, content_type="application/json")
        return web.json_response(completion(json.dumps({"answer": ["F1"]})))

    async with model(reply) as (llm, fake):
        assert await llm.complete("the system", "the user", BOUNDED) == {"answer": ["F1"]}
        refused = len(fake.requests)
        assert await llm.complete("the system", "the user", BOUNDED) == {"answer": ["F1"]}
    assert refused in (2, 3)
    assert len(fake.requests) == refused + 1, "what it refused is remembered"
    assert "the system" in json.dumps(fake.requests[-1].body["messages"]), "nothing that is said is lost"


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": '{"answer":'}, {"type": "text", "text": ' "yes"}'}]},
        {"content": [{"type": "thinking", "thinking": "hm {}"}, {"type": "text", "text": json.dumps(GOOD)}]},
        {"content": "", "reasoning_content": f"So it is: {json.dumps(GOOD)}"},
        {"content": None, "reasoning": json.dumps(GOOD)},
        {"content": json.dumps(GOOD), "reasoning_content": '{"answer": "no"}'},
        {"content": f'<thinking>{{"answer": "no"}}</thinking>{json.dumps(GOOD)}'},
        {"content": f"<|channel|>analysis<|message|>{{}}<|end|><|channel|>final<|message|>{json.dumps(GOOD)}"},
        {"content": f'{{"answer": "no"}} or rather {json.dumps(GOOD)}'},
    ],
)  # fmt: skip
async def test_an_answer_is_found_wherever_a_server_puts_it(message: dict[str, Any]) -> None:
    whole = {"role": "assistant", **message}
    body = {
        "id": "1",
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": whole}],
    }
    async with model(answers_oddly(json.dumps(body))) as (llm, _):
        assert await ask(llm) == GOOD


async def test_a_prompt_that_does_not_fit_is_told_apart_from_what_is_refused() -> None:
    said = "This model's maximum context length is 4096 tokens. However, you requested 5300 tokens"
    async with model(fails(400, said)) as (llm, _):
        with pytest.raises(TooLongError):
            await ask(llm)


def certificate(folder: Path) -> ssl.SSLContext:
    """Signed by itself alone."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificate, is not there")
async def test_a_certificate_that_is_not_trusted_names_what_trusts_it(tmp_path: Path) -> None:
    async with serving(web.Application(), certificate(tmp_path)) as url:
        llm = OpenAI(settings(f"{url}/v1"), PrometheusTelemetry())
        with pytest.raises(PermanentError, match=r"certificate is not trusted .*tls\.ca_file"):
            await ask(llm)
        await llm.close()


async def test_headers_are_sent_and_never_shown() -> None:
    async with model(says(GOOD), headers={"X-Tenant": "blue"}) as (llm, fake):
        await ask(llm)
    assert fake.requests[0].headers["X-Tenant"] == "blue"
    assert "blue" not in repr(settings("http://localhost/v1", headers={"X-Tenant": "blue"}))


@pytest.mark.parametrize(
    ("host", "outside"),
    [
        ("127.0.0.1", False), ("2130706433", False), ("0x7f000001", False), ("10.1.2.3", False), ("fd00::1", False),
        ("134744072", True), ("8.8.8.8", True), ("169.254.169.254", True), ("2852039166", True), ("fe80::1", True),
        ("100.64.0.1", True), ("::ffff:8.8.8.8", True), ("localhost", False),
    ],
)  # fmt: skip
async def test_an_address_is_judged_by_where_it_leads(host: str, outside: bool) -> None:
    assert bool(await strangers(host)) is outside
    if host != "localhost":
        assert is_private(host) is not outside


async def test_a_name_that_leads_outside_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def elsewhere(self: Any, *asked: Any, **options: Any) -> Any:
        return [(2, 1, 6, "", ("203.0.113.7" if asked[0] == "models" else "8.8.8.8", 0))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", elsewhere)
    llm = OpenAI(settings("http://gateway/v1"), PrometheusTelemetry())
    with pytest.raises(PermanentError, match="allow_remote: true"):
        await ask(llm)
    await llm.close()
