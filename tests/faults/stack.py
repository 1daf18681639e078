"""A whole system under load: services, proxies between them, producers and recorders.

Owns what is connected to what, and the order of starting and stopping. Called by `run`; scenarios reach in and break
things. Everything has a time limit; every process is gone afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw
import grpc

from faults import machine
from faults.checker import Ack, Journal, Key, Lane
from faults.processes import Service
from faults.producer import Producer, filler, stored_mark
from faults.proxy import Proxy
from faults.recorder import Recorder
from lanecast.core.priority import LANES, Priority
from lanecast.core.sketch import Sketch
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1.event_pb2 import Event
from lanecast.v1.publisher_pb2 import ReadAfter, ReadEventsRequest
from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub

_START_SECONDS = 30.0
_REST_SECONDS = 40.0
_POLL_SECONDS = 0.02
_BROKER_BYTES = 512 * 1024 * 1024
"""Size of the stream on brokers, which have to have room for it when it is made."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs while the fault happens."""

    events_per_second: float = 2_000
    subscribers: int = 50
    channels: int = 10
    producers: int = 2
    gateways: int = 2
    restless_seconds: float = 5.0
    """Time after which a subscriber drops its connection by itself, on average; 0: never."""
    payload_bytes: int = 64
    proxied: frozenset[str] = frozenset()
    """Links with a proxy: `sdk` (to the publisher), `gateway` (to the publisher), `client` (to the gateways)."""
    metrics: bool = False
    publisher: dict[str, str] = field(default_factory=dict)
    """Options of the publisher, as environment variables."""
    gateway: dict[str, str] = field(default_factory=dict)
    """Options of the gateways."""
    brokers: int = 0
    """NATS servers that keep the log, 1 or 3; 0: the embedded log."""
    disk_bytes: int = 0
    """Size of a file system of its own for the data; 0: none."""
    launcher: str = ""
    """Module that the services are started through; empty: none."""
    excused: frozenset[str] = frozenset()
    """Reasons of gaps that this fault excuses."""


class StackError(Exception):
    """The system did not get so far that a fault could be tried."""


