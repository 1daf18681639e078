"""Tokens: issuing and checking."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from lanecast.core.priority import LANES, Priority
from lanecast.errors import StartError, TokenError
from lanecast.runtime.tokens import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    KEY_FILE,
    MAX_LIFETIME_SECONDS,
    Rate,
    issue,
    load_or_create_key,
    verify,
)

KEY = "k" * 48


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made: dict[str, Any] = {
        "sub": "anna", "iat": now, "exp": now + 3600, "iss": ISSUER, "aud": AUDIENCE, "jti": "1",
        "grants": [{"channels": ["a"], "allow": ["subscribe"]}],
    }  # fmt: skip
    made.update(changes)
    return {name: value for name, value in made.items() if value is not None}


def signed(key: str = KEY, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=ALGORITHM)


def test_an_issued_token_grants_what_was_asked() -> None:
    identity = verify(KEY, issue(KEY, ["agent:*", "bots"], subject="anna", ttl_seconds=60))
    assert identity.subject == "anna"
    assert identity.lanes_for("agent:42") == identity.lanes_for("bots") == frozenset(LANES)
    assert identity.lanes_for("other") == frozenset()
    assert identity.token_id


def test_grants_may_name_lanes_and_add_up() -> None:
    grants = [
        {"channels": ["a*"], "allow": ["subscribe"], "lanes": ["LOW"]},
        {"channels": ["ab"], "allow": ["subscribe"], "lanes": ["high"]},
        {"channels": ["*"], "allow": ["publish"]},
    ]
    identity = verify(KEY, signed(grants=grants))
    assert identity.lanes_for("a") == {Priority.LOW}
    assert identity.lanes_for("ab") == {Priority.LOW, Priority.HIGH}
    assert identity.lanes_for("z") == frozenset()
    assert identity.publish_lanes_for("z") == frozenset(LANES)


def test_a_token_for_publishing_grants_channels_lanes_and_a_rate() -> None:
    token = issue(KEY, ["a"], publish=["agent:*"], highest_lane=Priority.NORMAL, rate=Rate(2.5, 10))
    identity = verify(KEY, token)
    assert identity.publish_lanes_for("agent:42") == {Priority.NORMAL, Priority.LOW}
    assert identity.publish_lanes_for("a") == identity.lanes_for("agent:42") == frozenset()
    assert identity.publish_rate == Rate(2.5, 10)


def test_publishing_is_denied_unless_granted_and_all_lanes_unless_named() -> None:
    assert verify(KEY, issue(KEY, ["*"])).publish_lanes_for("a") == frozenset()
    identity = verify(KEY, issue(KEY, [], publish=["a"]))
    assert (identity.publish_lanes_for("a"), identity.publish_rate) == (frozenset(LANES), None)


def test_lanes_and_highest_lane_hold_both_and_grants_add_up() -> None:
    grants = [
        {"channels": ["a*"], "allow": ["publish", "subscribe"], "lanes": ["HIGH", "LOW"], "highest_lane": "NORMAL"},
        {"channels": ["ab"], "allow": ["publish"], "highest_lane": "high"},
    ]
    identity = verify(KEY, signed(grants=grants))
    assert identity.publish_lanes_for("a") == {Priority.LOW}
    assert identity.publish_lanes_for("ab") == {Priority.HIGH, Priority.NORMAL, Priority.LOW}
    assert identity.lanes_for("a") == {Priority.HIGH, Priority.LOW}


@pytest.mark.parametrize(("rate", "burst"), [(0.2, 1), (1, 1), (1.5, 2), (1_000, 1_000), (1e9, 10**9)])
def test_a_rate_without_a_burst_has_that_of_a_second(rate: float, burst: int) -> None:
    identity = verify(KEY, signed(publish_rate={"events_per_second": rate}))
    assert identity.publish_rate == Rate(rate, burst)


@pytest.mark.parametrize(
    "rate",
    [
        None, 5, [], {}, {"burst": 5}, {"events_per_second": "5"}, {"events_per_second": True},
        {"events_per_second": 0}, {"events_per_second": -1}, {"events_per_second": 1e-9},
        {"events_per_second": float("inf")}, {"events_per_second": float("nan")}, {"events_per_second": 10**400},
        {"events_per_second": 5, "burst": 0}, {"events_per_second": 5, "burst": 1.5},
        {"events_per_second": 5, "burst": True}, {"events_per_second": 5, "burst": 10**10},
    ],
)  # fmt: skip
def test_a_rate_that_makes_no_sense_is_refused(rate: Any) -> None:
    token = jwt.encode({**claims(), "publish_rate": rate}, KEY, algorithm=ALGORITHM)
    with pytest.raises(TokenError, match=r"(in )?publish_rate must") as caught:
        verify(KEY, token)
    assert caught.value.reason == "TOKEN_CLAIMS"


@pytest.mark.parametrize("rate", [Rate(0.0, 1), Rate(1.0, 0), Rate(float("nan"), 1)])
def test_a_rate_that_would_be_refused_is_not_issued(rate: Rate) -> None:
    with pytest.raises(TokenError, match="publish_rate"):
        issue(KEY, [], publish=["a"], rate=rate)


@pytest.mark.parametrize(
    ("patterns", "ttl", "problem"),
    [(["a*b"], 60, "bad pattern"), (["a"], 0, "lifetime"), (["a"], MAX_LIFETIME_SECONDS + 1, "lifetime")],
)
def test_a_token_that_would_be_refused_is_not_issued(patterns: list[str], ttl: float, problem: str) -> None:
    with pytest.raises(TokenError, match=problem) as caught:
        issue(KEY, patterns, ttl_seconds=ttl)
    assert caught.value.reason == "TOKEN_CLAIMS"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "TOKEN_MALFORMED"),
        ("a.b.c", "TOKEN_MALFORMED"),
        ("x" * 5_000, "TOKEN_MALFORMED"),
        (signed("another key of enough length for it"), "TOKEN_FOREIGN"),
        (signed(exp=1, iat=0), "TOKEN_EXPIRED"),
        (signed(aud="someone"), "TOKEN_MALFORMED"),
        (signed(iss="someone"), "TOKEN_MALFORMED"),
        (signed(jti=None), "TOKEN_MALFORMED"),
        (signed(sub=None), "TOKEN_MALFORMED"),
        (signed(exp=int(time.time()) + 8 * 24 * 3600), "TOKEN_CLAIMS"),
        (signed(exp=str(int(time.time()) + 3600)), "TOKEN_CLAIMS"),
        (signed(grants=None), "TOKEN_CLAIMS"),
        (signed(grants="all"), "TOKEN_CLAIMS"),
        (signed(grants=[{"channels": ["a*b"], "allow": ["subscribe"]}]), "TOKEN_CLAIMS"),
        (signed(grants=[{"channels": ["a"], "allow": ["subscribe"], "lanes": ["URGENT"]}]), "TOKEN_CLAIMS"),
        (signed(grants=[{"channels": ["a"]}]), "TOKEN_CLAIMS"),
        (signed(grants=[{"channels": ["a"], "allow": ["publish"], "highest_lane": "URGENT"}]), "TOKEN_CLAIMS"),
        (signed(grants=[{"channels": ["a"], "allow": ["publish"], "highest_lane": 2}]), "TOKEN_CLAIMS"),
        (signed(grants=[{"channels": ["a*b"], "allow": ["publish"]}]), "TOKEN_CLAIMS"),
        (signed(grants=[7]), "TOKEN_CLAIMS"),
        (jwt.encode(claims(), "", algorithm="none"), "TOKEN_MALFORMED"),
    ],
)
def test_a_token_that_is_not_as_it_should_be_is_refused(token: str, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        verify(KEY, token)
    assert caught.value.reason == reason


def test_the_development_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "data")
    assert load_or_create_key(tmp_path / "data") == key
    assert len(key) >= 48
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_data_directory_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="choose a data directory"):
        load_or_create_key(tmp_path / "file")
