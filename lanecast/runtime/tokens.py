"""Browser tokens: issuing them for development, checking them at the gateway.

Owns the claims and which of them are required. A token is a JSON Web Token (RFC 7519) with the claims `sub`, `iat`,
`exp`, `iss`, `aud`, `jti` and `grants`, a list of `{"channels": [pattern], "allow": ["subscribe"], "lanes": [name]}`.
Called by the command line, metrics_svc's development page and gateway_svc.
"""

from __future__ import annotations

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
_REQUIRED = ("sub", "iat", "exp", "iss", "aud", "jti")
_LEEWAY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Grant:
    """Channels that may be subscribed to, and in which lanes."""

    patterns: tuple[str, ...]
    lanes: frozenset[Priority]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a checked token speaks for, and what it allows."""

    subject: str
    token_id: str
    expires_unix: int
    grants: tuple[Grant, ...]

    def lanes_for(self, channel: str) -> frozenset[Priority]:
        """Return the lanes of `channel` that may be received; empty where the channel is not granted."""
        allowed: frozenset[Priority] = frozenset()
        for grant in self.grants:
            if any(matches(pattern, channel) for pattern in grant.patterns):
                allowed |= grant.lanes
        return allowed


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


def issue(key: str, patterns: Sequence[str], *, subject: str = "developer", ttl_seconds: float = 3600.0) -> str:
    """Return a token that may subscribe to channels matching `patterns` in all lanes.

    Raises:
        TokenError: a pattern is malformed, or the lifetime is out of range.
    """
    for pattern in patterns:
        problem = check_pattern(pattern)
        if problem:
            raise TokenError("TOKEN_CLAIMS", problem)
    if not 0 < ttl_seconds <= MAX_LIFETIME_SECONDS:
        raise TokenError("TOKEN_CLAIMS", "the lifetime of a token must be above 0 and at most 7 days")
    now = int(time.time())
    claims = {
        "sub": subject,
        "iat": now,
        "exp": now + max(1, int(ttl_seconds)),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "jti": str(uuid_utils.uuid7()),
        "grants": [{"channels": list(patterns), "allow": ["subscribe"]}],
    }
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
            leeway=_LEEWAY_SECONDS,
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
        str(claims["sub"]), str(claims["jti"]), claims["exp"], tuple(g for g in map(_grant, grants) if g is not None)
    )


def _grant(claim: Any) -> Grant | None:
    try:
        if "subscribe" not in claim["allow"]:
            return None
        patterns = tuple(str(pattern) for pattern in claim["channels"])
        lanes = frozenset(map(Priority.parse, claim["lanes"])) if "lanes" in claim else frozenset(LANES)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TokenError("TOKEN_CLAIMS", f"a grant of the token is malformed: {error}") from None
    for pattern in patterns:
        problem = check_pattern(pattern)
        if problem:
            raise TokenError("TOKEN_CLAIMS", problem)
    return Grant(patterns, lanes)
