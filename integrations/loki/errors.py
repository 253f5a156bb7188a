"""Loki's refusals, told apart."""

from __future__ import annotations

from exporter.model import ExporterError, TransientError
from integrations._http import Refused, Unready

SIGNS_OF_TOO_MUCH = ("too many bytes", "query length", "deadline exceeded", "too many chunks", "time range exceeds")


class TooMuch(TransientError):
    """The server cannot answer for so long a range; a shorter one may do."""


class TooLarge(TransientError):
    """The server cannot send so many lines at once; fewer may do."""


def too_much(error: ExporterError) -> bool:
    if isinstance(error, Unready | Refused):
        text = error.answer.text()
        return error.answer.status in (413, 504) or any(sign in text for sign in SIGNS_OF_TOO_MUCH)
    return isinstance(error.__cause__, TimeoutError)


def outcome_of(error: ExporterError) -> str:
    return "transient" if isinstance(error, TransientError) else "permanent"


def remedy_for(error: ExporterError) -> str:
    """What the operator can do about an error of `check`."""
    words = str(error)
    status = error.answer.status if isinstance(error, Unready | Refused) else 0
    if "no org id" in words:
        return "This server has tenants: set `tenant` (sent as X-Scope-OrgID)."
    if status in (401, 403):
        return "Give `username` and `password`, or `token`, of somebody who may read; and the right `tenant`."
    if status == 404:
        return "Give as `url` the server's address without /loki/api/v1; a gateway may want a path before it."
    if "parse error" in words:
        return 'Correct `query`: a stream selector such as {namespace="shop"}, then line filters such as |= "text".'
    return "Check `url`, and that the server is ready (its page /ready)."
