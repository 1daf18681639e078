"""Pages that several sessions want."""

from __future__ import annotations

from typing import Any, cast

from gateway_fakes import EPOCH

from gateway_svc.core.items import EventItem, GapItem
from gateway_svc.core.ports import Page, PageRequest
from gateway_svc.core.shelf import Shelf
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import GAP_REASON_TRUNCATED, Event, EventBatch

LANE = Priority.NORMAL


def request(after: int | None, *, channel: str = "a", epoch: str = EPOCH, limit: int = 64) -> PageRequest:
    return PageRequest(cast("Any", None), channel, LANE, epoch, after, 0, limit, 0, 1)


def page(first: int, last: int, *, more: bool = True, ttl_millis: int = 0, size: int = 0) -> Page:
    events = [
        Event(id="x" * size, offset=offset, prev_offset=offset - 1, ttl_millis=ttl_millis)
        for offset in range(first, last + 1)
    ]
    batch = EventBatch(channel="a", lane=LANE.wire_value, epoch=EPOCH, events=events)
    return Page(EPOCH, [], [EventItem(batch, batch.SerializeToString(), cast("Any", None))], last, more)


def test_a_page_serves_every_reader_whom_it_leads_on() -> None:
    shelf = Shelf()
    first, second = page(1, 10), page(11, 20)
    shelf.put(request(0), first, 0.0)
    shelf.put(request(10), second, 0.0)
    found = {after: shelf.find(request(after), 1.0) for after in (0, 4, 9, 10, 19, 20)}
    assert found == {0: first, 4: first, 9: first, 10: second, 19: second, 20: None}


def test_pages_of_another_channel_epoch_or_size_are_others() -> None:
    shelf = Shelf()
    shelf.put(request(0), page(1, 10), 0.0)
    for other in (request(0, channel="b"), request(0, epoch="other"), request(0, limit=32), request(None)):
        assert shelf.find(other, 0.0) is None


def test_what_does_not_say_the_same_to_everybody_is_not_kept() -> None:
    shelf = Shelf()
    lost = GapItem("a", LANE, EPOCH, 0, 3, GAP_REASON_TRUNCATED, 0)
    whole = page(4, 10)
    for each in (
        page(1, 10, more=False),
        page(1, 10, ttl_millis=5),
        Page(EPOCH, [lost], whole.events, 10, True),
        Page(EPOCH, [], [*whole.events, lost], 10, True),
        Page(EPOCH, [], [], 10, True),
    ):
        shelf.put(request(0), each, 0.0)
    shelf.put(request(None), whole, 0.0)
    assert len(shelf) == 0


def test_pages_are_kept_for_a_while_and_within_a_number_of_bytes() -> None:
    shelf = Shelf(max_bytes=20_000, seconds=5.0)
    for number in range(10):
        shelf.put(request(number), page(number + 1, number + 1, size=2_000), float(number))
    assert len(shelf) == 4
    assert shelf.find(request(5), 9.0) is None
    assert shelf.find(request(9), 13.9) is not None
    assert shelf.find(request(9), 14.0) is None
    assert len(shelf) == 0


def test_another_connection_begins_with_an_empty_shelf() -> None:
    shelf = Shelf()
    shelf.put(request(0), page(1, 10), 0.0)
    shelf.clear()
    assert shelf.find(request(0), 0.0) is None
    shelf.put(request(0), page(1, 10), 0.0)
    assert shelf.find(request(0), 0.0) is not None
