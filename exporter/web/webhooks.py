"""Foreign alerts and deployments come in: authenticate, validate, hand over, answer at once.

Alertmanager tries again after 5xx and not after 4xx, so being busy is 503, and 4xx only what would fail for ever.
Nothing of a payload but plain names of fields is repeated in an answer, and nothing becomes a label.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from aiohttp import web

from exporter.model import OWN_NAME, Clock, Telemetry, stable_key
from exporter.model.questions import AlertTrigger, Backend, TakenAlert
from exporter.web import auth, bodies
from exporter.web.settings import Access
from exporter.wording.text import storable

log = logging.getLogger(__name__)

LOOKED_BACK = timedelta(days=1)
"""The logs of an alert that began earlier are those of so long ago."""

MAX_PAIRS = 64
"""Labels, and annotations, that are kept of an alert."""

MAX_NAME = 200
MAX_VALUE = 2_000
"""Characters that are kept of a name, and of the value of a label or annotation."""

MAX_AT_ONCE = 8
"""Bodies that are held in memory at the same time."""


class Webhooks:
    """The handlers of POST /webhooks/alertmanager and /webhooks/change."""

    def __init__(self, access: Callable[[], Access], backend: Backend, telemetry: Telemetry, clock: Clock) -> None:
        self._access = access
        self._backend = backend
        self._telemetry = telemetry
        self._clock = clock
        self._bodies = 0

    async def alertmanager(self, request: web.Request) -> web.Response:
        """Alertmanager's webhook (version 4), and Grafana Alerting's, which is nearly the same."""
        return await self._counted("alertmanager", self._alertmanager(request))

    async def change(self, request: web.Request) -> web.Response:
        """A deployment: `{"service": …, "version": …, "at": …}`, `at` being now when absent."""
        return await self._counted("change", self._change(request))

    async def _alertmanager(self, request: web.Request) -> web.Response:
        alerts = parse_alerts(await self._payload(request, may_be_signed=True))
        # A catch-all route sends our own alerts back to us.
        foreign = [alert for alert in alerts if alert.labels.get("source") != OWN_NAME]
        taken = await self._backend.take(foreign)
        outcomes: Counter[str] = Counter(map(_outcome_of, foreign, taken))
        outcomes["own"] = len(alerts) - len(foreign)
        for outcome, amount in (+outcomes).items():
            self._telemetry.count("webhook_alerts", amount, outcome=outcome)
        if outcomes["overloaded"]:
            taken_in = len(foreign) - outcomes["overloaded"]
            raise _busy(f"{taken_in:,} alerts were taken; for the others there is no room now.")
        return web.json_response({**dict(sorted((+outcomes).items())), **self._clamped(alerts)}, status=202)

    def _clamped(self, alerts: Sequence[AlertTrigger]) -> dict[str, str]:
        """What is said where alerts began so long ago that other logs are looked at than those of their beginning."""
        limit = self._clock.now() - LOOKED_BACK
        old = sum(alert.status == "firing" and alert.starts_at < limit for alert in alerts)
        said = f"{old} began more than a day ago: the logs of a day ago are looked at"
        return {"note": said} if old else {}

    async def _change(self, request: web.Request) -> web.Response:
        payload = await self._payload(request)
        service, version = (_required(payload, name) for name in ("service", "version"))
        at = self._clock.now() if payload.get("at") is None else _moment(payload["at"], "at")
        if at is None:
            raise _invalid("at is not a time of this era.")
        if not await self._backend.change(service, version, at):
            raise _busy("So many deployments are remembered that no more can be.")
        return web.json_response({"accepted": 1}, status=202)

    async def _payload(self, request: web.Request, may_be_signed: bool = False) -> dict[str, Any]:
        """The JSON of a request that may write. A signature covers the body, so that must be read first."""
        access = self._access().settings
        signature = access.grafana_signature if may_be_signed else None
        claims_signature = signature is not None and signature.header in request.headers
        if access.auth == "bearer" and not claims_signature:
            auth.require_write(request, access.tokens, basic=True)
        bodies.require_json(request)
        if self._bodies >= MAX_AT_ONCE:
            raise _busy("Too many requests at the same time.")
        self._bodies += 1
        try:
            proven = access.auth == "bearer" and not claims_signature
            body = await bodies.read(request, proven, access.client_max_size)
            if claims_signature and not auth.signed_by_grafana(request, body, signature, self._clock.now()):
                raise web.HTTPUnauthorized(text="The signature does not fit; compare the secrets, and the clocks.")
            return await asyncio.to_thread(bodies.object_in, body)
        finally:
            self._bodies -= 1

    async def _counted(self, endpoint: str, work: Any) -> web.Response:
        try:
            response: web.Response = await work
        except web.HTTPException as error:
            self._telemetry.count("webhook_requests", endpoint=endpoint, outcome=_outcome(error.status))
            raise
        except Exception:
            self._telemetry.count("webhook_requests", endpoint=endpoint, outcome="failed")
            raise
        self._telemetry.count("webhook_requests", endpoint=endpoint, outcome="accepted")
        return response


def parse_alerts(payload: Any) -> list[AlertTrigger]:
    """The alerts of a payload; raises 400 that names the place. Fields that we do not know are left alone."""
    alerts = _mapping(payload, "the body").get("alerts")
    if not isinstance(alerts, Sequence) or isinstance(alerts, str):
        raise _invalid(
            "The body has no list `alerts`: this endpoint takes the default payload of Alertmanager's and "
            "Grafana Alerting's webhooks, not a custom template."
        )
    group = _group(payload)
    return [_alert(alert, f"alerts[{index}]", group) for index, alert in enumerate(alerts)]


def _group(payload: Mapping[str, Any]) -> str:
    """What a sender groups by, as a name of bounded length; none where it does not say."""
    key = payload.get("groupKey") or payload.get("groupLabels")
    return f"{stable_key(json.dumps(key, sort_keys=True)):016x}" if key else ""


def _outcome_of(alert: AlertTrigger, taken: TakenAlert) -> str:
    return "resolved" if taken == "accepted" and alert.status == "resolved" else taken


def _alert(value: Any, place: str, group: str) -> AlertTrigger:
    alert = _mapping(value, place)
    labels = _texts(alert.get("labels"), f"{place}.labels")
    if not labels:
        raise _invalid(f"{place}.labels is empty.")
    starts_at = _moment(alert.get("startsAt"), f"{place}.startsAt")
    if starts_at is None:
        raise _invalid(f"{place}.startsAt is the zero time; send when the alert began.")
    ends_at = alert.get("endsAt")
    sent_as = alert.get("fingerprint")
    return AlertTrigger(
        fingerprint=_fingerprint(alert["labels"]),
        status=_status(alert.get("status"), place),
        starts_at=starts_at,
        ends_at=None if ends_at in (None, "") else _moment(ends_at, f"{place}.endsAt"),
        labels=labels,
        annotations=_texts(alert.get("annotations"), f"{place}.annotations"),
        group=group,
        sent_as=_clean(sent_as, MAX_NAME) if sent_as and isinstance(sent_as, str) else _as_before(labels),
    )


def _status(value: Any, place: str) -> Literal["firing", "resolved"]:
    if value == "firing":
        return "firing"
    if value == "resolved":
        return "resolved"
    raise _invalid(f"{place}.status is neither firing nor resolved.")


def _fingerprint(labels: Mapping[str, Any]) -> str:
    """Of all labels, also of those that are too many or too long to be kept: not what the sender says it is."""
    return f"{stable_key(json.dumps(labels, sort_keys=True)):016x}"


def _as_before(labels: Mapping[str, str]) -> str:
    """How release 0.1 called an alert whose sender has no name for it."""
    return f"{stable_key(json.dumps(sorted(labels.items()))):016x}"


def _moment(value: Any, place: str) -> datetime | None:
    """A time in UTC; None for the zero time of Go, which stands for "not yet"."""
    if not isinstance(value, str):
        raise _invalid(f"{place} is not an RFC 3339 time.")
    try:
        moment = datetime.fromisoformat(value)
        if moment.year == 1:  # to convert it would overflow west of Greenwich
            return None
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _invalid(f"{place} is not an RFC 3339 time.") from None


def _texts(value: Any, place: str) -> dict[str, str]:
    """Names and values as texts, at most MAX_PAIRS of them, each cut; null is no value."""
    pairs = _mapping({} if value is None else value, place)
    return {
        _clean(str(name), MAX_NAME): _clean(item if isinstance(item, str) else json.dumps(item), MAX_VALUE)
        for name, item in list(pairs.items())[:MAX_PAIRS]
        if item is not None
    }


def _clean(text: str, limit: int) -> str:
    """Cut, and fit to be kept; it is cleaned where it is shown."""
    return storable(text[:limit])


def _required(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME:
        raise _invalid(f"{name} is not a text of 1 to {MAX_NAME} characters.")
    return _clean(value.strip(), MAX_NAME)


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _invalid(f"{place} is not a JSON object.")
    return value


def _invalid(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=text[:1].upper() + text[1:] if text.startswith("the body") else text)


def _busy(text: str) -> web.HTTPServiceUnavailable:
    return web.HTTPServiceUnavailable(text=f"{text} Try again later.", headers={"Retry-After": "30"})


def _outcome(status: int) -> str:
    return {401: "unauthorized", 403: "unauthorized", 503: "overloaded"}.get(status, "invalid")