class Stack:
    """See the module."""

    def __init__(self, plan: Plan, folder: Path, random: Random) -> None:
        self.plan = plan
        self.folder = folder
        self.data = folder / "data"
        self.random = random
        self.gateways: list[Service] = []
        self.metrics: Service | None = None
        self.publisher = self._service("publisher_svc", "publisher", "LANECAST_PUBLISHER_PORT", plan.publisher)
        self.proxies: dict[str, list[Proxy]] = {"sdk": [], "gateway": [], "client": []}
        self.brokers: list[Any] = []
        """`nats_servers.NatsServer`, where the log is on JetStream."""
        self.producers: list[Producer] = []
        self.recorders: list[Recorder] = []
        self.latency = {int(lane): Sketch() for lane in LANES}
        self.edge_latency = {int(lane): Sketch() for lane in LANES}
        self.channels = [f"fault:{number}" for number in range(plan.channels)]
        self._entries: list[str] = []
        self._quiet = asyncio.Event()
        self._load: list[asyncio.Task[None]] = []
        self._reading: list[asyncio.Task[None]] = []

    # Starting

    async def start(self) -> None:
        """Start everything; returns once events flow to every subscriber."""
        self.data.mkdir(parents=True, exist_ok=True)
        plan = self.plan
        if plan.disk_bytes:
            machine.mount_small(self.data, plan.disk_bytes)
        if plan.metrics:
            options = {"LANECAST_METRICS_HTTP_PORT": "0", "LANECAST_METRICS_GATEWAY_URLS": "ws://127.0.0.1:1/v1/ws"}
            self.metrics = self._service("metrics_svc", "metrics", "LANECAST_METRICS_PORT", options)
            await self.metrics.start()
            self.publisher.environ["LANECAST_METRICS_TARGET"] = self.metrics.address
        if plan.brokers:
            await self._start_brokers()
        await self.publisher.start()
        for number in range(1, plan.gateways + 1):
            await self._start_gateway(number)
        sdk_target = await self._behind("sdk", self.publisher.address)
        for number in range(plan.producers):
            rate = plan.events_per_second / plan.producers
            seeded = Random(self.random.random())
            producer = Producer(number + 1, sdk_target, self.channels, rate, plan.payload_bytes, seeded)
            self.producers.append(producer)
            await producer.open()
        for number in range(plan.subscribers):
            self.add_recorder(f"subscriber-{number}", [self.channels[number % plan.channels]])
        await self._within(self.all_subscribed(), _START_SECONDS, "not every subscriber could subscribe")
        self._load = [asyncio.create_task(each.run(self._quiet)) for each in self.producers if each.rate > 0]
        if self._load and self.recorders:
            await self._within(self.flowing(time.time_ns()), _START_SECONDS, "no events came")

    def add_recorder(
        self, name: str, channels: Sequence[str], *, restless: float | None = None, token: str = ""
    ) -> Recorder:
        """Start one more subscriber."""
        recorder = Recorder(
            name,
            channels,
            lambda: self._entries,
            token or self.token,
            Random(self.random.random()),
            filler=filler(self.plan.payload_bytes),
            restless_seconds=self.plan.restless_seconds if restless is None else restless,
            excused=self.plan.excused,
            latency=self.latency,
        )
        recorder.edge_latency = self.edge_latency
        self.recorders.append(recorder)
        self._reading.append(asyncio.create_task(recorder.run()))
        return recorder

    @property
    def token(self) -> str:
        """A token for everything."""
        return issue(load_or_create_key(self.data), ["*"], subject="faults", ttl_seconds=24 * 3600)

    def _service(self, module: str, name: str, port: str, options: dict[str, str]) -> Service:
        environ = {
            "LANECAST_DATA_DIR": str(self.data),
            "FAULTS_CLOCK": str(self.folder / "clock"),
            port: "0",
            **options,
        }
        if self.metrics is not None and self.metrics.address:
            environ["LANECAST_METRICS_TARGET"] = self.metrics.address
        return Service(f"{self.plan.launcher} {module}".strip(), name, self.folder, environ, port)

    async def _start_gateway(self, number: int) -> None:
        target = await self._behind("gateway", self.publisher.address)
        options = {"LANECAST_GATEWAY_PUBLISHER_TARGETS": target, **self.plan.gateway}
        options["LANECAST_GATEWAY_INSTANCE"] = f"gateway-{number}"
        gateway = self._service("gateway_svc", f"gateway-{number}", "LANECAST_GATEWAY_PORT", options)
        self.gateways.append(gateway)
        await gateway.start()
        self._entries.append(await self._behind("client", gateway.address))

    async def _start_brokers(self) -> None:
        from nats_servers import NatsCluster, NatsServer

        folder, count = self.folder / "nats", self.plan.brokers
        cluster: Any = NatsCluster(folder) if count > 1 else None
        self.brokers = list(cluster.servers) if cluster else [NatsServer(folder)]
        for broker in self.brokers:
            await asyncio.to_thread(broker.start)
        self.publisher.environ |= {
            "LANECAST_PUBLISHER_LOG": ",".join(broker.url for broker in self.brokers),
            "LANECAST_PUBLISHER_LOG_REPLICAS": str(count),
            "LANECAST_PUBLISHER_LOG_CHECK": self.brokers[0].system_url,
            "LANECAST_PUBLISHER_RETENTION_BYTES": str(_BROKER_BYTES),
        }

    async def _behind(self, link: str, target: str) -> str:
        if link not in self.plan.proxied:
            return target
        proxy = Proxy(target, Random(self.random.random()))
        await proxy.start()
        self.proxies[link].append(proxy)
        return proxy.address

    # Waiting

    async def all_subscribed(self) -> None:
        """Return once every subscriber is connected and subscribed, all at least once from now on."""
        for recorder in self.recorders:
            await recorder.wait_subscribed()

    async def flowing(self, since_ns: int, recorders: Sequence[Recorder] | None = None) -> None:
        """Return once every subscriber has got an event that was handed to the SDK after a moment (wall clock)."""
        for recorder in self.recorders if recorders is None else recorders:
            while recorder.newest_ns <= since_ns:
                await asyncio.sleep(_POLL_SECONDS)

    async def acknowledging(self, since: float) -> None:
        """Return once an event is acknowledged that was handed over after a moment (monotonic clock)."""
        while not any(each.latest_ack_of > since for each in self.producers):
            await asyncio.sleep(_POLL_SECONDS)

    @staticmethod
    async def _within(work: Awaitable[None], seconds: float, problem: str) -> None:
        try:
            await asyncio.wait_for(work, seconds)
        except TimeoutError:
            raise StackError(f"{problem} within {seconds:g} s") from None

    # Coming to rest

    def paused_load(self, paused: bool) -> None:
        """Hold the load, or let it go on."""
        for producer in self.producers:
            producer.paused = paused

    async def come_to_rest(self) -> list[str]:
        """Stop the load and wait until everything acknowledged has arrived; return what did not happen in time."""
        self._quiet.set()
        await asyncio.gather(*self._load)
        for producer in self.producers:
            await producer.close(_REST_SECONDS)
        wanted: dict[Key, int] = {}
        for ack in self.acks():
            wanted[ack.key] = max(wanted.get(ack.key, 0), ack.offset)
        behind: list[Journal] = []
        deadline = time.monotonic() + _REST_SECONDS
        while time.monotonic() < deadline:
            behind = [each for each in self.journals() if each.cursor < wanted.get(each.key, 0)]
            if not behind:
                return []
            await asyncio.sleep(_POLL_SECONDS)
        first = f"first {behind[0].who} {behind[0].key} at {behind[0].cursor} of {wanted[behind[0].key]}"
        return [f"{len(behind)} lanes of subscribers were still behind {_REST_SECONDS:g} s after the load: {first}"]

    async def close(self) -> None:
        """End everything. Idempotent."""
        self._quiet.set()
        for recorder in self.recorders:
            recorder.stop()
        for task in (*self._load, *self._reading):
            task.cancel()
        await asyncio.gather(*self._load, *self._reading, return_exceptions=True)
        for producer in self.producers:
            await producer.close(0)
        for proxies in self.proxies.values():
            for proxy in proxies:
                await proxy.close()
        for service in self.services():
            await service.stop()
        for broker in self.brokers:
            await asyncio.to_thread(broker.stop)
        machine.unmount(self.data)

    def services(self) -> list[Service]:
        """Return all services, gateways first."""
        return [*self.gateways, self.publisher, *([self.metrics] if self.metrics else [])]

    # What came of it

    def acks(self) -> list[Ack]:
        """Return all acknowledgements."""
        return [ack for producer in self.producers for ack in producer.acks]

    def journals(self) -> list[Journal]:
        """Return all journals."""
        return [journal for recorder in self.recorders for journal in recorder.journals.values()]

    def closes(self) -> Counter[str]:
        """Return why connections ended."""
        return sum((recorder.closes for recorder in self.recorders), Counter())

    def failures(self) -> Counter[str]:
        """Return why events were not acknowledged."""
        return sum((producer.failures for producer in self.producers), Counter())

    def take_latency(self) -> dict[str, float]:
        """Return p99 by lane of what was delivered live since the last call, accept to receipt, in milliseconds."""
        return _p99(self.latency)

    def take_edge_latency(self) -> dict[str, float]:
        """Return the same up to the frame that a gateway made: what the clients here take is not in it."""
        return _p99(self.edge_latency)

    async def stored(self) -> tuple[dict[Key, Lane], int]:
        """Return what is in the embedded log, and the smallest offset in it. The publisher must have ended.

        Reads the files and not through the service: what is judged is not asked for its opinion.
        """
        return await asyncio.to_thread(read_segments, self.data / "log")


