"""The four AI pages in a real Chromium, with events that the example services have published, online and offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page_samples as samples
import pytest
from google.protobuf.json_format import ParseDict
from page_stack import Page, Stack, browser_page, running_stack

from lanecast import AsyncPublisher, Priority
from lanecast.ai.v1 import analytics_pb2, bots_pb2, concierge_pb2, strategy_pb2

EXAMPLES = Path(__file__).with_name("example_events.ndjson")
"""Taken from the example services with `lanecast tail --json`."""
TYPES = {
    "lanecast.ai.v1.ConciergeInsight": concierge_pb2.ConciergeInsight,
    "lanecast.ai.v1.BotHandoff": bots_pb2.BotHandoff,
    "lanecast.ai.v1.ShapExplanation": analytics_pb2.ShapExplanation,
    "lanecast.ai.v1.StrategyRecommendation": strategy_pb2.StrategyRecommendation,
}
CONNECTION = "[data-testid=connection]"
HERO = "[data-testid=hero]"
WATERFALL = "[data-testid=waterfall]"
SHOWN = {
    "insights": HERO,
    "valuations": f"{WATERFALL}[data-complete=true]",
    "strategy": "[data-testid=recommendation]",
    "handoffs": "[data-testid=handoff]",
}
VIEWS = (
    {"scheme": "light", "width": 1280, "height": 860},
    {"scheme": "dark", "width": 360, "height": 740},
)


def example_events() -> Iterator[samples.Sample]:
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        message = ParseDict(event["data"], TYPES[event["type"]]())
        yield samples.Sample(event["channel"], Priority[event["lane"]], message)


def data_of(kind: str) -> list[dict[str, Any]]:
    events = (json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines())
    return [event["data"] for event in events if event["type"].endswith(kind)]


async def publish(stack: Stack, *chosen: samples.Sample) -> None:
    async with AsyncPublisher(stack.publisher) as publisher:
        for sample in chosen:
            await publisher.publish(sample.channel, sample.message, priority=sample.lane)


async def check_sum(page: Page) -> bool:
    """See that what is drawn adds up, finished or not; return whether it is finished."""
    # Read in one breath: it goes on between two.
    chart, *bars = await page.call("data", selector=f"{WATERFALL}, {WATERFALL} [data-testid=bar]")
    total = float(chart["base"]) + sum(float(bar["contribution"]) for bar in bars)
    assert total == pytest.approx(float(chart["prediction"]), abs=1e-6)
    assert [bar["kind"] for bar in bars].count("remaining") <= 1
    return bool(chart["complete"] == "true")


@pytest.mark.timeout(180)
async def test_each_page_shows_what_the_examples_publish(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack, browser_page() as page:
        await publish(stack, *example_events())

        await page.call("look", motion="no-preference")
        await page.call("open", url=f"{stack.page}pages/valuations")
        await page.call("waitCount", selector=WATERFALL, count=1)
        while not await check_sum(page):
            pass
        bars = await page.call("data", selector=f"{WATERFALL} [data-testid=bar]")
        assert len(bars) == 11  # ten features and the rest
        sizes = [abs(float(bar["contribution"])) for bar in bars[:10]]
        assert sizes == sorted(sizes, reverse=True)
        await page.call("click", selector=".switch button:last-child")
        await page.call("waitText", selector="[data-testid=waterfall-table] tfoot", text="f(x)")

        await page.call("click", selector="nav a[href='/pages/strategy']")
        segments = {data["segment"].replace("-", " ") for data in data_of("StrategyRecommendation")}
        for segment in segments:
            await page.call("waitText", selector=SHOWN["strategy"], text=f"for {segment}")

        await page.call("click", selector="nav a[href='/pages/handoffs']")
        newest = data_of("BotHandoff")[-1]
        await page.call("waitText", selector=SHOWN["handoffs"], text=newest["summary"])
        await page.call("click", selector=f"[data-event='{newest['handoffId']}'] summary")
        await page.call("waitText", selector=".turns", text=newest["recentTurns"][-1]["text"])

        await page.call("click", selector="nav a[href='/pages/insights']")
        hints = [data["text"] for data in data_of("ConciergeInsight")]
        await page.call("waitText", selector=f"{HERO}[data-delivery=recovered]", text=hints[-1])
        await publish(stack, samples.insight("Say this now."))
        await page.call("waitText", selector=f"{HERO}[data-delivery=live]", text="Say this now.")
        await page.call("waitText", selector=".pill.latency", text="±")
        await page.call("click", selector=f"{HERO} .primary")
        await page.call("waitText", selector="[data-decided=acted]", text="Say this now.")
        await page.call("waitText", selector=HERO, text=hints[-1])

        for view in VIEWS:
            await page.call("look", **view)
            for name, shown in SHOWN.items():
                await page.call("click", selector=f"nav a[href='/pages/{name}']")
                await page.call("waitCount", selector=shown, count=1)
                assert await page.call("axe") == [], f"{name}, {view}"
                assert await page.call("overflow") <= 0, f"{name}, {view}"
        assert await page.call("isolated"), "performance.now is coarse without cross-origin isolation"
        assert await page.call("complaints") == []


@pytest.mark.timeout(180)
async def test_a_reload_without_a_network_shows_the_last_insights_and_goes_on_without_a_gap(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack, browser_page() as page:
        await publish(stack, samples.insight("Before."))
        await page.call("look")  # an insight that is just fading in is hard to read, and found to be
        await page.call("open", url=f"{stack.page}pages/insights")
        await page.call("waitText", selector=HERO, text="Before.")
        await page.call("waitWorker")
        await page.call("waitKept", user="page", count=1)

        await page.call("offline", on=True)
        await page.call("reload")
        await page.call("waitText", selector=f"{HERO}[data-delivery=cached]", text="Before.")
        await page.call("waitText", selector=CONNECTION, text="Offline")
        assert await page.call("axe") == []
        await page.call("click", selector=f"{HERO} .primary")
        await page.call("waitText", selector="[data-decided=acted]", text="Before.")
        await publish(stack, samples.insight("Meanwhile."))

        await page.call("offline", on=False)
        await page.call("waitText", selector=CONNECTION, text="Live")
        await page.call("waitText", selector=HERO, text="Meanwhile.")
        await publish(stack, samples.insight("After."))
        await page.call("waitText", selector=f"{HERO}[data-delivery=live]", text="After.")
        rows = await page.call("data", selector=".insight-row")
        assert [row["delivery"] for row in rows][-1] == "cached"
        assert len(rows) == 2
        await page.call("click", selector="[data-testid=status] summary")
        await page.call("waitText", selector="[data-testid=continuity]", text="nothing missing")


@pytest.mark.timeout(180)
async def test_a_device_that_knows_gateways_of_long_ago_finds_the_new_ones(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack, browser_page() as page:
        await publish(stack, samples.insight("Here."))
        await page.call("open", url=f"{stack.page}pages/insights")
        await page.call("waitText", selector=CONNECTION, text="Live")
        await page.call("waitWorker")
        old = {"gatewayUrls": ["ws://127.0.0.1:9/v1/ws"], "channels": ["agent:42"]}
        await page.call("remember", key="lanecast.pages.session", value=old)
        await page.call("reload")
        await page.call("waitText", selector=CONNECTION, text="Live")
        await page.call("waitText", selector=HERO, text="Here.")
        await page.call("waitWorker")


@pytest.mark.timeout(60)
async def test_the_pages_are_served_so_that_they_can_be_installed(tmp_path: Path) -> None:
    import aiohttp

    async with running_stack(tmp_path) as stack, aiohttp.ClientSession(stack.page) as http:
        async with http.get("pages/sw.js") as worker:
            assert worker.content_type == "text/javascript"
            assert worker.headers["Cache-Control"] == "no-cache"
            assert worker.headers["Service-Worker-Allowed"] == "/pages/"
        async with http.get("pages/manifest.webmanifest") as answer:
            assert answer.content_type == "application/manifest+json"
            manifest = await answer.json(content_type=None)
        for icon in manifest["icons"]:
            async with http.get(icon["src"]) as image:
                assert image.content_type == icon["type"]
        async with http.get(manifest["start_url"]) as start:
            assert start.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert "/pages/assets/index-" in await start.text()
