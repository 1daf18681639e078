"""Events as JSON objects: what is read, and what is said about what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lanecast.cli.core.drafts import Draft, parse_draft
from lanecast.cli.core.problems import InputError
from lanecast.core.priority import Priority

EVENT: dict[str, Any] = {
    "channel": "agent:42",
    "type": "lanecast.ai.v1.ConciergeInsight",
    "priority": "CRITICAL",
    "data": {"text": "Offer the annual plan."},
}


def test_reads_what_is_needed() -> None:
    assert parse_draft(json.dumps(EVENT)) == Draft(
        "agent:42", "lanecast.ai.v1.ConciergeInsight", Priority.CRITICAL, {"text": "Offer the annual plan."}
    )


def test_reads_what_is_optional() -> None:
    draft = parse_draft(json.dumps({**EVENT, "id": "a1", "ttl": "30s", "conflationKey": "price"}))

    assert (draft.id, draft.ttl_seconds, draft.conflation_key) == ("a1", 30.0, "price")


@pytest.mark.parametrize("name", ["critical", "Critical", "PRIORITY_CRITICAL"])
def test_reads_a_lane_in_any_form(name: str) -> None:
    assert parse_draft(json.dumps({**EVENT, "priority": name})).priority is Priority.CRITICAL


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"priority": "URGENT"}, "unknown lane 'URGENT': use one of CRITICAL, HIGH, NORMAL, LOW"),
        ({"priority": ""}, "priority is missing"),
        ({"priority": 1}, "priority must be a string"),
        ({"channel": None}, "channel is missing"),
        ({"channel": ""}, "the channel name is empty"),
        ({"channel": "agent:*"}, r"has \* or >"),
        ({"channel": "a\ud800"}, "half of a surrogate pair"),
        ({"type": None}, "type is missing"),
        ({"id": 7}, "id must be a string"),
        ({"ttl": -1}, "ttl must be above 0"),
        ({"ttl": True}, "ttl must be seconds"),
        ({"ttl": "soon"}, "ttl: 'soon' is no duration"),
        ({"ttl": 1e400}, "ttl must be above 0"),
        ({"chanel": "x"}, "unknown key 'chanel': use channel, type"),
    ],
)
def test_says_what_is_wrong(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_draft(json.dumps({**EVENT, **change}))


def test_data_must_be_there() -> None:
    without = {key: value for key, value in EVENT.items() if key != "data"}
    with pytest.raises(InputError, match="data is missing"):
        parse_draft(json.dumps(without))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"NaN,"])
def test_refuses_what_is_no_json(text: bytes) -> None:
    with pytest.raises(InputError, match="this is not JSON"):
        parse_draft(text)


@pytest.mark.parametrize("text", [b"[]", b"7", b'"x"', b"null"])
def test_refuses_json_that_is_no_object(text: bytes) -> None:
    with pytest.raises(InputError, match="an event is a JSON object"):
        parse_draft(text)
