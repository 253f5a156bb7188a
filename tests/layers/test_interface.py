"""Layers over HTTP: what their OpenAPI document says is what they answer, and nobody is answered who may not ask."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from exporter.ingest.redaction import Redactor
from exporter.memory.embedding import HashingEmbedder
from exporter.memory.recall import Memory
from exporter.model import Context, IncidentDocument, SystemClock, TransientError, to_json
from exporter.model.facts import Facts, Failing
from exporter.model.layers import Documents, LayerService, RecallRequest, ReportRequest
from exporter.report import rules
from exporter.run.serving import MemoryService, ReportService, described
from exporter.telemetry import PrometheusTelemetry
from exporter.web.layers import create_layer
from exporter.web.settings import Guarded, MemoryServiceSettings
from integrations.local_incidents import LocalIncidents, LocalIncidentsSettings
from integrations.remote_memory import RemoteMemorySettings
from tests import samples
from tests.contracts.test_stores import KeptDocuments, document
from tests.fakes.serving import serving
from tests.layers.serving import TOKEN, served
from tests.memory.test_memory import DATABASE, DISK, failure, kept, remember

ROOT = Path(__file__).parents[2]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
NAMES = ("memory", "report")

REDACT = Redactor(b"a key of an installation").redact


class Asked:
    """A layer that is asked, and what its document says of the answers."""

    def __init__(self, session: aiohttp.ClientSession, url: str, name: str) -> None:
        self.session, self.url, self.document = session, url, described(name)

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        return await self._asked("post", path, status, json=to_json(body))

    async def delete(self, path: str, status: int = 200) -> Any:
        return await self._asked("DELETE", path, status)

    async def get(self, path: str, status: int = 200, **query: str) -> Any:
        return await self._asked("get", path, status, params=query)

    async def _asked(self, method: str, path: str, status: int, **content: Any) -> Any:
        async with self.session.request(method, f"{self.url}/v1{path}", headers=HEADERS, **content) as response:
            answer = await response.json()
            assert response.status == status, answer
        self.validate(method, path, status, answer)
        return answer

    def validate(self, method: str, path: str, status: int, answer: Any) -> None:
        """The answer is as the document says."""
        known = f"/v1{path}"
        if known not in self.document["paths"]:
            parts = known.split("/")
            known = "/".join(("{key}" if number == 3 else part) for number, part in enumerate(parts))
        said = self.document["paths"][known][method.lower()]["responses"][str(status)]
        schema = {**said["content"]["application/json"]["schema"], "components": self.document["components"]}
        Draft202012Validator(schema).validate(answer)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def memory(session: aiohttp.ClientSession) -> AsyncIterator[Asked]:
    """A memory of two failures."""
    known = Memory(kept(), HashingEmbedder(), installation="here")
    await remember(known, failure("database", *DATABASE, days=12), failure("disk", *DISK, days=3))
    telemetry = PrometheusTelemetry()
    async with served(MemoryService(known, REDACT, telemetry, SystemClock()), telemetry) as url:
        yield Asked(session, url, "memory")
    await known.close()


@pytest.fixture
async def reports(session: aiohttp.ClientSession) -> AsyncIterator[Asked]:
    telemetry = PrometheusTelemetry()
    async with served(ReportService(None, REDACT, telemetry), telemetry) as url:
        yield Asked(session, url, "report")


# --- The document -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_document_is_printed_from_the_code(name: str) -> None:
    assert json.loads((ROOT / "docs" / f"{name}.openapi.json").read_text()) == described(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_route_is_in_the_document_and_every_path_of_it_is_a_route(name: str) -> None:
    telemetry = PrometheusTelemetry()
    memory = Memory(kept(), HashingEmbedder())
    service: LayerService = ReportService(None, str, telemetry)
    if name == "memory":
        service = MemoryService(memory, str, telemetry, SystemClock())
    app = create_layer(service, lambda: Guarded(MemoryServiceSettings()), telemetry)
    served_ones = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/v1") and route.method != "HEAD"
    }
    said = {(method, path) for path, methods in described(name)["paths"].items() for method in methods}
    assert served_ones == said | {("get", "/v1/openapi.json")}
    refs = json.dumps(described(name)).split('"$ref": "#/components/schemas/')[1:]
    assert {ref.partition('"')[0] for ref in refs} <= described(name)["components"]["schemas"].keys()


async def test_the_document_is_served(memory: Asked) -> None:
    async with memory.session.get(f"{memory.url}/v1/openapi.json", headers=HEADERS) as response:
        assert await response.json() == memory.document


# --- Memory -------------------------------------------------------------------------------------------


async def test_an_incident_is_answered_with_its_like(memory: Asked) -> None:
    asked = RecallRequest(incident=failure("new", *DATABASE), installation="here")
    (found,) = (await memory.post("/recall", asked))["similar"]
    assert (found["id"], found["tier"], found["elsewhere"]) == ("database", "same", "")
    assert found["common"]


async def test_any_text_is_answered_with_its_like(memory: Asked) -> None:
    text = "12:01 ERROR could not connect to db-7: connection refused\n12:02 connection pool exhausted: 20 of 20 in use"
    (found,) = (await memory.post("/recall", RecallRequest(text=text)))["similar"]
    assert found["id"] == "database"
    assert (await memory.post("/recall", RecallRequest(text="the cat sat on the mat")))["similar"] == []


async def test_facts_and_lines_are_answered_with_their_like(memory: Asked) -> None:
    line = replace(samples.incident().evidence[0], body="write to journal failed: no space left on device", severity=17)
    facts = Facts(samples.at(9), (Failing("payments", line.body, "", 17, 12, 0.0, samples.at(0), line.id),))
    found = (await memory.post("/recall", RecallRequest(facts=facts, evidence=(line,))))["similar"]
    assert [one["id"] for one in found] == ["disk"]


async def test_what_fixed_it_is_taken_told_and_taken_back(memory: Asked) -> None:
    said = {"fix": "raised the limit", "by": "ann"}
    assert (await memory.post("/documents/here:database/fix", said))["fix"] == "raised the limit"
    asked = RecallRequest(incident=failure("new", *DATABASE))
    (found,) = (await memory.post("/recall", asked))["similar"]
    assert (found["fix"], found["fixed_by"]) == ("raised the limit", "ann")
    await memory.post("/documents/here:database/fix", {"fix": ""})
    assert (await memory.get("/documents/here:database"))["fix"] is None


async def test_what_was_no_failure_is_recalled_no_more_until_that_is_taken_back(memory: Asked) -> None:
    asked = RecallRequest(incident=failure("new", *DATABASE))
    for rejected, found in ((True, 0), (False, 1)):
        await memory.post("/documents/here:database/reject", {"rejected": rejected})
        assert len((await memory.post("/recall", asked))["similar"]) == found


async def test_what_was_said_stays_when_its_installation_writes_it_again(memory: Asked) -> None:
    await memory.post("/documents/here:database/fix", {"fix": "raised the limit", "by": "ann"})
    await memory.post("/documents/here:disk/reject", {})
    again = [failure(name, *lines, days=days) for name, lines, days in (("database", DATABASE, 12), ("disk", DISK, 3))]
    known = Memory(kept(), HashingEmbedder(), installation="here")
    await remember(known, *(replace(one, revision=one.revision + 1) for one in again))
    later = [to_json(replace(one, embedding=())) async for one in known.store.everything()]
    await known.close()
    assert (await memory.post("/documents", {"documents": later}))["written"] == 2
    (found,) = (await memory.post("/recall", RecallRequest(incident=failure("new", *DATABASE))))["similar"]
    assert (found["fix"], found["fixed_by"]) == ("raised the limit", "ann")
    assert (await memory.post("/recall", RecallRequest(incident=failure("new", *DISK))))["similar"] == []


async def test_a_time_that_is_yet_to_come_is_taken_for_now(memory: Asked) -> None:
    said = {"fix": "raised the limit", "at": "2999-01-01T00:00:00Z"}
    assert (await memory.post("/documents/here:database/fix", said))["fixed_at"] < "2999"


async def test_what_is_said_while_the_incident_is_written_again_is_said_of_the_newest(
    session: aiohttp.ClientSession,
) -> None:
    class Overtaken(Memory):
        """Between reading and writing, its installation writes the next revision once."""

        overtaken = False

        async def keep(self, plain: IncidentDocument) -> None:
            if not self.overtaken:
                self.overtaken = True
                await super().keep(replace(document("a"), revision=plain.revision + 1))
            await super().keep(plain)

    known = Overtaken(kept(), HashingEmbedder())
    await known.store.put(document("a"))
    telemetry = PrometheusTelemetry()
    async with served(MemoryService(known, REDACT, telemetry, SystemClock()), telemetry) as url:
        asked = Asked(session, url, "memory")
        assert (await asked.post("/documents/a/fix", {"fix": "raised the limit"}))["revision"] == 2
        assert (await asked.get("/documents/a"))["fix"] == "raised the limit"
    await known.close()


async def test_what_goes_on_has_no_fix_yet_and_what_is_not_there_has_none(memory: Asked) -> None:
    going_on = replace(document("on", status="firing", ends_at=None), installation="here")
    await memory.post("/documents", {"documents": [to_json(going_on)]})
    assert "goes on" in (await memory.post("/documents/here:on/fix", {"fix": "x"}, 409))["error"]
    assert "none" not in (await memory.post("/documents/gone/fix", {"fix": "x"}, 404))["error"]


async def test_what_somebody_wants_forgotten_is_gone(memory: Asked) -> None:
    assert (await memory.delete("/documents/here:database"))["id"] == "database"
    await memory.get("/documents/here:database", 404)
    await memory.delete("/documents/here:database", 404)


async def test_whoever_serves_drops_what_is_too_old_of_those_that_write_here() -> None:
    store = LocalIncidents(
        KeptDocuments(), LocalIncidentsSettings(retention=timedelta(days=400)), installation="server"
    )
    known = Memory(store, HashingEmbedder(), installation="server")
    service = MemoryService(known, REDACT, PrometheusTelemetry(), SystemClock())
    long_ago = datetime.now(UTC) - timedelta(days=500)
    await service.put(Documents((document("old", installation="there", starts_at=long_ago),), again=True), {})
    await service.housekeep()
    assert [one async for one in store.everything()] == []
    await known.close()


async def test_all_that_is_remembered_comes_by_pages(memory: Asked) -> None:
    many = [to_json(document(f"{number:04}", installation="there")) for number in range(700)]
    for start in (0, 350):
        assert (await memory.post("/documents", {"documents": many[start : start + 350]}))["written"] == 350
    assert "at once" in (await memory.post("/documents", {"documents": many}, 400))["error"]
    first = await memory.get("/documents")
    second = await memory.get("/documents", after=first["after"])
    found = [one["id"] for page in (first, second) for one in page["documents"]]
    assert len(found) == len(set(found)) == 702
    assert second["after"] == ""


async def test_what_is_sent_is_redacted_before_it_is_kept(memory: Asked) -> None:
    secret = document("s", "password=hunter2secret refused", installation="there")
    await memory.post("/documents", {"documents": [to_json(replace(secret, embedding=(), embedding_model=""))]})
    kept_one = await memory.get("/documents/there:s")
    assert "hunter2secret" not in json.dumps(kept_one)
    await memory.post("/documents/there:s/fix", {"fix": "set password=hunter2secret"})
    assert "hunter2secret" not in json.dumps(await memory.get("/documents/there:s"))


# --- Report -------------------------------------------------------------------------------------------


async def test_the_deterministic_report_is_that_of_a_daemon(reports: Asked) -> None:
    asked = ReportRequest(incident=samples.incident(), similar=(samples.similar(),))
    answer = await reports.post("/report", asked)
    by_rules = rules.write(samples.incident(), (samples.similar(),))
    assert answer == {"report": to_json(by_rules), "failed": None, "asked": None}


async def test_facts_and_lines_of_another_tool_have_a_report(reports: Asked) -> None:
    line = replace(samples.incident().evidence[0], body="disk full, token=ghp_" + "a" * 36, severity=17)
    facts = Facts(samples.at(9), (Failing("payments", "disk full", "", 17, 12, 0.0, samples.at(0), line.id),))
    report = (await reports.post("/report", ReportRequest(facts=facts, evidence=(line,))))["report"]
    assert report["headline"].startswith("payments: disk full")
    assert any(line.id in claim["evidence"] for claim in report["what_happened"])


async def test_without_a_model_the_report_says_why_it_is_not_the_models(reports: Asked) -> None:
    answer = await reports.post("/report", ReportRequest(incident=samples.incident(), model=True))
    assert answer["report"]["writer"] == "rules"
    assert answer["failed"] == {
        "why": "no model is configured there; set llm",
        "retry_after": None,
        "answered": True,
        "passing": False,
    }


# --- Who may ask, and what is refused -----------------------------------------------------------------


async def test_nobody_is_answered_without_the_token(memory: Asked) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        async with memory.session.post(f"{memory.url}/v1/recall", json={}, headers=headers) as response:
            assert response.status == 401
            assert "serve.memory.token_file" in (await response.json())["error"]
    for path in ("/metrics", "/-/healthy"):
        async with memory.session.get(f"{memory.url}{path}") as response:
            assert response.status == 200


async def test_without_a_configured_token_it_is_shut_unless_it_is_open_to_all(session: aiohttp.ClientSession) -> None:
    telemetry = PrometheusTelemetry()
    for options, status in (({"token": None}, 403), ({"token": None, "auth": "none"}, 200)):
        service = ReportService(None, str, telemetry)
        async with served(service, telemetry, **options) as url, session.get(f"{url}/v1") as response:
            assert response.status == status


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"incident": {"id": "a"}}, "incident.fingerprint: Field required"),
        ({"incident": to_json(samples.incident()) | {"severity": "dire"}}, "incident.severity"),
        (
            {"incident": to_json(samples.incident()) | {"starts_at": "2026-01-05T12:00:00"}},
            "incident.starts_at: a time",
        ),
        ({}, "nothing to tell of"),
        ([], "not a JSON object"),
    ],
)
async def test_what_is_wrong_in_a_body_is_named(memory: Asked, body: Any, says: str) -> None:
    assert says in (await memory.post("/recall", body, 400))["error"]


@pytest.mark.parametrize(
    ("data", "status"), [(b"{", 400), (b'{"text": NaN}', 400), (b"[" * 100_000, 400), (b'"' + b"a" * 3_000 + b'"', 413)]
)
async def test_no_body_does_harm(session: aiohttp.ClientSession, data: bytes, status: int) -> None:
    telemetry = PrometheusTelemetry()
    service = ReportService(None, str, telemetry)
    limit = 2_000 if status == 413 else 1_000_000
    async with served(service, telemetry, client_max_size=limit) as url:
        headers = {**HEADERS, "Content-Type": "application/json"}
        async with session.post(f"{url}/v1/report", data=data, headers=headers) as response:
            assert response.status == status


async def test_what_finds_no_room_is_to_come_again(session: aiohttp.ClientSession) -> None:
    telemetry = PrometheusTelemetry()
    memory = Memory(kept(), HashingEmbedder())
    service = MemoryService(memory, str, telemetry, SystemClock())
    settings = MemoryServiceSettings(auth="none", at_once=1)
    app = create_layer(service, lambda: Guarded(settings), telemetry)
    second: list[Mapping[str, Any]] = []

    async def ask_again(asked: Any, path: Any) -> Any:
        async with session.get(f"{url}/v1/documents") as response:
            second.append({"status": response.status, "wait": response.headers["Retry-After"]})
        return await MemoryService.about(service, None, {})

    service.routes = [replace(one, work=ask_again) if one.path == "/v1" else one for one in service.routes]
    app = create_layer(service, lambda: Guarded(settings), telemetry)
    async with serving(app) as url, session.get(f"{url}/v1") as response:
        assert response.status == 200
    assert second == [{"status": 503, "wait": "2"}]
    assert telemetry.value("log_anomaly_exporter_web_refused_total", reason="full") == 1
    await memory.close()


async def test_requests_are_counted_and_timed_by_route(memory: Asked) -> None:
    await memory.get("/documents/here:disk")
    async with memory.session.get(f"{memory.url}/metrics") as response:
        text = await response.text()
    assert 'layer_requests_total{route="memory GET /v1/documents/{key}",status="200"} 1' in text


async def test_it_is_ready_once_its_embedder_is_loaded(session: aiohttp.ClientSession) -> None:
    memory, telemetry = Memory(kept(), HashingEmbedder()), PrometheusTelemetry()
    service = MemoryService(memory, str, telemetry, SystemClock())
    async with served(service, telemetry) as url:
        async with session.get(f"{url}/-/ready") as response:
            assert response.status == 503
        assert await service.warm_up() == []
        async with session.get(f"{url}/-/ready") as response:
            assert response.status == 200
    await memory.close()


# --- Versions -----------------------------------------------------------------------------------------


async def test_a_client_of_another_version_is_told_which_one_this_is(memory: Asked) -> None:
    async with memory.session.post(f"{memory.url}/v2/recall", json={}, headers=HEADERS) as response:
        answer = await response.json()
        assert (response.status, answer["versions"]) == (404, [1])
    assert "version 2 was asked for" in answer["error"]


@pytest.mark.parametrize(("theirs", "upgrade"), [(2, "upgrade this one"), (0, "upgrade that one")])
async def test_a_server_of_another_version_is_named_with_what_to_do_and_asked_again(theirs: int, upgrade: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"error": "no", "versions": [theirs]}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        asked = Memory.of(RemoteMemorySettings(type="remote", url=url), Context())
        with pytest.raises(TransientError, match=f"speaks version {theirs} of the interface.*{upgrade}"):
            await asked.recall(failure("new", *DATABASE))
        assert not (await asked.check())[0].ok
        await asked.close()


async def test_what_a_newer_release_adds_is_left_out(memory: Asked) -> None:
    asked = to_json(RecallRequest(incident=failure("new", *DATABASE)))
    asked["incident"]["mood"] = "dark"
    assert len((await memory.post("/recall", {**asked, "depth": 3}))["similar"]) == 1


async def test_the_other_layer_is_told_from_this_one(reports: Asked) -> None:
    settings = RemoteMemorySettings(
        type="remote", url=reports.url, token=SecretStr(TOKEN), timeout=timedelta(seconds=9)
    )
    asked = Memory.of(settings, Context())
    (check,) = await asked.check()
    await asked.close()
    assert (check.ok, check.detail) == (False, "is the layer report")
