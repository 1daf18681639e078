"""What operators are told of channels and sessions, put together from several answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.errors import StatusError
from lanecast.v1 import admin_pb2
from lanecast.v1.event_pb2 import LanePosition
from metrics_svc.core import survey
from metrics_svc.core.json_schema import add


def status(channel: str, **fields: float) -> admin_pb2.ChannelStatus:
    return admin_pb2.ChannelStatus(channel=channel, **fields)  # type: ignore[arg-type]


def test_subscribers_add_up_and_the_greatest_lag_counts() -> None:
    publisher = [status("a", events_per_second=5.0, lag=3), status("b", events_per_second=9.0)]
    gateways = [[status("a", subscribers=2, lag=1)], [status("a", subscribers=3, lag=7), status("b", subscribers=1)]]
    found = survey.merge_channels([publisher], gateways, admin_pb2.CHANNEL_ORDER_RATE, 10)
    assert [(one.channel, one.events_per_second, one.lag, one.subscribers) for one in found] == [
        ("b", 9.0, 0, 1),
        ("a", 5.0, 7, 5),
    ]
    by_lag = survey.merge_channels([publisher], gateways, admin_pb2.CHANNEL_ORDER_LAG, 1)
    assert [one.channel for one in by_lag] == ["a"]


def test_a_gateway_whose_stream_is_behind_the_log_has_that_lag() -> None:
    log, edge = status("a"), status("a", subscribers=1)
    log.heads.append(LanePosition(lane=1, epoch="e", offset=50))
    edge.heads.append(LanePosition(lane=1, epoch="e", offset=20))
    assert survey.merge_channels([[log]], [[edge]], admin_pb2.CHANNEL_ORDER_LAG, 1)[0].lag == 30
    edge.heads[0].epoch = "another"
    assert survey.merge_channels([[log]], [[edge]], admin_pb2.CHANNEL_ORDER_LAG, 1)[0].lag == 0


@given(st.lists(st.sets(st.integers(0, 200), max_size=40), max_size=4), st.integers(1, 30))
def test_pages_bring_every_session_once_and_in_order(gateways: list[set[int]], size: int) -> None:
    seen: set[int] = set()
    mine = [sorted(ids - set().union(*gateways[:number])) for number, ids in enumerate(gateways)]
    seen, after, pages = set(), "", 0
    while True:
        answers = [
            [admin_pb2.Session(id=f"{each:032x}") for each in ids if f"{each:032x}" > after][: size + 1] for ids in mine
        ]
        page, after = survey.merge_sessions(answers, size)
        ids = [int(session.id, 16) for session in page]
        assert ids == sorted(ids)
        assert not seen & set(ids)
        seen |= set(ids)
        pages += 1
        if not after:
            break
        assert len(page) == size
    assert seen == {each for ids in mine for each in ids}
    assert pages <= len(seen) // size + 1


def test_who_should_have_answered_is_named() -> None:
    assert survey.unanswered(["g/1", "g/2"], ["g/1", "g/3"], ["g/2"]) == ["g/2", "g/3"]


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(StatusError, match="page size"):
        survey.page_size(size, 20)


@pytest.mark.parametrize(("session", "reason"), [("", ""), ("x" * 32, ""), ("a" * 31, ""), ("a" * 32, "é" * 51)])
def test_what_is_no_session_or_no_reason_is_refused(session: str, reason: str) -> None:
    with pytest.raises(StatusError) as caught:
        survey.check_disconnect(session, reason)
    assert caught.value.code == 3


def test_a_reason_cannot_write_a_log_line_of_its_own() -> None:
    assert survey.printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"


def test_schemas_cover_every_field_type_of_the_contracts() -> None:
    schemas: dict[str, dict[str, object]] = {}
    for message in admin_pb2.DESCRIPTOR.message_types_by_name.values():
        add(message, schemas, complete=True)
    session = schemas["Session"]["properties"]
    assert isinstance(session, dict)
    assert session["outboxBytes"] == {"type": "string", "pattern": "^[0-9]{1,20}$"}
    assert session["subscriptions"]["type"] == "integer"
