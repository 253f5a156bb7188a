"""Read the body of a request: in time, within its limit, and inflated only for who may write."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web

TIMEOUT = 30.0
"""Seconds within which a body must have arrived."""

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


async def read(request: web.Request, may_inflate: bool, limit: int) -> bytes:
    """At most `limit` bytes, packed and unpacked. Raises what is answered to anything else."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity") and not may_inflate:
        raise web.HTTPUnsupportedMediaType(text="A compressed body is taken with a token alone; send it plain.")
    if encoding not in ("", "identity", "gzip", "deflate"):
        raise web.HTTPUnsupportedMediaType(text="This compression is not known here; send gzip or plain.")
    try:
        async with asyncio.timeout(TIMEOUT):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not arrive in time.") from None
    return body if encoding in ("", "identity") else await asyncio.to_thread(_inflated, body, limit)


def _inflated(body: bytes, limit: int) -> bytes:
    inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = inflating.decompress(body, limit + 1)
    except zlib.error:
        raise web.HTTPBadRequest(text="The body is not what its Content-Encoding says.") from None
    if len(found) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, len(found), text="The body is too large when it is inflated.")
    if not inflating.eof:
        raise web.HTTPBadRequest(text="The body ends before it is whole.")
    return found
