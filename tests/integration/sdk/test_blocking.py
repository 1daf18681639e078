"""Publisher and BlockingSubscriber: programs without an event loop, against publisher_svc as a process."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sdk_services import ServiceProcess

from lanecast import (
    Ack,
    BlockingSubscriber,
    BufferFullError,
    MemoryCursorStore,
    NotAcknowledgedError,
    Priority,
    Publisher,
    PublisherClosedError,
    PublishError,
    PublisherSettings,
    Start,
    UnavailableError,
)
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight

HIGH = Priority.HIGH

FORKING = """
import os, sys
from lanecast import Priority, Publisher, PublisherClosedError
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
with Publisher(sys.argv[1]) as publisher:
    publisher.publish("a", ConciergeInsight(), priority=Priority.HIGH)
    child = os.fork()
    if child == 0:
        try:
            publisher.publish_nowait("a", ConciergeInsight(), priority=Priority.HIGH)
        except PublisherClosedError as error:
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publisher.publish("a", ConciergeInsight(), priority=Priority.HIGH)
"""

FORGETFUL = """
import sys
from lanecast import Priority, Publisher
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
publisher = Publisher(sys.argv[1])
publisher.connect()
publisher.publish_nowait("a", ConciergeInsight(), priority=Priority.HIGH, id="forgotten")
"""


def run(program: str, address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, address], capture_output=True, text=True, check=False
    )


def test_an_event_is_published_and_received(process: ServiceProcess) -> None:
    with Publisher(process.address) as publisher, BlockingSubscriber(process.address) as subscriber:
        with subscriber.events("a") as stream:
            ack = publisher.publish("a", ConciergeInsight(text="hi"), priority=HIGH, id="1", timeout=30)
            assert isinstance(ack, Ack)
            delivery = next(stream)
            assert (delivery.id, delivery.offset, delivery.message.text) == ("1", ack.offset, "hi")
            assert "Delivery a HIGH" in repr(delivery)
        assert list(stream) == []
        assert "Publisher" in repr(publisher)
    assert publisher.statistics().acknowledged == 1


def test_threads_share_a_publisher_and_each_keeps_its_order(process: ServiceProcess) -> None:
    with Publisher(process.address) as publisher:

        def work(name: str) -> None:
            for number in range(500):
                publisher.publish_nowait("a", ConciergeInsight(), priority=HIGH, id=f"{name} {number}")

        threads = [threading.Thread(target=work, args=(name,)) for name in "xyz"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        publisher.flush()
        last = publisher.publish_nowait("a", ConciergeInsight(), priority=HIGH, id="end")
        assert last.result(30).offset > 0
    with BlockingSubscriber(process.address) as subscriber:
        ids = []
        for delivery in subscriber.events("a", start=Start.EARLIEST):
            if delivery.id == "end":
                break
            ids.append(delivery.id)
    assert len(ids) == 1_500
    for name in "xyz":
        assert [event_id for event_id in ids if event_id[0] == name] == [f"{name} {number}" for number in range(500)]


def test_failures_are_those_of_the_asynchronous_publisher(process: ServiceProcess) -> None:
    publisher = Publisher(process.address)
    publisher.connect()
    with pytest.raises(PublishError, match="kept for patterns"):
        publisher.publish_nowait("a*", ConciergeInsight(), priority=HIGH)
    with pytest.raises(PublishError, match="not registered"):
        publisher.publish("a", Timestamp(), priority=HIGH)
    failing = publisher.publish_nowait("a", Timestamp(), priority=HIGH)
    assert isinstance(failing.exception(30), PublishError)
    assert not failing.cancel()
    with pytest.raises(NotAcknowledgedError):
        publisher.close()
    publisher.close()
    with pytest.raises(PublisherClosedError):
        publisher.publish("a", ConciergeInsight(), priority=HIGH)


def test_a_full_buffer_is_an_error_in_the_calling_thread(process: ServiceProcess) -> None:
    with Publisher(process.address, settings=PublisherSettings(max_events=1)) as publisher:
        process.end()
        publisher.publish_nowait("a", ConciergeInsight(), priority=HIGH)
        with pytest.raises(BufferFullError):
            publisher.publish_nowait("a", ConciergeInsight(), priority=HIGH)
        with pytest.raises(TimeoutError):
            publisher.publish("a", ConciergeInsight(), priority=HIGH, timeout=0.01)
        process.start()
        publisher.flush()


def test_a_publisher_that_is_not_open_says_so() -> None:
    publisher = Publisher()
    with pytest.raises(PublisherClosedError, match="with"):
        publisher.publish("a", ConciergeInsight(), priority=HIGH)
    publisher.close()
    with pytest.raises(UnavailableError, match="lanecast up"):
        Publisher("127.0.0.1:1", settings=PublisherSettings(connect_timeout=0.2)).connect()
    with pytest.raises(UnavailableError, match="with"):
        BlockingSubscriber().events("a")


def test_commits_are_kept(process: ServiceProcess) -> None:
    store = MemoryCursorStore()
    with Publisher(process.address) as publisher:
        acks = [publisher.publish("a", ConciergeInsight(), priority=HIGH) for _ in range(3)]
    with BlockingSubscriber(process.address, cursors=store) as subscriber:
        stream = subscriber.events("a", start=Start.EARLIEST, auto_commit=False)
        next(stream)
        next(stream).commit()
        stream.close()
    assert store.positions["a", HIGH] == acks[1].position


def test_a_fork_is_told_to_make_its_own_publisher(process: ServiceProcess) -> None:
    result = run(FORKING, process.address)
    assert result.returncode == 0, result.stderr


def test_a_forgotten_publisher_is_closed_at_the_end_of_the_program(process: ServiceProcess) -> None:
    result = run(FORGETFUL, process.address)
    assert (result.returncode, result.stderr) == (0, "")
    with BlockingSubscriber(process.address) as subscriber:
        assert next(subscriber.events("a", start=Start.EARLIEST)).id == "forgotten"
