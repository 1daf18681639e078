"""Publishers that present a token, against a real publisher_svc."""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from sdk_services import ServiceProcess, running

from lanecast import (
    AsyncPublisher,
    ConfigError,
    NotAcknowledgedError,
    Priority,
    Publisher,
    PublishError,
    PublisherSettings,
    Start,
    StatusError,
    Subscriber,
    TokenError,
)
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.publisher.stream import PublishStream
from lanecast.runtime import tokens
from lanecast.runtime.tokens import Rate
from lanecast.v1.event_pb2 import Event
from lanecast.v1.publisher_pb2 import PublishEventStreamRequest, PublishMessage

UNAUTHENTICATED, PERMISSION_DENIED = 16, 7


class Clock:
    """The service's monotonic clock; it moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tokens:
    """Issues tokens, and counts them."""

    def __init__(self, folder: Path) -> None:
        self.key = tokens.load_or_create_key(folder)
        self.issued = 0

    def __call__(self) -> str:
        self.issued += 1
        return self.issue(ttl_seconds=60)

    def issue(self, **claims: Any) -> str:
        return tokens.issue(self.key, [], publish=["*"], **claims)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def source(data: Path) -> Tokens:
    return Tokens(data)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def address(data: Path, clock: Clock) -> AsyncIterator[str]:
    async with running(data, clock=clock, publish_auth="token") as target:
        yield target


def expired(token: str, key: str) -> str:
    """Return the same token as of the day before."""
    claims = jwt.decode(token, options={"verify_signature": False})
    day = 24 * 3600
    return jwt.encode({**claims, "iat": claims["iat"] - day, "exp": claims["exp"] - day}, key, tokens.ALGORITHM)


def insight(text: object = "x") -> ConciergeInsight:
    return ConciergeInsight(text=str(text))


async def test_everything_over_the_rate_arrives_later_and_in_order(data: Path, source: Tokens) -> None:
    lanes = {"a": Priority.CRITICAL, "b": Priority.HIGH, "c": Priority.LOW}
    async with running(data, publish_auth="token") as target:
        async with AsyncPublisher(target, token=source.issue(rate=Rate(1_000.0, 50))) as publisher:
            futures = [
                publisher.publish_nowait(channel, insight(number), priority=lane)
                for number in range(150)
                for channel, lane in lanes.items()
            ]
            await asyncio.gather(*futures)
            statistics = publisher.statistics()
        received: dict[str, list[int]] = defaultdict(list)
        async with Subscriber(target) as subscriber:
            stream = subscriber.events(list(lanes), start=Start.EARLIEST)
            async for delivery in stream:
                received[delivery.channel].append(int(delivery.message.text))
                if sum(map(len, received.values())) == len(futures):
                    break
            await stream.aclose()
    assert received == {channel: list(range(150)) for channel in lanes}
    assert (statistics.acknowledged, statistics.failed, statistics.duplicates) == (450, 0, 0)
    assert statistics.retried > 0
    assert statistics.messages < 30, "it waited as long as it was told to"


async def test_what_the_token_does_not_grant_fails_for_good(address: str, source: Tokens) -> None:
    token = tokens.issue(source.key, [], publish=["agent:*"], highest_lane=Priority.NORMAL)
    async with AsyncPublisher(address, token=token) as publisher:
        await publisher.publish("agent:1", insight(), priority=Priority.NORMAL)
        with pytest.raises(PublishError, match="only in NORMAL, LOW") as lane:
            await publisher.publish("agent:1", insight(), priority=Priority.HIGH)
        with pytest.raises(PublishError, match="use a token that grants it") as channel:
            await publisher.publish("bots", insight(), priority=Priority.LOW)
    assert (lane.value.code, lane.value.reason) == (PERMISSION_DENIED, "LANE_FORBIDDEN")
    assert (channel.value.code, channel.value.reason) == (PERMISSION_DENIED, "CHANNEL_FORBIDDEN")


async def test_without_a_token_the_door_stays_shut_and_says_so_at_once(address: str, source: Tokens) -> None:
    never = PublisherSettings(connect_timeout=3_600)
    with pytest.raises(StatusError, match="publishing needs a token here") as missing:
        await AsyncPublisher(address, settings=never).connect()
    assert (missing.value.code, missing.value.reason) == (UNAUTHENTICATED, "TOKEN_MISSING")
    foreign = tokens.issue("another key of enough length for it", [], publish=["*"])
    with pytest.raises(StatusError, match="not signed by this installation's key"):
        await AsyncPublisher(address, token=lambda: foreign, settings=never).connect()
    async with AsyncPublisher(address, token=source) as publisher:
        await publisher.publish("a", insight(), priority=Priority.LOW)


async def test_a_token_that_expires_is_replaced_without_alarm(
    address: str, source: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncPublisher(address, token=source) as publisher:
        for number in range(3):
            await publisher.publish("a", insight(number), priority=Priority.HIGH)
            clock.now += 70
        statistics = publisher.statistics()
    assert (statistics.acknowledged, statistics.duplicates, statistics.connections, source.issued) == (3, 0, 3, 3)
    assert not [record for record in caplog.records if record.name == "lanecast.publisher" and record.levelno > 20]


async def test_a_function_may_give_an_old_token_at_first(address: str, source: Tokens) -> None:
    given = iter([expired(source.issue(), source.key), source.issue()])
    async with AsyncPublisher(address, token=lambda: next(given)) as publisher:
        await publisher.publish("a", insight(), priority=Priority.HIGH)


async def test_a_fixed_token_that_has_expired_is_refused_at_once(address: str, source: Tokens) -> None:
    token = expired(source.issue(), source.key)
    with pytest.raises(StatusError, match="has expired") as caught:
        await AsyncPublisher(address, token=token, settings=PublisherSettings(connect_timeout=3_600)).connect()
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_who_writes_to_a_stream_that_was_ended_learns_why(address: str, source: Tokens, clock: Clock) -> None:
    event = Event(channel="a", priority=Priority.LOW.wire_value)
    publish = PublishEventStreamRequest(publish=PublishMessage(first_sequence=1, events=[event])).SerializeToString()
    async with PublishStream(address) as stream:
        await stream.open("tests", 5.0, source())
        clock.now += 70
        await stream.write(publish)
        await stream._call.code()  # the stream is over
        with pytest.raises(StatusError) as caught:
            await stream.write(publish)
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_a_fixed_token_that_expires_fails_what_waits_and_what_comes(
    address: str, source: Tokens, clock: Clock
) -> None:
    publisher = AsyncPublisher(address, token=source.issue(ttl_seconds=60))
    await publisher.connect()
    await publisher.publish("a", insight(), priority=Priority.HIGH)
    clock.now += 70
    futures = [publisher.publish_nowait("a", insight(), priority=Priority.HIGH) for _ in range(3)]
    with pytest.raises(NotAcknowledgedError, match="3 events failed") as caught:
        await publisher.flush()
    assert len(caught.value.event_ids) == 3
    assert {type(future.exception()) for future in futures} == {PublishError}
    with pytest.raises(PublishError, match="does not let this publisher in any more") as late:
        publisher.publish_nowait("a", insight(), priority=Priority.HIGH)
    with pytest.raises(PublishError):
        await publisher.publish("a", insight(), priority=Priority.HIGH)
    assert (late.value.code, late.value.reason) == (UNAUTHENTICATED, "TOKEN_EXPIRED")
    await publisher.close()


async def test_publishers_that_wait_for_room_are_told_too(address: str, source: Tokens, clock: Clock) -> None:
    token = source.issue(ttl_seconds=60, rate=Rate(0.001, 1))
    publisher = AsyncPublisher(address, token=token, settings=PublisherSettings(max_events=2))
    await publisher.connect()
    await publisher.publish("a", insight(), priority=Priority.HIGH)
    over_rate = publisher.publish_nowait("a", insight(), priority=Priority.HIGH)
    while not publisher.statistics().retried:
        await asyncio.sleep(0)
    clock.now += 70
    waiting = [publisher.publish("b", insight(), priority=Priority.HIGH) for _ in range(3)]
    results = await asyncio.gather(over_rate, *waiting, return_exceptions=True)
    assert [getattr(result, "reason", result) for result in results] == ["TOKEN_EXPIRED"] * 4
    with pytest.raises(NotAcknowledgedError):
        await publisher.close()


async def test_connect_tries_again_after_a_refusal(address: str, source: Tokens) -> None:
    given = iter([tokens.issue("another key of enough length for it", [], publish=["*"]), source()])
    publisher = AsyncPublisher(address, token=lambda: next(given))
    with pytest.raises(StatusError):
        await publisher.connect()
    await publisher.connect()
    await publisher.publish("a", insight(), priority=Priority.HIGH)
    await publisher.close()


@pytest.mark.parametrize("returned", [None, "", 7])
async def test_a_function_that_returns_no_token_is_an_error(address: str, returned: Any) -> None:
    with pytest.raises(TokenError, match="returned none") as caught:
        await AsyncPublisher(address, token=lambda: returned).connect()
    assert caught.value.reason == "TOKEN_NOT_FETCHED"


async def test_a_function_that_fails_is_an_error_with_its_cause(address: str) -> None:
    def fail() -> str:
        raise OSError("no route to the vault")

    with pytest.raises(TokenError, match="failed with OSError: no route to the vault"):
        await AsyncPublisher(address, token=fail).connect()


def test_a_token_of_the_wrong_form_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(TokenError, match="give it as it was issued"):
        AsyncPublisher(token="a\nb")
    with pytest.raises(ConfigError, match="a string, or a function"):
        AsyncPublisher(token=7)  # type: ignore[arg-type]
    assert "secret" not in repr(AsyncPublisher(token="secret"))


@pytest.fixture
def guarded(data: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(data, LANECAST_PUBLISHER_PUBLISH_AUTH="token")
    service.start()
    yield service
    service.end(signal.SIGTERM)


def test_the_blocking_publisher_presents_it_too(guarded: ServiceProcess, source: Tokens, data: Path) -> None:
    with pytest.raises(StatusError, match="publishing needs a token here"):
        Publisher(guarded.address).connect()
    publisher = Publisher(guarded.address, token=source())
    publisher.connect()
    assert publisher.publish("a", insight(), priority=Priority.HIGH).offset
    guarded.end()
    (data / tokens.KEY_FILE).unlink()  # the service makes another key, so that the token is worth nothing
    guarded.start()
    future = publisher.publish_nowait("a", insight(), priority=Priority.HIGH)
    assert isinstance(future.exception(30), PublishError)
    late = publisher.publish_nowait("a", insight(), priority=Priority.HIGH).exception(30)
    assert isinstance(late, PublishError)
    assert (late.code, late.reason) == (UNAUTHENTICATED, "TOKEN_FOREIGN")
    with pytest.raises(NotAcknowledgedError):
        publisher.close()
