"""A layer that is served elsewhere, as its clients speak to it: JSON of our own values, and versions told apart."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from pydantic import field_validator

from exporter.model import Check, ExporterError, PermanentError, TransientError, dumps, from_json
from exporter.model.layers import VERSION, About, LayerName
from integrations._http import Client, HttpSettings, Refused, join

REMEDY = "start `log-anomaly-exporter serve {layer}` there, and give its token here (token_file)"


class LayerSettings(HttpSettings):
    """Where a layer is served, and how it is asked."""

    url: str
    """Its address, such as http://memory:9465."""

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#@]+[^\s?#]*", value):
            raise ValueError(f"{value!r} is not an absolute http(s) URL, such as http://memory:9465")
        return value.rstrip("/")


class LayerClient:
    """Asks one layer. What a release on either side can put right is a TransientError: it is asked again."""

    def __init__(self, settings: LayerSettings, layer: LayerName) -> None:
        self.place = f"{layer}: {settings.url}"
        self._layer = layer
        self._url = settings.url
        self._client = Client(settings, self.place)

    async def ask(self, kind: Any, method: str, path: str, body: Any = None, **query: str) -> Any:
        """The answer, a value of `kind`. Raises TransientError or PermanentError."""
        content: dict[str, Any] = {"params": query} if query else {}
        if body is not None:
            content |= {"data": dumps(body).encode("utf-8", "replace")}
            content |= {"headers": {"Content-Type": "application/json"}}
        try:
            answer = await self._client.request(method, join(self._url, f"/v{VERSION}{path}"), **content)
        except Refused as error:
            raise self._other_version(error) or error from None
        try:
            return from_json(kind, answer.json())
        except (ValueError, TypeError) as error:
            why = " ".join(str(error).split())[:200]
            raise TransientError(f"{self.place}: answers otherwise than version {VERSION} says: {why}") from None

    def _other_version(self, error: Refused) -> ExporterError | None:
        """What is said of a server that speaks no version of ours."""
        try:
            said = json.loads(error.answer.body)
            versions = said["versions"] if error.answer.status == 404 else []
        except (ValueError, TypeError, KeyError):
            return None
        known = ", ".join(str(one) for one in versions if isinstance(one, int))
        if not known:
            return None
        older = "this one" if min(v for v in versions if isinstance(v, int)) > VERSION else "that one"
        return TransientError(
            f"{self.place}: speaks version {known} of the interface, this release version {VERSION}: upgrade {older}"
        )

    async def check(self) -> Check:
        """Whether it is there, is this layer and of a version of ours, and lets us in."""
        remedy = REMEDY.format(layer=self._layer)
        try:
            about: About = await self.ask(About, "GET", "")
        except (TransientError, PermanentError) as error:
            return Check(self.place, False, str(error), remedy)
        if about.layer != self._layer:
            return Check(self.place, False, f"is the layer {about.layer}", remedy)
        model = f", model {about.model}" if about.model else ", no model"
        return Check(self.place, True, f"release {about.release}, version {about.version} of the interface{model}")

    async def close(self) -> None:
        await self._client.close()


def part(text: str) -> str:
    """A part of a path.

    >>> part("a/b c")
    'a%2Fb%20c'
    """
    return quote(text, safe="")
