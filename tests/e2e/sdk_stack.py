"""A publisher, a gateway, and a page with nothing but the SDK in a real browser.

Owns what the tests of the SDK start and how they drive it. The driver (web/e2e/sdk.mjs)
builds and serves the page and stands as a proxy between it and the gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from page_stack import ROOT, Page, Service, driver, free_port

from lanecast.runtime.tokens import issue, load_or_create_key

DRIVER = ROOT / "web" / "e2e" / "sdk.mjs"


@dataclass(frozen=True)
class SdkStack:
    """What runs: services, browser, and how to make tokens."""

    publisher: str
    gateway: Service
    page: Page
    key: str

    def token(self, seconds: float = 3600.0) -> str:
        """Return a token for every channel, of the user whom the page names."""
        return issue(self.key, ["*"], subject="agent-7", ttl_seconds=seconds)

    async def fresh(self, device: str | None = None) -> None:
        """Give the test a browser without a past, a network and a good token."""
        await self.page.call("fresh", device=device)
        await self.page.call("webSockets", allowed=True)
        await self.page.call("token", token=self.token())

    async def start(self, *channels: str, **setup: Any) -> None:
        """Open the page, subscribe, and wait until every subscription is accepted."""
        await self.page.call("open")
        await self.page.call("start", setup={"channels": channels, **setup})
        if not setup.get("strict"):
            await self.ready(*channels)

    async def ready(self, *channels: str) -> None:
        """Wait until every subscription is accepted."""
        for channel in channels:
            await self.page.call("evaluate", expression=f"harness.ready({channel!r})")

    async def wait_state(self, status: str) -> None:
        """Wait until the client's state is this one."""
        await self.page.call("wait", expression=f"harness.client.state.status === {status!r}")

    async def seen(self, channel: str, count: int) -> list[dict[str, Any]]:
        """Wait until the page has had so many events of a channel; return them."""
        mine = f"harness.seen.filter((event) => event.channel === {channel!r})"
        await self.page.call("wait", expression=f"{mine}.length >= {count}")
        events: list[dict[str, Any]] = await self.page.call("evaluate", expression=mine)
        return events

    async def continuity(self, channel: str) -> dict[str, Any]:
        """Return what the SDK itself says became of a channel's events."""
        value: dict[str, Any] = await self.page.call("evaluate", expression=f"harness.continuity({channel!r})")
        return value


@asynccontextmanager
async def running_sdk_stack(directory: Path) -> AsyncIterator[SdkStack]:
    """Start it all; stop it at the end."""
    data_dir = directory / "data"
    data_dir.mkdir()
    page_port, proxy_port, gateway_port = free_port(), free_port(), free_port()
    common = {"LANECAST_DATA_DIR": str(data_dir)}
    async with AsyncExitStack() as stack:
        publisher = Service("publisher_svc", common | {"LANECAST_PUBLISHER_PORT": "0"})
        stack.push_async_callback(publisher.stop)
        await publisher.start()
        gateway = Service(
            "gateway_svc",
            common
            | {
                "LANECAST_GATEWAY_PORT": str(gateway_port),
                "LANECAST_GATEWAY_PUBLISHER_TARGETS": publisher.ready["address"],
                "LANECAST_GATEWAY_ALLOWED_ORIGINS": f"http://127.0.0.1:{page_port}",
            },
        )
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        page = await stack.enter_async_context(driver(DRIVER, directory / "site", page_port, proxy_port, gateway_port))
        yield SdkStack(publisher.ready["address"], gateway, page, load_or_create_key(data_dir))
