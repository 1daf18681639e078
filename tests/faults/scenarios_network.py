"""Faults of the network between SDK, publisher, gateways and browsers, by a proxy on that link.

Owns what is done; what must be true is judged by `checker`, and by what each asks for here. Listed in `scenarios`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from faults.proxy import DOWN, UP, Proxy
from faults.run import Run, Scenario
from faults.scenarios_processes import now
from faults.stack import Plan

LINKS = {"sdk": "SDK and publisher", "gateway": "gateway and publisher", "client": "browser and gateway"}
_NOTICED_SECONDS = 30.0
_HEARTBEAT = {"LANECAST_GATEWAY_HEARTBEAT_SECONDS": "10"}
_MILLION = 1_000_000


def _proxies(run: Run, link: str) -> Sequence[Proxy]:
    return run.stack.proxies[link]


def holding(link: str, *directions: str) -> Callable[[Run], Awaitable[None]]:
    """Return an injection that lets nothing pass until peers have given up, and then heals."""

    async def inject(run: Run) -> None:
        proxies = _proxies(run, link)
        await run.pause(0.5, 1.0)
        accepted = [proxy.accepted for proxy in proxies]
        began = time.monotonic()
        for proxy in proxies:
            proxy.hold(*directions)
        run.tell("nothing passes")
        await run.recover("notice", _given_up(proxies, accepted), began, limit=_NOTICED_SECONDS + 1)
        since, since_ns = now()
        for proxy in proxies:
            proxy.heal()
        run.tell("healed")
        await run.recover_flow(since, since_ns)
        await run.pause(1.0, 2.0)

    return inject


async def _given_up(proxies: Sequence[Proxy], accepted: Sequence[int]) -> None:
    """Return once somebody behind each proxy has given a connection up and asked for another."""
    while any(proxy.accepted == before for proxy, before in zip(proxies, accepted, strict=True)):
        await asyncio.sleep(0.02)


def short_holds(link: str) -> Callable[[Run], Awaitable[None]]:
    """Return an injection of short partitions, shorter than anybody's patience, in either or both directions."""

    async def inject(run: Run) -> None:
        proxies = _proxies(run, link)
        for number in range(10):
            await run.pause(0.2, 1.0)
            for proxy in proxies:
                proxy.hold(*run.random.choice([(UP,), (DOWN,), (UP, DOWN)]))
            await run.pause(0.1, 2.0)
            since, since_ns = now()
            for proxy in proxies:
                proxy.heal()
            await run.recover_flow(since, since_ns)
            run.tell(f"{number + 1} of 10")

    return inject


def cutting(link: str, times: int = 20) -> Callable[[Run], Awaitable[None]]:
    """Return an injection that resets all connections of a link, again and again, under changing delays."""

    async def inject(run: Run) -> None:
        for number in range(times):
            for proxy in _proxies(run, link):
                proxy.weather.delay_seconds = run.random.choice([0.0, 0.001, 0.02])
                proxy.weather.jitter_seconds = proxy.weather.delay_seconds
            await run.pause(0.1, 0.6)
            since, since_ns = now()
            for proxy in _proxies(run, link):
                proxy.cut()
            if run.random.random() < 0.7:
                await run.recover_flow(since, since_ns)
            run.tell(f"{number + 1} of {times}")
        for proxy in _proxies(run, link):
            proxy.heal()

    return inject


def orphaning(link: str) -> Callable[[Run], Awaitable[None]]:
    """Return an injection that leaves connections open which nobody serves any more."""

    async def inject(run: Run) -> None:
        await run.pause(0.5, 1.0)
        since, since_ns = now()
        for proxy in _proxies(run, link):
            proxy.orphan()
        await run.recover_flow(since, since_ns, limit=_NOTICED_SECONDS + run.scenario.recover_seconds)
        await run.pause(1.0, 2.0)

    return inject


def flipping(link: str) -> Callable[[Run], Awaitable[None]]:
    """Return an injection of wrong bits."""

    async def inject(run: Run) -> None:
        for proxy in _proxies(run, link):
            proxy.weather.flip_every_bytes = 50_000
        run.tell("bits flip")
        await asyncio.sleep(10)
        since, since_ns = now()
        for proxy in _proxies(run, link):
            proxy.heal()
        await run.recover_flow(since, since_ns)

    return inject


