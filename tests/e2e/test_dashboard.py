"""The dashboard in a real Chromium over real services: each panel has figures, and operators act by clicking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from page_stack import Page, Stack, browser_page, running_stack
from page_traffic import GATEWAY, traffic

from lanecast import AsyncPublisher
from lanecast.runtime.tokens import issue, load_or_create_key

API = "api/v1/websocket-performance"
CONNECTION = "[data-testid=connection]"
VIEWS = ("live", "health", "rollouts", "alerts", "tests")
CHANNELS = [f"agent:{number}" for number in range(210)]
"""As many as a tenth of which can be judged."""
QUICK: dict[str, Any] = {
    "baselinePolicy": "legacy-500ms",
    "candidatePolicy": "default",
    "stages": [{"percent": 10, "minDuration": "60s", "maxDuration": "90s"}, {"percent": 100}],
    "settleDuration": "0.5s",
    "lookInterval": "0.3s",
    "verifyDuration": "0.5s",
    "maxInterferenceRatio": 100,
    "objective": 0.01,
}


@asynccontextmanager
async def dashboard(tmp_path: Path, rate: float, **more: str) -> AsyncIterator[tuple[Stack, Page]]:
    """Start everything, with traffic, and open the page."""
    async with (
        running_stack(tmp_path, **GATEWAY, **more) as stack,
        AsyncPublisher(stack.publisher) as publisher,
        browser_page() as page,
    ):
        token = issue(load_or_create_key(tmp_path), ["*"], subject="audience")
        async with traffic(publisher, stack.websocket, token, CHANNELS, rate):
            await page.call("open", url=stack.page)
            await page.call("waitText", selector=CONNECTION, text="Connected")
            yield stack, page


async def view(page: Page, name: str) -> None:
    await page.call("press", key=str(VIEWS.index(name) + 1))
    await page.call("waitCount", selector=f"main[data-view={name}]", count=1)


async def confirm(page: Page, reason: str) -> None:
    await page.call("waitCount", selector="dialog[open]", count=1)
    await page.call("fill", selector="dialog textarea[name=reason]", text=reason)
    await page.call("fill", selector="dialog input[name=actor]", text="kim")
    await page.call("click", selector="dialog button[type=submit]")


@pytest.mark.timeout(120)
async def test_every_panel_has_figures_and_can_be_used_by_everybody(tmp_path: Path) -> None:
    async with dashboard(tmp_path, rate=100) as (_, page):
        await page.call("waitCount", selector="article.card", count=4)
        await view(page, "health")
        await page.call("waitCount", selector=".strip-lane:not([data-tone=none])", count=4)
        await page.call("waitCount", selector="rect[data-hop=last_mile]", count=1)
        await page.call("waitCount", selector=".chart .u-over", count=4)
        await page.call("waitCount", selector=".systems li", count=4)
        await page.call("waitText", selector=".answer", text="Nothing is lost")
        await page.call("waitText", selector="[data-testid=grade] .grade", text="")
        await page.call("click", selector="button[aria-label='Latency over time as a table']")
        await page.call("waitCount", selector="section[aria-label='Latency over time, table'] td", count=8)

        for scheme in ("light", "dark"):
            await page.call("look", scheme=scheme)
            for name in VIEWS:
                await view(page, name)
                await page.call("waitCount", selector="main :is(.panel, .lanes)", count=1)
                assert await page.call("axe") == [], f"{name}, {scheme}"
        for width in (360, 390, 1920):
            await page.call("look", width=width, height=844)
            for name in VIEWS:
                await view(page, name)
                await page.call("waitCount", selector="main :is(.panel, .lanes, .merged)", count=1)
                assert await page.call("overflow") <= 0, f"{name} is wider than {width} pixels"
        assert await page.call("complaints") == []


@pytest.mark.timeout(150)
async def test_operators_act_by_clicking(tmp_path: Path) -> None:
    settings = {"LANECAST_PUBLISHER_POLICY": "legacy-500ms", "LANECAST_METRICS_ALERT_TIME_SCALE": "0.002"}
    async with dashboard(tmp_path, rate=300, **settings) as (stack, page):
        async with aiohttp.ClientSession() as http:
            body = {"requestId": "draft", "plan": QUICK, "actor": "demo"}
            async with http.post(f"{stack.page}{API}/rollouts", json=body) as response:
                assert response.status == 200, await response.text()
        await page.call("click", selector="[data-testid=migrate][data-draft=true]")
        await confirm(page, "bundles are too slow")
        await page.call("waitCount", selector="main[data-view=rollouts]", count=1)

        # Before the first channel moves, some seconds are recorded: time to take an alert, and to test.
        await take_an_alert(page)
        await run_a_test_and_report(page)

        await view(page, "rollouts")
        await page.call("waitText", selector="[data-testid=exposure]", text="10 %")
        await page.call("waitCount", selector="[data-testid=rollout] .rules li", count=4)
        assert await page.call("axe") == []
        await page.call("screenshot", name="rollout")
        await page.call("click", selector="button[data-verb=rollback]")
        assert await page.call("axe") == []
        await confirm(page, "enough seen")
        await page.call("waitCount", selector="[data-testid=rollout][data-state=ROLLED_BACK]", count=1)
        await page.call("waitText", selector="[data-testid=exposure]", text="0 %")
        await page.call("waitText", selector=".timeline", text="enough seen")
        verbs = await page.call("text", selector=".verbs")
        assert "Start again" in verbs
        assert "Roll back" not in verbs


async def take_an_alert(page: Page) -> None:
    await view(page, "alerts")
    firing = ".alert[data-state=FIRING]"
    await page.call("waitCount", selector=f"{firing}[data-taken=false]", count=1)
    await page.call("click", selector=f"{firing}[data-taken=false] button")
    await confirm(page, "looking into it")
    await page.call("waitText", selector=f"{firing}[data-taken=true]", text="taken by kim")
    assert await page.call("axe") == []


async def run_a_test_and_report(page: Page) -> None:
    await view(page, "tests")
    await page.call("fill", selector=".order input >> nth=0", text="100")
    await page.call("fill", selector=".order input >> nth=1", text="1")
    await page.call("click", selector=".order button[type=submit]")
    await page.call("click", selector="form.order button:text('Create the report')")
    await page.call("waitText", selector="[data-testid=perf][data-state=done]", text="Grade")
    assert "100 of 100 sent, 100 received" in await page.call("text", selector="[data-testid=perf]")
    await page.call("waitCount", selector=".reports a", count=3)


@pytest.mark.timeout(120)
async def test_the_keyboard_alone_is_enough(tmp_path: Path) -> None:
    async with dashboard(tmp_path, rate=20) as (_, page):
        await page.call("press", key="Tab")
        assert await page.call("focused") == "button Skip to the content"
        await page.call("press", key="Enter")
        assert (await page.call("focused")).startswith("main")
        await page.call("press", key="3")
        await page.call("waitText", selector="main .panel h2", text="Rollouts")
        await page.call("press", key="Tab")
        assert await page.call("focused") == "button New rollout"
        await page.call("press", key="Enter")
        await page.call("waitCount", selector="dialog[open] select", count=2)
        assert "From the policy" in await page.call("text", selector="dialog label")
        await page.call("press", key="Escape")
        await page.call("waitText", selector="main .panel h2", text="Rollouts")
        assert await page.call("focused") == "button New rollout"
