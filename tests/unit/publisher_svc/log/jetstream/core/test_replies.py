"""What the server's answers mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.position import EpochStart, Lineage
from publisher_svc.log.base import LogFullError
from publisher_svc.log.jetstream.core.lineage import begun_anew, metadata_of, parse_metadata
from publisher_svc.log.jetstream.core.replies import Again, Refused, Stored, answer_of, place_of, rfc3339, unix_nano


def test_an_acknowledgement() -> None:
    assert answer_of(b'{"stream":"S","seq":7}', "S") == Stored(7, False)
    assert answer_of(b'{"stream":"S","seq":7,"duplicate":true}', "S") == Stored(7, True)


def test_an_acknowledgement_of_another_stream_is_none() -> None:
    assert isinstance(answer_of(b'{"stream":"T","seq":7}', "S"), Refused)


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b"{}", b'{"stream":"S","seq":0}', b'{"seq":"7"}'])
def test_what_is_no_answer_is_asked_again(data: bytes) -> None:
    assert isinstance(answer_of(data, "S"), Again)


@pytest.mark.parametrize("code", [10023, 10047, 10077])
def test_no_room(code: int) -> None:
    answer = answer_of(b'{"error":{"code":503,"err_code":%d,"description":"insufficient resources"}}' % code, "S")
    assert isinstance(answer, Refused)
    assert isinstance(answer.error, LogFullError)


def test_a_leader_that_is_being_elected_is_asked_again() -> None:
    assert isinstance(answer_of(b'{"error":{"err_code":10008,"description":"unavailable"}}', "S"), Again)


@pytest.mark.parametrize(
    "reply", ["$JS.ACK.S.c.1.42.3.99.0", "$JS.ACK.dom.hash.S.c.1.42.3.99.0", "$JS.ACK.dom.hash.S.c.1.42.3.99.0.token"]
)
def test_the_place_of_a_message(reply: str) -> None:
    place = place_of(reply)
    assert (place.sequence, place.delivery, place.time_ns) == (42, 3, 99)


@pytest.mark.parametrize("reply", ["", "_INBOX.x", "$JS.ACK.S.c.1.x.3.99.0", "$JS.ACK.S"])
def test_no_place(reply: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - int's own and ours
        place_of(reply)


@given(st.integers(0, 4 * 10**18))
def test_times_and_back(unix_nanos: int) -> None:
    assert unix_nano(rfc3339(unix_nanos)) == unix_nanos


@pytest.mark.parametrize(
    ("text", "unix_nanos"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T00:00:01.5Z", 15 * 10**8),
        ("1970-01-01T01:00:01.000000007+01:00", 10**9 + 7),
        ("0001-01-01T00:00:00Z", 0),
    ],
)
def test_times_as_the_server_writes_them(text: str, unix_nanos: int) -> None:
    assert unix_nano(text) == unix_nanos


def test_a_stream_tells_its_lineage() -> None:
    lineage = begun_anew(Lineage([EpochStart("one", 1)]), "two", 9)
    partitions, found = parse_metadata({**metadata_of(16, lineage), "_nats.level": "1"})
    assert partitions == 16
    assert found.starts == (EpochStart("one", 1), EpochStart("two", 10240))


def test_going_back_behind_an_epoch_drops_it() -> None:
    lineage = Lineage([EpochStart("one", 1), EpochStart("two", 10240)])
    assert begun_anew(lineage, "three", 5).starts == (EpochStart("one", 1), EpochStart("three", 6144))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "not made by Lanecast"),
        ({"lanecast.format": "9"}, "format is 9"),
        ({"lanecast.format": "1", "lanecast.partitions": "x", "lanecast.lineage": "a:1"}, "damaged"),
        ({"lanecast.format": "1", "lanecast.partitions": "1", "lanecast.lineage": "a"}, "damaged"),
    ],
)
def test_metadata_that_cannot_be_used(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_metadata(metadata)