async def slow_browser(run: Run) -> None:
    """Have some browsers read nothing for a while; the others must not notice."""
    stack = run.stack
    await run.pause(2.0, 3.0)
    calm = stack.take_latency()
    memory = [gateway.memory_bytes() for gateway in stack.gateways]
    slow, others = stack.recorders[:5], stack.recorders[5:]
    for recorder in slow:
        recorder.stall()
    worst = 0
    for _ in range(30):
        await asyncio.sleep(0.5)
        grown = [gateway.memory_bytes() - then for gateway, then in zip(stack.gateways, memory, strict=True)]
        worst = max(worst, *grown)
    meanwhile = stack.take_latency()
    since, since_ns = now()
    await run.recover("others", stack.flowing(since_ns, others), since, limit=1.0)
    for recorder in slow:
        recorder.unstall()
    await run.recover("slow ones", stack.flowing(since_ns, slow), since)
    lost = [recorder.name for recorder in others for journal in recorder.journals.values() if journal.gaps]
    run.require(not lost, f"subscribers that were not slow have gaps: {lost[:5]}")
    run.require(worst < 64 * _MILLION, f"a gateway grew by {worst / _MILLION:.0f} MB")
    told = {journal.who for recorder in slow for journal in recorder.journals.values() if journal.gaps}
    run.note(
        grown_mb=round(worst / _MILLION, 1), p99_ms_calm=calm, p99_ms_meanwhile=meanwhile, slow_with_gaps=len(told),
        slow_closed=sum(recorder.closes["3000 SLOW_CONSUMER"] for recorder in slow),
    )  # fmt: skip


async def slow_gateway(run: Run) -> None:
    """Give one gateway a trickle of what it needs; the publisher's memory and the other gateway must not notice."""
    stack = run.stack
    await run.pause(2.0, 3.0)
    calm = stack.take_latency()
    before = stack.publisher.memory_bytes()
    slow = stack.proxies["gateway"][0]
    slow.weather.bytes_per_second = 50_000
    worst = 0
    for _ in range(30):
        await asyncio.sleep(0.5)
        worst = max(worst, stack.publisher.memory_bytes() - before)
    since, since_ns = now()
    slow.heal()
    await run.recover_flow(since, since_ns)
    run.require(worst < 64 * _MILLION, f"the publisher grew by {worst / _MILLION:.0f} MB")
    run.note(grown_mb=round(worst / _MILLION, 1), p99_ms_calm=calm)


def _plan(link: str, **changes: object) -> Plan:
    options = dict(_HEARTBEAT)
    base = Plan(events_per_second=500, subscribers=20, restless_seconds=0, proxied=frozenset({link}), gateway=options)
    return replace(base, **changes)  # type: ignore[arg-type]


def _of_link(link: str) -> list[Scenario]:
    between, plan = LINKS[link], _plan(link)
    noticed = "noticed within 30 s, healed within 5 s, no wrong event"
    cases = (
        ("partition", "partition, {}", noticed, holding(link)),
        ("one-way-up", "one-way partition, {}: nothing up", noticed, holding(link, UP)),
        ("one-way-down", "one-way partition, {}: nothing down", noticed, holding(link, DOWN)),
        ("half-open", "half-open TCP, {}", noticed, orphaning(link)),
        ("hiccups", "short partitions, {}", "healed within 5 s", short_holds(link)),
        ("cuts", "connections reset, with delays, {}", "healed within 5 s", cutting(link)),
        ("byte-flips", "byte flips, {}", "healed within 5 s, no wrong event", flipping(link)),
    )
    return [Scenario(f"{link}-{case}", row.format(between), must, inject, plan) for case, row, must, inject in cases]


SCENARIOS = (
    *(scenario for link in LINKS for scenario in _of_link(link)),
    Scenario(
        "slow-browser", "slow browser", "memory stays under the cap, others' p99 flat, the slow one gets named gaps",
        slow_browser,
        Plan(payload_bytes=2_000, subscribers=20, channels=2, events_per_second=1_000, restless_seconds=0,
             excused=frozenset({"SHED", "CONFLATED"})),
        recover_seconds=10.0,
    ),
    Scenario(
        "slow-gateway", "slow gateway", "memory stays under the cap, the other gateway does not notice",
        slow_gateway,
        Plan(payload_bytes=1_000, subscribers=20, events_per_second=1_000, restless_seconds=0,
             proxied=frozenset({"gateway"}), excused=frozenset({"SHED", "CONFLATED"})),
        recover_seconds=10.0,
    ),
)  # fmt: skip
