"""Notifications that wait: bounded, in order, with growing pauses and an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metrics_svc.core.alerts import NANOS
from metrics_svc.core.mailbox import MAX_DELAY_SECONDS, MAX_WAITING, Mailbox
from metrics_svc.core.notices import FAILED, SENT, WAITING, Notice, signature

NOW = 1_800_000_000 * NANOS


def mailbox(deadline: float = 3600.0) -> Mailbox:
    return Mailbox(deadline, lambda low, high: high)


def notice(name: str, now_ns: int = NOW) -> Notice:
    return Notice(name, now_ns, "{}")


def test_what_arrives_is_recorded_and_goes() -> None:
    box = mailbox()
    box.add([notice("a:FIRING"), notice("a:FIRING")], NOW)
    assert len(box) == 1
    taken = box.take(NOW)
    assert taken is not None
    assert box.take(NOW) is None  # under way
    sent = box.sent("a:FIRING")
    assert sent is not None
    assert (sent.outcome, sent.attempts) == (SENT, 1)
    assert box.next_seconds(NOW) is None
    assert box.sent("a:FIRING") is None


def test_pauses_double_up_to_a_bound_and_what_the_receiver_asks_for_counts() -> None:
    box, now, pauses = mailbox(10**6), NOW, []
    box.add([notice("a:FIRING")], now)
    for _ in range(12):
        assert box.take(now) is not None
        box.failed("a:FIRING", now, "no", retry=True)
        pauses.append(box.next_seconds(now) or 0)
        now += round(pauses[-1] * NANOS)
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == MAX_DELAY_SECONDS
    box.take(now)
    box.failed("a:FIRING", now, "no", retry=True, after_seconds=500)
    assert box.next_seconds(now) == 500


def test_it_is_given_up_at_its_deadline_or_where_no_try_will_help() -> None:
    box = mailbox(2.0)
    box.add([notice("a:FIRING"), notice("b:FIRING")], NOW)
    box.take(NOW)
    first = box.failed("a:FIRING", NOW, "no", retry=True)
    assert first is not None
    assert first.outcome == WAITING
    last = box.failed("a:FIRING", NOW + NANOS, "no" * 400, retry=True)
    assert last is not None
    assert (last.outcome, last.attempts, len(last.detail)) == (FAILED, 2, 300)
    refused = box.failed("b:FIRING", NOW, "it answered 404", retry=False)
    assert refused is not None
    assert (refused.outcome, refused.detail) == (FAILED, "it answered 404")
    assert len(box) == 0


def test_the_end_of_an_alert_waits_for_its_begin() -> None:
    box = mailbox()
    box.add([notice("a:FIRING"), notice("a:RESOLVED"), notice("b:FIRING")], NOW)
    box.take(NOW)
    box.failed("a:FIRING", NOW, "no", retry=True)
    assert (box.take(NOW) or notice("")).key == "b:FIRING"
    assert box.take(NOW) is None
    later = NOW + NANOS
    assert (box.take(later) or notice("")).key == "a:FIRING"
    box.sent("a:FIRING")
    assert (box.take(later) or notice("")).key == "a:RESOLVED"


@given(st.lists(st.sampled_from(["add", "take", "fail", "send"]), max_size=200))
def test_it_stays_bounded_and_gives_up_aloud(steps: list[str]) -> None:
    box, given_up, added, taken, done = mailbox(), 0, 0, [], 0
    for step in steps:
        if step == "add":
            given_up += len(box.add([notice(f"{added + index}:FIRING") for index in range(20)], NOW))
            added += 20
        elif step == "take":
            found = box.take(NOW)
            taken += [found.key] if found is not None else []
        elif taken:
            key = taken.pop()
            record = box.sent(key) if step == "send" else box.failed(key, NOW, "no", retry=False)
            done += record is not None
        assert len(box) <= MAX_WAITING
        assert len(box) == added - given_up - done


def test_the_signature_covers_time_and_body() -> None:
    found = signature("secret", 1_800_000_000, b"{}")
    assert found.startswith("t=1800000000,v1=")
    assert len(found.partition("v1=")[2]) == 64
    others = [signature("other", 1_800_000_000, b"{}"), signature("secret", 1, b"{}"), signature("secret", 1, b"[]")]
    assert len({found, *others}) == 4
