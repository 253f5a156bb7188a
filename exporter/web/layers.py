"""A layer over HTTP: JSON by a table of routes, the OpenAPI document of that table, metrics and health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from exporter.model import ExporterError, Telemetry, TransientError, to_json
from exporter.model.layers import VERSION, ConflictingError, LayerService, Route, UnknownError, UnusableError
from exporter.web import auth, bodies
from exporter.web.door import Door, guarded, listen, reached
from exporter.web.settings import Guarded, MemoryServiceSettings, ReportServiceSettings

OPEN_PATHS = ("/metrics", "/-/")

COME_AGAIN = 2
"""Seconds after which a request is to be sent again that found no room."""

LayerSettings = MemoryServiceSettings | ReportServiceSettings


def create_layer(service: LayerService, access: Callable[[], Guarded], telemetry: Telemetry) -> web.Application:
    """All that is served of a layer; `access` answers the settings by which each request is judged."""
    settings = access().settings
    door = Door(access, telemetry, "", _error, OPEN_PATHS)
    app = guarded(door, settings.client_max_size)
    layer = _Layer(service, access, telemetry)
    app.add_routes(
        [
            *(web.route(route.method, route.path, layer.answering(route)) for route in service.routes),
            web.get(f"/v{VERSION}/openapi.json", layer.openapi),
            web.get("/metrics", layer.metrics),
            web.get("/-/healthy", layer.healthy),
            web.get("/-/ready", layer.ready),
            web.route("*", "/{path:.*}", layer.nothing),
        ]
    )
    return app


@asynccontextmanager
async def serve_layer(service: LayerService, access: Callable[[], Guarded], telemetry: Telemetry) -> AsyncIterator[str]:
    """Serve while the block runs, which is given the address on this machine."""
    app = create_layer(service, access, telemetry)
    async with reached(await listen(app, access().settings, telemetry, f"serve.{service.name}")) as url:
        yield url


class _Layer:
    """The handlers of one layer."""

    def __init__(self, service: LayerService, access: Callable[[], Guarded], telemetry: Telemetry) -> None:
        self._service = service
        self._access = access
        self._telemetry = telemetry
        self._in_hand = 0

    def answering(self, route: Route) -> Callable[[web.Request], Any]:
        """The handler of a route: counted, timed, and one of at most so many at a time."""

        async def answer(request: web.Request) -> web.StreamResponse:
            self._require_token(request)
            began, status = time.monotonic(), 500
            try:
                response = await self._answer(route, request)
                status = response.status
                return response
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                named = f"{self._service.name} {route.method} {route.path}"
                self._telemetry.count("layer_requests", route=named, status=str(status))
                self._telemetry.observe("layer_seconds", time.monotonic() - began, route=named)

        return answer

    async def _answer(self, route: Route, request: web.Request) -> web.Response:
        settings = self._access().settings
        if self._in_hand >= getattr(settings, "at_once", 1):
            self._telemetry.count("web_refused", reason="full")
            text = "So many requests are in hand that this one is to be sent again."
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": str(COME_AGAIN)})
        self._in_hand += 1
        try:
            asked = await self._asked(route, request, settings.client_max_size)
            return _json(await route.work(asked, request.match_info))
        except UnknownError as error:
            raise web.HTTPNotFound(text=str(error)) from None
        except UnusableError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        except ConflictingError as error:
            raise web.HTTPConflict(text=str(error)) from None
        except TransientError as error:
            wait = round(error.retry_after.total_seconds()) if error.retry_after else COME_AGAIN
            raise web.HTTPServiceUnavailable(text=str(error), headers={"Retry-After": str(max(1, wait))}) from None
        except ExporterError as error:
            # What this layer itself rests on says no; whoever asks can do nothing about that but come again.
            raise web.HTTPBadGateway(text=str(error)) from None
        finally:
            self._in_hand -= 1

    async def _asked(self, route: Route, request: web.Request, limit: int) -> Any:
        if route.takes is None:
            return None
        if route.method == "GET":
            return bodies.value(route.takes, dict(request.query))
        body = await bodies.read_object(request, limit)
        return await asyncio.to_thread(bodies.value, route.takes, body)

    def _require_token(self, request: web.Request) -> None:
        settings = self._access().settings
        if settings.auth == "bearer":
            auth.require_write(request, settings.tokens, where=f"serve.{self._service.name}")

    async def openapi(self, request: web.Request) -> web.Response:
        return web.json_response(openapi(self._service))

    async def metrics(self, _: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=self._service.metrics().encode(), headers=headers)

    async def healthy(self, _: web.Request) -> web.Response:
        return _json({"healthy": True})

    async def ready(self, _: web.Request) -> web.Response:
        reasons = await self._service.unready()
        self._telemetry.gauge("ready", float(not reasons))
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def nothing(self, request: web.Request) -> web.Response:
        """What is asked of another version is told which one this is."""
        version = request.path.split("/", 2)[1]
        if version[:1] == "v" and version[1:].isdigit() and version != f"v{VERSION}":
            text = (
                f"This is version {VERSION} of the interface, and version {version[1:][:9]} was asked for: let both "
                "sides be of one release."
            )
            return web.json_response({"error": text, "versions": [VERSION]}, status=404)
        raise web.HTTPNotFound(text=f"There is nothing at this address: this is the layer {self._service.name}.")


# --- OpenAPI ------------------------------------------------------------------------------------------


class _Schemas(GenerateJsonSchema):
    """Pydantic's generator, with durations as they are sent: in seconds."""

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "number", "description": "seconds"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def openapi(service: LayerService) -> dict[str, Any]:
    """The OpenAPI document (3.1) of a layer, made of its routes and of the values that they take and give."""
    kinds = {kind for route in service.routes for kind in (route.takes, route.gives) if kind is not None}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    refs, definitions = TypeAdapter.json_schemas(
        [(kind, "validation", TypeAdapter(kind)) for kind in ordered],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    schemas = {kind: refs[kind, "validation"] for kind in ordered}
    paths: dict[str, Any] = {}
    for route in service.routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, definitions["$defs"])
    return {
        "openapi": "3.1.0",
        "info": {"title": f"log-anomaly-exporter: {service.name}", "version": str(VERSION)},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**definitions["$defs"], "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "versions": {"type": "array", "items": {"type": "integer"}}},
    "required": ["error"],
}

_REFUSALS = (400, 401, 403, 404, 409, 413, 415, 421, 502, 503)


def _operation(route: Route, schemas: Mapping[type, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    operation: dict[str, Any] = {"summary": route.summary, "parameters": parameters}
    if route.takes is not None and route.method == "GET":
        properties = definitions[schemas[route.takes]["$ref"].rpartition("/")[2]]["properties"]
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    elif route.takes is not None:
        operation["requestBody"] = {"required": True, **_content(schemas[route.takes])}
    operation["responses"] = {
        "200": {"description": HTTPStatus(200).phrase, **_content(schemas[route.gives])},
        **{
            str(status): {
                "description": HTTPStatus(status).phrase,
                **_content({"$ref": "#/components/schemas/Error"}),
            }
            for status in _REFUSALS
        },
    }
    return operation


def _content(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _error(request: web.Request, status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(to_json(value), status=status)
