"""The controller of the frame window, and what waits in it."""

from __future__ import annotations

from gateway_fakes import event, item
from hypothesis import given
from hypothesis import strategies as st

from gateway_svc.core import window
from gateway_svc.core.channel import Feed
from gateway_svc.core.window import CEILING_NS, STEP_NS, FrameWindow, Waiting
from lanecast.core.priority import Priority

MS = 1_000_000


def pressed(share: float, steps: int, controller: FrameWindow | None = None, start: int = 0) -> FrameWindow:
    controller = controller or FrameWindow(start)
    for step in range(1, steps + 1):
        controller.spent(int(share * STEP_NS), start + step * STEP_NS)
    return controller


def busy_feed(lane: Priority, gap_ns: int, until_ns: int, controller: FrameWindow) -> Feed:
    feed = Feed("c", lane)
    for now in range(until_ns - 40 * gap_ns, until_ns, gap_ns):
        controller.due_ns(feed, now)
    feed.flushed_ns = until_ns - MS
    return feed


def test_without_pressure_nothing_waits() -> None:
    controller = pressed(0.10, 20)
    feed = busy_feed(Priority.NORMAL, MS, 1_000 * MS, controller)
    assert controller.width_ns == 0
    assert controller.due_ns(feed, 1_000 * MS) == 0


def test_pressure_widens_up_to_the_ceiling_of_the_lane_and_its_end_closes() -> None:
    controller = pressed(0.60, 30)
    end = 30 * STEP_NS
    for lane in (Priority.NORMAL, Priority.LOW):
        feed = busy_feed(lane, MS, end, controller)
        assert controller.due_ns(feed, end) == feed.flushed_ns + CEILING_NS[lane]
    for lane in (Priority.CRITICAL, Priority.HIGH):
        assert controller.due_ns(busy_feed(lane, MS, end, controller), end) == 0
    pressed(0.05, 100, controller, end)
    assert controller.width_ns == 0


def test_a_share_between_the_two_thresholds_changes_nothing() -> None:
    controller = pressed(0.60, 4)
    width = controller.width_ns
    assert width > 0
    pressed((window.HIGH_SHARE + window.LOW_SHARE) / 2, 10, controller, 4 * STEP_NS)
    assert controller.width_ns == width


def test_a_quiet_channel_never_waits_however_busy_the_process_is() -> None:
    controller = pressed(0.60, 30)
    feed = busy_feed(Priority.LOW, 100 * MS, 10_000 * MS, controller)
    assert controller.due_ns(feed, 10_000 * MS) == 0


def test_a_busy_channel_whose_last_frame_is_a_window_ago_does_not_wait() -> None:
    controller = pressed(0.60, 30)
    now = 30 * STEP_NS
    feed = busy_feed(Priority.NORMAL, MS, now, controller)
    feed.flushed_ns = now - CEILING_NS[Priority.NORMAL]
    assert controller.due_ns(feed, now) == 0


def test_a_feed_that_is_busy_when_the_windows_open_waits_from_its_second_event_on() -> None:
    controller = FrameWindow(0)
    feed = Feed("c", Priority.LOW)
    for now in range(0, STEP_NS, MS):
        assert controller.due_ns(feed, now) == 0
    pressed(0.60, 9, controller)
    opened = 9 * STEP_NS
    dues = []
    for now in range(opened, opened + 4 * MS, MS):
        dues.append(controller.due_ns(feed, now))
        feed.flushed_ns = now if not dues[-1] else feed.flushed_ns
    assert [bool(due) for due in dues] == [False, True, True, True]
    assert dues[1] == opened + controller.width_ns


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 90), st.integers(0, 30)), max_size=120))
def test_each_channel_gets_its_events_in_order_and_none_is_left(arrivals: list[tuple[int, int, int]]) -> None:
    feeds = [Feed(f"c{number}", Priority.LOW) for number in range(4)]
    waiting, last = Waiting(), [0] * 4
    came: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
    left: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}

    def take(now_ns: int) -> None:
        while (found := waiting.pop_due(now_ns)) is not None:
            feed, items = found
            for each in items:
                assert each.count <= 64
                assert [each.first, each.last] == [each.batch.events[0].offset, each.batch.events[-1].offset]
                left[feeds.index(feed)] += [one.offset for one in each.batch.events]

    for now, (channel, count, due) in enumerate(arrivals):
        start = last[channel]
        events = [event(start + n + 1, start + n) for n in range(min(count, 64))]
        last[channel] += len(events)
        came[channel] += [each.offset for each in events]
        new = item(events, f"c{channel}", Priority.LOW)
        if not waiting.join(feeds[channel], new):
            waiting.hold(feeds[channel], new, now + due)
        take(now)
    take(10**9)
    assert left == came
    assert (len(waiting), waiting.bytes, waiting.next_due_ns()) == (0, 0, None)


def test_more_than_may_wait_goes_at_once() -> None:
    waiting = Waiting()
    big = [item([event(n + 1, n, 60_000)], "c", Priority.LOW) for n in range(20)]
    feed = Feed("c", Priority.LOW)
    waiting.hold(feed, big[0], 10**9)
    for each in big[1:]:
        waiting.join(feed, each)
    assert not waiting.has_room
    found = waiting.pop_due(0)
    assert found is not None
    assert sum(each.count for each in found[1]) == 20
    assert waiting.has_room
