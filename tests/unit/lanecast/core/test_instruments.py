"""The registry of instruments."""

from __future__ import annotations

import pytest

from lanecast.core.instruments import CLOCK_SKEWED, EVENT_ACCEPTED, HOP_DURATION, QUEUE_DEPTH, Instruments


def test_a_series_is_one_object_whatever_the_order_of_its_attributes() -> None:
    instruments = Instruments()
    sketch = instruments.sketch(HOP_DURATION, hop="log", lane="LOW")
    assert instruments.sketch(HOP_DURATION, lane="LOW", hop="log") is sketch
    assert instruments.sketch(HOP_DURATION, lane="HIGH", hop="log") is not sketch
    assert instruments.counter(EVENT_ACCEPTED, lane="LOW") is instruments.counter(EVENT_ACCEPTED, lane="LOW")


def test_a_metric_must_be_in_the_catalogue() -> None:
    with pytest.raises(ValueError, match="not in the catalogue"):
        Instruments().counter("lanecast.unheard_of")


def test_what_was_measured_is_taken_once_and_empty_series_are_left_out() -> None:
    instruments = Instruments()
    instruments.counter(EVENT_ACCEPTED, lane="LOW").add(3)
    instruments.counter(EVENT_ACCEPTED, lane="HIGH")
    instruments.sketch(HOP_DURATION, hop="log").record_ns(1_000)
    instruments.sketch(HOP_DURATION, hop="skewed").record_ns(-1)
    instruments.sketch(HOP_DURATION, hop="empty")
    assert [(key.attributes, value) for key, value in instruments.take_counters()] == [((("lane", "LOW"),), 3)]
    assert [dict(key.attributes)["hop"] for key, _ in instruments.take_sketches()] == ["log"]
    assert [(key.name, key.attributes, value) for key, value in instruments.take_counters()] == [
        (CLOCK_SKEWED, (("hop", "skewed"),), 1)
    ]
    assert list(instruments.take_sketches()) == []


def test_gauges_are_read_when_asked() -> None:
    instruments = Instruments()
    depth = [1.0, 2.0]
    instruments.gauge(QUEUE_DEPTH, depth.pop, queue="stream")
    assert [value for _, value in instruments.read_gauges()] == [2.0]
    assert [value for _, value in instruments.read_gauges()] == [1.0]


def test_what_could_not_be_sent_is_added_to_what_came_since() -> None:
    instruments = Instruments()
    sketch, counter = instruments.sketch(HOP_DURATION, hop="log"), instruments.counter(EVENT_ACCEPTED)
    sketch.record_ns(1_000)
    counter.add()
    sketches, counters = list(instruments.take_sketches()), list(instruments.take_counters())
    sketch.record_ns(2_000)
    counter.add(4)
    instruments.give_back(sketches, counters)
    assert [taken.count for _, taken in instruments.take_sketches()] == [2]
    assert [amount for _, amount in instruments.take_counters()] == [5]


def test_every_reader_gets_everything_at_its_own_pace() -> None:
    instruments = Instruments()
    often, seldom = instruments.reader(), instruments.reader()
    whole = instruments.sketch(HOP_DURATION, hop="log")
    part = instruments.part(whole, HOP_DURATION, hop="log", type="a")
    counter = instruments.counter(EVENT_ACCEPTED)
    for value in (1_000, 2_000_000, 3_000):
        part.record_ns(value)
        counter.add()
        assert sorted(taken.count for _, taken in often.take_sketches()) == [1, 1]
        assert [amount for _, amount in often.take_counters()] == [1]
    found = {key.attributes: taken for key, taken in seldom.take_sketches()}
    assert [(taken.count, taken.sum_ns) for taken in found.values()] == [(3, 2_004_000)] * 2
    assert [amount for _, amount in seldom.take_counters()] == [3]
    assert list(often.take_sketches()) == list(seldom.take_sketches()) == []


def test_what_is_recorded_while_a_reading_goes_on_is_in_the_whole_and_in_its_part() -> None:
    instruments = Instruments()
    whole = instruments.sketch(HOP_DURATION, hop="log")
    part = instruments.part(whole, HOP_DURATION, hop="log", type="a")
    part.record_ns(1_000)
    counts: dict[object, int] = {}
    for key, taken in instruments.take_sketches():
        counts[key.attributes] = counts.get(key.attributes, 0) + taken.count
        part.record_ns(1_000)
        part.record_ns(1_000)
    part_left = list(instruments.take_sketches())
    for key, taken in part_left:
        counts[key.attributes] = counts.get(key.attributes, 0) + taken.count
    assert sorted(counts.values()) == [5, 5]
