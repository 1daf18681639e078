"""The life of an alert: it does not flap, it ends, and it says everything once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.errors import StatusError
from metrics_svc.core import alerts as module
from metrics_svc.core.alerts import NANOS, Alert, AlertBook, Reading, Severity, State

START = 1_800_000_000 * NANOS


def reading(
    *, holds: bool = True, stays: bool | None = None, rule: str = "r", group: str = "", rank: int = 0
) -> Reading:
    return Reading(
        rule, Severity.PAGE, holds, holds if stays is None else stays, "It is wrong.", None, 3.0, 5.0, group, rank
    )


def at(second: float) -> int:
    return START + round(second * NANOS)


def run(book: AlertBook, first: int, last: int, **options: bool) -> list[Alert]:
    return [alert for second in range(first, last) for alert in book.update(at(second), [reading(**options)])]


def test_pending_then_firing_then_resolved() -> None:
    book = AlertBook()
    changes = run(book, 0, 10) + run(book, 10, 20, holds=False)
    assert [(alert.state, alert.changed_ns) for alert in changes] == [
        (State.PENDING, at(0)), (State.FIRING, at(3)), (State.RESOLVED, at(15)),
    ]  # fmt: skip
    assert (changes[-1].start_ns, changes[-1].end_ns) == (at(0), at(15))
    assert len({alert.id for alert in changes}) == 1
    assert book.open_alerts() == []


def test_what_held_too_shortly_leaves_nothing() -> None:
    book = AlertBook()
    run(book, 0, 2)
    run(book, 2, 4, holds=False)
    assert book.newest() == []


def test_between_begin_and_end_it_keeps_its_state() -> None:
    book = AlertBook()
    run(book, 0, 10)
    assert run(book, 10, 100, holds=False, stays=True) == []
    assert run(book, 100, 104, holds=False) == []  # clear, but not long enough
    assert run(book, 104, 106) == []
    assert [alert.state for alert in run(book, 106, 200, holds=False)] == [State.RESOLVED]


def test_a_rule_that_is_gone_holds_no_longer() -> None:
    book = AlertBook()
    run(book, 0, 10)
    assert [alert.state for alert in book.update(at(11), [])] == [State.RESOLVED]


values = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=120)


@given(values)
def test_it_never_flaps_and_always_ends(steps: list[tuple[bool, bool]]) -> None:
    book, changes = AlertBook(), []
    for second, (holds, stays) in enumerate(steps):
        changes += book.update(at(second), [reading(holds=holds, stays=holds or stays)])
    changes += run(book, len(steps), len(steps) + 10, holds=False)
    assert book.open_alerts() == []
    by_id: dict[str, list[Alert]] = {}
    for alert in changes:
        by_id.setdefault(alert.id, []).append(alert)
    for life in by_id.values():
        states = [alert.state for alert in life]
        assert states in ([State.PENDING], [State.PENDING, State.FIRING, State.RESOLVED])
        if len(life) == 3:
            assert life[1].changed_ns - life[0].start_ns >= 3 * NANOS
            assert life[2].end_ns - life[1].changed_ns >= 5 * NANOS
    fired = [alert for alert in changes if alert.state is State.FIRING]
    for one, other in pairwise(fired):
        assert other.changed_ns - one.changed_ns >= 8 * NANOS


@given(values, st.integers(0, 119))
def test_a_restart_and_the_same_readings_again_change_nothing(steps: list[tuple[bool, bool]], cut: int) -> None:
    whole, restarted = AlertBook(), AlertBook()
    for second, (holds, stays) in enumerate(steps):
        now = reading(holds=holds, stays=holds or stays)
        expected = whole.update(at(second), [now])
        if second == cut:
            restarted = AlertBook(restarted.newest())
        assert restarted.update(at(second), [now]) == expected
        assert restarted.update(at(second), [now]) == []
        assert restarted.due(at(second)) == whole.due(at(second))
        assert restarted.due(at(second)) == []
    assert restarted.newest() == whole.newest()


def firing(book: AlertBook) -> Alert:
    run(book, 0, 4)
    return book.open_alerts()[0]


def test_each_state_is_told_once() -> None:
    book = AlertBook()
    alert = firing(book)
    assert [one.id for one in book.due(at(4))] == [alert.id]
    assert book.due(at(5)) == []
    run(book, 5, 20, holds=False)
    assert [one.state for one in book.due(at(20))] == [State.RESOLVED]
    assert book.due(at(21)) == []


def test_a_silenced_alert_is_told_afterwards_where_it_still_fires() -> None:
    book = AlertBook()
    alert = firing(book)
    changed = book.acknowledge(at(4), alert.id, "kim", "on it", 60)
    assert (changed.acknowledged_by, changed.comment, changed.silenced_until_ns) == ("kim", "on it", at(64))
    run(book, 4, 30)
    assert book.due(at(30)) == []
    assert [one.id for one in book.due(at(64))] == [alert.id]


def test_the_end_of_what_nobody_was_told_is_not_told() -> None:
    book = AlertBook()
    book.acknowledge(at(4), firing(book).id, "kim", "", 60)
    run(book, 4, 30, holds=False)
    assert book.due(at(100)) == []


def test_one_cause_is_told_once() -> None:
    book = AlertBook()
    both = [reading(rule="fast", group="g", rank=0), reading(rule="slow", group="g", rank=1)]
    for second in range(5):
        book.update(at(second), both)
    assert [alert.rule for alert in book.due(at(5))] == ["fast"]
    for second in range(5, 15):
        book.update(at(second), [reading(rule="fast", holds=False), both[1]])
    assert [alert.rule for alert in book.due(at(15))] == ["fast", "slow"]


@pytest.mark.parametrize(
    ("actor", "comment", "silence", "reason"),
    [
        ("", "", 0.0, "ACTOR_INVALID"),
        ("a\x1b[2J", "", 0.0, "ACTOR_INVALID"),
        ("a" * 200, "", 0.0, "ACTOR_INVALID"),
        ("kim", "x" * 501, 0.0, "COMMENT_TOO_LONG"),
        ("kim", "", -1.0, "SILENCE_OUT_OF_RANGE"),
        ("kim", "", float("nan"), "SILENCE_OUT_OF_RANGE"),
        ("kim", "", 1e9, "SILENCE_OUT_OF_RANGE"),
    ],
)
def test_a_malformed_acknowledgement_is_refused(actor: str, comment: str, silence: float, reason: str) -> None:
    book = AlertBook()
    alert = firing(book)
    with pytest.raises(StatusError) as caught:
        book.acknowledge(at(4), alert.id, actor, comment, silence)
    assert caught.value.reason == reason


def test_who_comes_too_late_or_asks_for_nothing_is_told_so() -> None:
    book = AlertBook()
    alert = firing(book)
    with pytest.raises(StatusError, match="there is no alert 'x'"):
        book.acknowledge(at(4), "x", "kim", "", 0)
    run(book, 4, 20, holds=False)
    with pytest.raises(StatusError, match="already resolved"):
        book.acknowledge(at(20), alert.id, "kim", "", 0)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ALERTS", 3)
    book = AlertBook()
    for number in range(6):
        run(book, 100 * number, 100 * number + 5)
        run(book, 100 * number + 5, 100 * number + 20, holds=False)
    assert len(book.forget(at(700))) == 3
    assert [alert.start_ns for alert in book.newest()] == [at(500), at(400), at(300)]
    assert len(book.forget(at(700 + module.KEEP_SECONDS))) == 3
    monkeypatch.setattr(module, "MAX_OPEN", 2)
    book.update(at(800), [reading(rule=f"r{number}") for number in range(4)])
    assert len(book.open_alerts()) == 2
