"""The registry of instruments."""

from __future__ import annotations

import pytest

from lanecast.core.instruments import EVENT_ACCEPTED, HOP_DURATION, QUEUE_DEPTH, Instruments


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
    assert [dict(key.attributes)["hop"] for key, _ in instruments.take_sketches()] == ["log", "skewed"]
    assert list(instruments.take_counters()) == []
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