def _p99(sketches: dict[int, Sketch]) -> dict[str, float]:
    taken = {Priority(lane): sketch.take() for lane, sketch in sketches.items()}
    return {lane.name: round(sketch.quantile(0.99) * 1e3, 2) for lane, sketch in taken.items() if sketch.count}


async def read_service(target: str, channels: Sequence[str]) -> tuple[dict[Key, Lane], int]:
    """Return the events in a log on brokers, page by page through a publisher, and the smallest offset."""
    stored: dict[Key, Lane] = {}
    async with grpc.aio.insecure_channel(target) as channel:
        stub = PublisherServiceStub(channel)
        for key in ((name, int(lane)) for name in channels for lane in LANES):
            after, more = 0, True
            while more:
                request = ReadEventsRequest(channel=key[0], lane=Priority(key[1]).wire_value, limit=1_000)
                request.after.CopyFrom(ReadAfter(offset=after))
                page = await stub.ReadEvents(request, timeout=_START_SECONDS)
                for event in page.batch.events:
                    stored.setdefault(key, Lane()).add(event.offset, stored_mark(event.id))
                after, more = page.covered_through, page.more
    return stored, 0


def read_segments(folder: Path) -> tuple[dict[Key, Lane], int]:
    """Return the events in the segments of a log that nobody has open, and the smallest offset."""
    stored: dict[Key, Lane] = {}
    first_offset = 0
    query = (
        "SELECT lane.channel, lane.lane, event.position, event.data FROM event JOIN lane ON lane.id = event.lane"
        " ORDER BY event.position"
    )
    for path in sorted(folder.glob("[0-9]*.sqlite")):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            for channel, lane, offset, data in connection.execute(query):
                first_offset = first_offset or offset
                identity = Event.FromString(data).id
                stored.setdefault((channel, lane), Lane()).add(offset, stored_mark(identity))
        finally:
            connection.close()
    return stored, first_offset
