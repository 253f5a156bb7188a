"""The fault proxy: what the place behind it gets, and what who asks gets to see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.fakes.faulty import FAULTS, Fault, FaultProxy
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving


@pytest.fixture
async def place() -> AsyncIterator[tuple[Recorder, FaultProxy]]:
    recorder = Recorder()
    async with serving(recorder.app()) as url, FaultProxy(url) as proxy:
        yield recorder, proxy


async def post(proxy: FaultProxy) -> int | str:
    """The status, and the kind of the body if it is a page; or the name of what went wrong."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(f"{proxy.url}/hook", json={}) as answer:
                return "page" if answer.content_type == "text/html" else answer.status
        except aiohttp.ClientError as error:
            return type(error).__name__


async def arrived(proxy: FaultProxy) -> None:
    """When a request has come to the proxy."""
    while True:
        if proxy.exchanges:
            return
        await asyncio.sleep(0)


SEEN: dict[Fault, tuple[int | str, bool]] = {
    "calm": (200, True),
    "down": ("ClientConnectorError", False),
    "slow": (200, True),
    "429": (429, False),
    "500": (500, False),
    "HTML page": ("page", False),
    "stored, then 500": (500, True),
}


@pytest.mark.parametrize("fault", SEEN)
async def test_a_fault_is_seen_by_who_asks_and_maybe_not_by_the_place(
    place: tuple[Recorder, FaultProxy], fault: Fault
) -> None:
    recorder, proxy = place
    await proxy.become(fault)
    assert (await post(proxy), len(recorder.requests) == 1) == SEEN[fault]
    await proxy.become("calm")
    assert await post(proxy) == 200


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - set(SEEN) - {"half-accepting"}))
async def test_a_place_that_is_silent_stays_silent_to_who_asked_then(
    place: tuple[Recorder, FaultProxy], fault: Fault
) -> None:
    recorder, proxy = place
    await proxy.become(fault)
    asked = asyncio.create_task(post(proxy))
    await arrived(proxy)
    await proxy.become("calm")
    assert await post(proxy) == 200
    assert not asked.done()
    asked.cancel()
    assert len(recorder.requests) == (2 if fault.startswith("stored") else 1)


async def test_a_place_that_accepts_half_takes_every_second_request(place: tuple[Recorder, FaultProxy]) -> None:
    recorder, proxy = place
    await proxy.become("half-accepting")
    assert [await post(proxy) for _ in range(4)] == [503, 200, 503, 200]
    assert len(recorder.requests) == 2


async def test_an_exchange_says_whether_the_place_got_it_and_whether_its_answer_came(
    place: tuple[Recorder, FaultProxy],
) -> None:
    _, proxy = place
    for fault in ("calm", "stored, then 500", "500"):
        await proxy.become(fault)
        await post(proxy)
    assert [(one.stored, one.answered) for one in proxy.exchanges] == [(True, True), (True, False), (False, False)]
