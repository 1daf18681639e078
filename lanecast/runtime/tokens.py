"""Tokens of browsers and publishers: issuing them for development, checking them at the edges.

Owns the claims and which of them are required; docs/tokens.md describes them. A token is a JSON Web Token (RFC 7519)
with the claims `sub`, `iat`, `exp`, `iss`, `aud`, `jti` and `grants`, a list of `{"channels": [pattern], "allow":
["subscribe", "publish"], "lanes": [name], "highest_lane": name}`, and for publishers optionally `publish_rate`.
Called by the command line, metrics_svc's development page, gateway_svc and publisher_svc.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import uuid_utils

from lanecast.core.channel import check_pattern, matches
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StartError, TokenError

ISSUER = "lanecast-dev"
AUDIENCE = "lanecast"
ALGORITHM = "HS256"
KEY_FILE = "dev.key"
"""Name of the development key in the data directory; readable by its owner only."""
MAX_LIFETIME_SECONDS = 7 * 24 * 3600
MAX_TOKEN_BYTES = 4096
MIN_RATE, MAX_RATE = 0.001, 1_000_000_000
"""Bounds of a rate in events/s; a burst is at most `MAX_RATE`."""
_REQUIRED = ("sub", "iat", "exp", "iss", "aud", "jti")
LEEWAY_SECONDS = 5
"""How long after `exp` a token is still taken: clocks of hosts differ."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Channels that may be subscribed or published to, and in which lanes."""

    patterns: tuple[str, ...]
    lanes: frozenset[Priority]


@dataclass(frozen=True, slots=True)
class Rate:
    """How much an identity may publish, over all its streams."""

    events_per_second: float
    """From `MIN_RATE` to `MAX_RATE`."""
    burst: int
    """Events that may come at once after a pause, from 1 to `MAX_RATE`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a checked token speaks for, and what it allows."""

    subject: str
    token_id: str
    expires_unix: int
    grants: tuple[Grant, ...]
    """What may be subscribed to."""
    publish_grants: tuple[Grant, ...] = ()
    """What may be published to."""
    publish_rate: Rate | None = None
    """None: the token names none, so the service's default holds."""

    def lanes_for(self, channel: str) -> frozenset[Priority]:
        """Return the lanes of `channel` that may be received; empty where the channel is not granted."""
        return _lanes_for(self.grants, channel)

    def publish_lanes_for(self, channel: str) -> frozenset[Priority]:
        """Return the lanes of `channel` that may be published to; empty where the channel is not granted."""
        return _lanes_for(self.publish_grants, channel)


def _lanes_for(grants: Sequence[Grant], channel: str) -> frozenset[Priority]:
    allowed: frozenset[Priority] = frozenset()
    for grant in grants:
        if any(matches(pattern, channel) for pattern in grant.patterns):
            allowed |= grant.lanes
    return allowed


def lanes_up_to(highest: Priority) -> frozenset[Priority]:
    """Return `highest` and the lanes that are less urgent."""
    return frozenset(LANES[LANES.index(highest) :])


def load_or_create_key(data_dir: Path) -> str:
    """Return the development key of a data directory, and make one where there is none.

    Raises:
        StartError: the directory or the file cannot be read or written.
    """
    path = data_dir / KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _read_key(path)
        with os.fdopen(descriptor, "w") as file:
            key = secrets.token_urlsafe(48)
            file.write(key)
        return key
    except OSError as error:
        raise StartError(
            f"cannot use the development key {path}: {error.strerror}; choose a data directory you may write to"
        ) from error


def _read_key(path: Path) -> str:
    # Another process may be between creating and writing it.
    for _ in range(100):
        key = path.read_text().strip()
        if key:
            return key
        time.sleep(0.01)
    raise StartError(f"the development key {path} is empty: delete the file, a new one is made at the next start")


def issue(
    key: str,
    patterns: Sequence[str],
    *,
    subject: str = "developer",
    ttl_seconds: float = 3600.0,
    publish: Sequence[str] = (),
    highest_lane: Priority = Priority.CRITICAL,
    rate: Rate | None = None,
) -> str:
    """Return a token for the channels that match `patterns` and `publish`.

    Args:
        key: Key of the installation.
        patterns: What may be subscribed to, in all lanes.
        subject: Whom the token speaks for. All publishers with the same subject share one rate.
        ttl_seconds: How long it is valid, at most 7 days.
        publish: What may be published to, in `highest_lane` and the less urgent ones.
        highest_lane: The most urgent lane that may be published to.
        rate: How much may be published; None leaves it to the service.

    Raises:
        TokenError: a pattern is malformed, or the lifetime or the rate is out of range.
    """
    for pattern in (*patterns, *publish):
        problem = check_pattern(pattern)
        if problem:
            raise TokenError("TOKEN_CLAIMS", problem)
    if not 0 < ttl_seconds <= MAX_LIFETIME_SECONDS:
        raise TokenError("TOKEN_CLAIMS", "the lifetime of a token must be above 0 and at most 7 days")
    now = int(time.time())
    grants: list[dict[str, Any]] = []
    if patterns:
        grants.append({"channels": list(patterns), "allow": ["subscribe"]})
    if publish:
        grants.append({"channels": list(publish), "allow": ["publish"], "highest_lane": highest_lane.name})
    claims: dict[str, Any] = {
        "sub": subject,
        "iat": now,
        "exp": now + max(1, int(ttl_seconds)),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "jti": str(uuid_utils.uuid7()),
        "grants": grants,
    }
    if rate is not None:
        claims["publish_rate"] = {"events_per_second": rate.events_per_second, "burst": rate.burst}
        _rate(claims["publish_rate"])
    return jwt.encode(claims, key, algorithm=ALGORITHM)


