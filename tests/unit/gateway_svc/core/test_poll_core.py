"""Requests, cursors and answers of long polls, without a socket."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_svc.core import frames, poll
from gateway_svc.core.handshake import Answer
from lanecast.core import codes

ORIGINS = ["http://app.example"]
HEADERS = {"Authorization": "Bearer abc"}
REFUSALS = {
    "no token": ("/v1/poll?channel=a", {}, 401),
    "another scheme": ("/v1/poll?channel=a", {"Authorization": "Basic abc"}, 401),
    "an empty token": ("/v1/poll?channel=a", {"Authorization": "Bearer  "}, 401),
    "a token in the URL": ("/v1/poll?channel=a&access_token=abc", HEADERS, 400),
    "no channel": ("/v1/poll", HEADERS, 400),
    "too many channels": ("/v1/poll?" + "&".join(f"channel=c{n}" for n in range(33)), HEADERS, 400),
    "an unknown lane": ("/v1/poll?channel=a&lanes=URGENT", HEADERS, 400),
    "a long wait": ("/v1/poll?channel=a&wait=60", HEADERS, 400),
    "a wait that is none": ("/v1/poll?channel=a&wait=nan", HEADERS, 400),
    "a start of another kind": ("/v1/poll?channel=a&start=MIDDLE", HEADERS, 400),
    "a last that is no number": ("/v1/poll?channel=a&start=LAST_N&last=-1", HEADERS, 400),
    "a cursor of another kind": ("/v1/poll?channel=a&after=abc", HEADERS, 400),
    "a huge cursor": ("/v1/poll?channel=a&after=" + "A" * 4_000, HEADERS, 400),
    "a foreign origin": ("/v1/poll?channel=a", {**HEADERS, "Origin": "http://evil.example"}, 403),
}


def request(target: str = "/v1/poll?channel=a&lanes=critical,HIGH", **headers: str) -> poll.PollRequest:
    made = poll.parse(target, {**HEADERS, **headers}, ORIGINS)
    assert isinstance(made, poll.PollRequest), made
    return made


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ("start=earliest", {"start": "START_EARLIEST", "lastN": 0}),
        ("start=LAST_N&last=20", {"start": "START_LAST_N", "lastN": 20}),
    ],
)
def test_a_poll_says_where_to_begin_without_a_cursor(query: str, start: dict[str, Any]) -> None:
    subscribe = json.loads(request(f"/v1/poll?channel=a&{query}").commands()[1])["subscribe"]
    assert subscribe == {"channel": "a", "lanes": ["CRITICAL"], "positions": [], **start}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_bad_request_is_refused_with_what_to_do(name: str) -> None:
    target, headers, status = REFUSALS[name]
    refusal = poll.parse(target, headers, ORIGINS)
    assert isinstance(refusal, Answer)
    assert refusal.status == status
    assert refusal.body.decode().rstrip().endswith((".", "…`."))


def test_a_refusal_can_be_read_by_a_page_of_another_origin() -> None:
    refusal = poll.parse("/v1/poll", {**HEADERS, "Origin": ORIGINS[0]}, ORIGINS)
    assert isinstance(refusal, Answer)
    assert ("Access-Control-Allow-Origin", ORIGINS[0]) in refusal.extra


def test_critical_is_what_is_asked_for_unless_the_request_says_otherwise() -> None:
    assert request("/v1/poll?channel=a&channel=b&channel=a").lanes == ("CRITICAL",)
    assert request("/v1/poll?channel=a&channel=b&channel=a").channels == ("a", "b")
    assert request().lanes == ("CRITICAL", "HIGH")


def test_a_poll_says_what_a_websocket_client_would_say() -> None:
    cursor = poll.encode_cursor({"a": {"CRITICAL": ("e1", 7), "LOW": ("e1", 9)}, "gone": {"LOW": ("e1", 1)}})
    commands = [json.loads(each) for each in request(f"/v1/poll?channel=a&after={cursor}").commands()]
    assert commands == [
        {"hello": {"token": "abc", "client": "poll"}},
        {
            "subscribe": {
                "channel": "a",
                "lanes": ["CRITICAL"],
                "positions": [{"lane": "CRITICAL", "epoch": "e1", "offset": "7"}],
            }
        },
    ]


@given(
    st.dictionaries(
        st.text(max_size=20),
        st.dictionaries(
            st.sampled_from(["CRITICAL", "HIGH", "NORMAL", "LOW"]),
            st.tuples(st.text(max_size=10), st.integers(0, (1 << 64) - 1)),
        ),
        max_size=5,
    )
)
def test_a_cursor_comes_back_as_it_went(cursor: poll.Cursor) -> None:
    text = poll.encode_cursor(cursor)
    if len(text) <= poll.MAX_CURSOR_BYTES:
        assert poll.decode_cursor(text) == cursor


@given(st.one_of(st.text(max_size=200), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_whatever_stands_for_a_cursor_is_read_or_refused(text: str) -> None:
    poll.decode_cursor(text)
    poll.decode_cursor(base64.urlsafe_b64encode(text.encode(errors="replace")).decode())


def test_a_preflight_is_answered_for_allowed_origins_only() -> None:
    head = "OPTIONS /v1/poll HTTP/1.1\r\nHost: x\r\norigin: {}\r\n\r\n"
    allowed = poll.preflight(head.format(ORIGINS[0]).encode(), ORIGINS)
    assert (allowed.status, dict(allowed.extra)["Access-Control-Allow-Headers"]) == (204, "Authorization")
    assert poll.preflight(head.format("null").encode(), ORIGINS).status == 403
    assert poll.preflight(b"OPTIONS /v1/poll HTTP/1.1\r\n\r\n", ORIGINS).status == 403


def frame(**fields: Any) -> bytes:
    return frames.text(frames.compact(fields))


def test_an_answer_holds_what_matters_and_a_cursor_behind_it() -> None:
    collector = poll.Collector(request())
    collector.write(frame(welcome={"session": "s"}))
    positions = [{"lane": "PRIORITY_CRITICAL", "epoch": "e1", "offset": "3"}]
    collector.write(frame(subscribed={"channel": "a", "wasRecovering": False, "positions": positions}))
    assert not collector.has_news
    batch = {"channel": "a", "lane": "PRIORITY_CRITICAL", "epoch": "e1", "events": [{"offset": "4"}, {"offset": "8"}]}
    collector.write(frame(events=batch))
    high = {"channel": "a", "lane": "PRIORITY_HIGH", "epoch": "e1", "toOffset": "6", "fromOffset": "1"}
    collector.write(frame(gap=high))
    collector.write(frame(ping={"sequence": 1}))
    assert collector.has_news

    body = json.loads(collector.answer().body)

    assert [next(iter(each)) for each in body["frames"]] == ["subscribed", "events", "gap"]
    assert poll.decode_cursor(body["next"]) == {"a": {"CRITICAL": ("e1", 8), "HIGH": ("e1", 6)}}


def test_a_resumed_poll_without_news_stands_where_it_stood() -> None:
    cursor = poll.encode_cursor({"a": {"CRITICAL": ("e1", 7)}})
    collector = poll.Collector(request(f"/v1/poll?channel=a&after={cursor}"))
    positions = [{"lane": "PRIORITY_CRITICAL", "epoch": "e1", "offset": "9"}]
    collector.write(frame(subscribed={"channel": "a", "wasRecovering": True, "positions": positions}))
    assert json.loads(collector.answer().body)["next"] == cursor


def test_an_answer_does_not_grow_without_end() -> None:
    collector = poll.Collector(request())
    data = frame(
        events={"channel": "a", "lane": "PRIORITY_LOW", "epoch": "e", "events": [{"offset": "1"}], "x": "x" * 50_000}
    )
    taken = 1
    while collector.write(data):
        taken += 1
    assert taken == poll.ANSWER_BYTES // 50_000 + 1


@pytest.mark.parametrize(
    ("code", "status"), [(codes.UNAUTHENTICATED, 401), (codes.TOKEN_EXPIRED, 401), (codes.SLOW_CONSUMER, 200)]
)
def test_the_end_of_the_session_is_the_status_of_the_answer(code: codes.Code, status: int) -> None:
    collector = poll.Collector(request())
    collector.close(code.number, code.reason)
    assert collector.answer().status == status
