"""Finds out who publishes, once per stream or unary call.

Owns reading the token from a call's metadata, the clock of rates and expiry, and the buckets of all identities. Called
by the publish service; what an identity may do is decided in `publisher_svc.core.quota`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from lanecast.core.channel import is_reserved
from lanecast.core.priority import LANES, Priority
from lanecast.errors import ConfigError, StatusError, TokenError
from lanecast.runtime import status, tokens
from publisher_svc.config import PublisherConfig
from publisher_svc.core.admission import Publication
from publisher_svc.core.quota import BucketTable, LanesFor, Permit, Screen, TokenBucket, TooManyIdentitiesError

_SCHEME = "bearer "
_SHOWN_NAME = 64
_ANONYMOUS: Hashable = None
"""Key of the bucket that all publishers without a token share; no token has it, for theirs are strings."""


class Visitor:
    """A publisher that has limits, for the length of a stream or call."""

    def __init__(self, permit: Permit, clock: Callable[[], float]) -> None:
        self._permit = permit
        self._clock = clock

    @property
    def has_expired(self) -> bool:
        """True once the token has ended."""
        return self._clock() >= self._permit.ends_at

    def screen(self, events: Sequence[Publication]) -> Screen:
        """Return what decides on the events of one message."""
        return self._permit.screen(events, self._clock())


class Doorkeeper:
    """Lets publishers in, with what their token or the configuration allows."""

    def __init__(self, config: PublisherConfig, clock: Callable[[], float] = time.monotonic) -> None:
        if config.publish_auth not in ("open", "token"):
            raise ConfigError(f"unknown publish_auth {config.publish_auth!r}: use open or token")
        if config.publish_rate and not tokens.MIN_RATE <= config.publish_rate <= tokens.MAX_RATE:
            bounds = f"{tokens.MIN_RATE:g} to {tokens.MAX_RATE:,}"
            raise ConfigError(f"publish_rate is {config.publish_rate:g}: use 0 for unlimited, or {bounds} events/s")
        if not 0 <= config.publish_burst <= tokens.MAX_RATE:
            raise ConfigError(f"publish_burst is {config.publish_burst}: use 0 to {tokens.MAX_RATE:,} events")
        try:
            highest = Priority.parse(config.anonymous_highest_lane)
        except ValueError as error:
            raise ConfigError(f"anonymous_highest_lane: {error}") from error
        self._anonymous_lanes = tokens.lanes_up_to(highest)
        self._config = config
        self._clock = clock
        self._default_rate: tokens.Rate | None = None
        if config.publish_rate:
            burst = config.publish_burst or tokens.default_burst(config.publish_rate)
            self._default_rate = tokens.Rate(config.publish_rate, burst)
        self._buckets = BucketTable()
        self._key = ""

    def prepare(self) -> None:
        """Make sure of the key where tokens are required.

        Raises:
            StartError: it cannot be read or made.
        """
        if self._config.publish_auth == "token":
            self._load_key()

    @contextmanager
    def admit(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> Iterator[Visitor | None]:
        """Give the visitor behind a call for as long as the call lasts; None for one without any limits.

        Raises:
            StatusError: UNAUTHENTICATED where the token is bad or missing, RESOURCE_EXHAUSTED where there are too many
                publishers with limits at a time.
        """
        token = _bearer(metadata or ())
        if token:
            key, name, lanes_for, rate, ends_at = self._identify(token)
        elif self._config.publish_auth == "token":
            message = "publishing needs a token here: send one as `authorization: Bearer …`, or give the SDK token=…"
            raise StatusError(status.UNAUTHENTICATED, "TOKEN_MISSING", message)
        elif self._default_rate is None and len(self._anonymous_lanes) == len(LANES):
            yield None
            return
        else:
            lanes = self._anonymous_lanes
            key, name, lanes_for = _ANONYMOUS, "a publisher without a token", _unreserved(lanes)
            rate, ends_at = self._default_rate, math.inf
        bucket = None if rate is None else self._acquire(key, rate)
        try:
            yield Visitor(Permit(name, lanes_for, bucket, ends_at), self._clock)
        finally:
            if bucket is not None:
                self._buckets.release(key)

    def _identify(self, token: str) -> tuple[Hashable, str, LanesFor, tokens.Rate | None, float]:
        try:
            identity = tokens.verify(self._load_key(), token)
        except TokenError as error:
            raise StatusError(status.UNAUTHENTICATED, error.reason, str(error)) from error
        # From here on the monotonic clock counts: a host's clock that is set back does not prolong a token.
        ends_at = self._clock() + identity.expires_unix + tokens.LEEWAY_SECONDS - time.time()
        name = f"publisher {identity.subject[:_SHOWN_NAME]!r}"
        rate = identity.publish_rate or self._default_rate
        return identity.subject, name, identity.publish_lanes_for, rate, ends_at

    def _acquire(self, key: Hashable, rate: tokens.Rate) -> TokenBucket:
        try:
            return self._buckets.acquire(key, rate.events_per_second, rate.burst, self._clock())
        except TooManyIdentitiesError as error:
            message = "too many publishers with a rate are connected: try again after the delay"
            raise StatusError(
                status.RESOURCE_EXHAUSTED, "TOO_MANY_PUBLISHERS", message, retry_delay_seconds=1.0
            ) from error

    def _load_key(self) -> str:
        if not self._key:
            self._key = tokens.load_or_create_key(self._config.data_dir)
        return self._key


def _unreserved(lanes: frozenset[Priority]) -> LanesFor:
    """Return the same lanes for all channels but those that are Lanecast's own."""
    return lambda channel: frozenset() if is_reserved(channel) else lanes


def token_expired() -> StatusError:
    """Return the status that ends a stream whose token has run out."""
    message = "the token of this stream has expired: open a new stream with a fresh one"
    return StatusError(status.UNAUTHENTICATED, "TOKEN_EXPIRED", message)


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the token of a call, or nothing where it brings none."""
    values = [value for name, value in metadata if name == "authorization"]
    if not values:
        return ""
    value = values[0]
    if len(values) > 1 or not isinstance(value, str) or not value.lower().startswith(_SCHEME):
        message = "the metadata must have one `authorization` of the form `Bearer …`: correct it, or leave it out"
        raise StatusError(status.UNAUTHENTICATED, "TOKEN_MALFORMED", message)
    token = value[len(_SCHEME) :].strip()
    if not token:
        message = "the bearer token is empty: send one, or leave out `authorization`"
        raise StatusError(status.UNAUTHENTICATED, "TOKEN_MALFORMED", message)
    return token