def verify(key: str, token: str) -> Identity:
    """Check a token and return who it speaks for.

    Raises:
        TokenError: it is malformed, expired, signed by another key, or its claims are not as they should be.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenError("TOKEN_MALFORMED", f"the token has {len(token)} bytes; at most {MAX_TOKEN_BYTES} are read")
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": list(_REQUIRED)},
        )
    except jwt.ExpiredSignatureError:
        raise TokenError("TOKEN_EXPIRED", "the token has expired: fetch a new one") from None
    except jwt.InvalidSignatureError:
        raise TokenError("TOKEN_FOREIGN", "the token was not signed by this installation's key") from None
    except jwt.InvalidTokenError as error:
        raise TokenError("TOKEN_MALFORMED", f"the token cannot be accepted: {error}") from None
    return _identity(claims)


def _identity(claims: dict[str, Any]) -> Identity:
    # PyJWT accepts `exp` as a string or as infinity; the type is checked here.
    for name in ("exp", "iat"):
        if type(claims[name]) is not int:
            raise TokenError("TOKEN_CLAIMS", f"the claim {name} must be a whole number of seconds")
    if claims["exp"] - claims["iat"] > MAX_LIFETIME_SECONDS:
        raise TokenError("TOKEN_CLAIMS", "the lifetime of a token must be at most 7 days")
    grants = claims.get("grants")
    if not isinstance(grants, list):
        raise TokenError("TOKEN_CLAIMS", "the claim grants must be a list")
    return Identity(
        str(claims["sub"]),
        str(claims["jti"]),
        claims["exp"],
        tuple(grant for grant in (_grant(claim, "subscribe") for claim in grants) if grant is not None),
        tuple(grant for grant in (_grant(claim, "publish") for claim in grants) if grant is not None),
        _rate(claims["publish_rate"]) if "publish_rate" in claims else None,
    )


def _grant(claim: Any, action: str) -> Grant | None:
    """Return what `claim` grants of `action`, or None where it is about something else."""
    try:
        if action not in claim["allow"]:
            return None
        patterns = tuple(str(pattern) for pattern in claim["channels"])
        lanes = frozenset(map(Priority.parse, claim["lanes"])) if "lanes" in claim else frozenset(LANES)
        if action == "publish" and "highest_lane" in claim:
            lanes &= lanes_up_to(Priority.parse(claim["highest_lane"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TokenError("TOKEN_CLAIMS", f"a grant of the token is malformed: {error}") from None
    for pattern in patterns:
        problem = check_pattern(pattern)
        if problem:
            raise TokenError("TOKEN_CLAIMS", problem)
    return Grant(patterns, lanes)


def _rate(claim: Any) -> Rate:
    if not isinstance(claim, dict):
        raise TokenError("TOKEN_CLAIMS", "publish_rate must be an object with events_per_second and burst")
    per_second: Any = claim.get("events_per_second")
    burst: Any = claim.get("burst")
    # PyJWT reads Infinity and NaN, and True is an int.
    if type(per_second) not in (int, float) or not MIN_RATE <= per_second <= MAX_RATE:
        message = f"events_per_second in publish_rate must be a number from {MIN_RATE:g} to {MAX_RATE:,}"
        raise TokenError("TOKEN_CLAIMS", message)
    if burst is None:
        return Rate(float(per_second), default_burst(per_second))
    if type(burst) is not int or not 1 <= burst <= MAX_RATE:
        raise TokenError("TOKEN_CLAIMS", f"burst in publish_rate must be a whole number from 1 to {MAX_RATE:,}")
    return Rate(float(per_second), burst)


def default_burst(events_per_second: float) -> int:
    """Return the burst of a rate that comes without one: what it allows in a second."""
    return max(1, math.ceil(events_per_second)) if events_per_second < MAX_RATE else MAX_RATE
