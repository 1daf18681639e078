"""Errors that Lanecast raises to programs.

    LanecastError
    ├── ConfigError            an option, variable or file is wrong
    ├── StartError             a service cannot start: port in use, data directory unusable
    ├── TokenError             a token is malformed, expired or not ours
    ├── UnavailableError       the service cannot be reached or is going away
    ├── StatusError            the service refused a call
    ├── PublishError           an event was refused
    │   ├── BufferFullError    the publisher's own buffer is full
    │   └── PublisherClosedError
    └── NotAcknowledgedError   events are unconfirmed at flush or close

Owns the tree; data is in attributes. Imports nothing of Lanecast.
"""

from __future__ import annotations

from collections.abc import Sequence


class LanecastError(Exception):
    """Base of all errors of Lanecast. The text says what to do."""


class ConfigError(LanecastError):
    """An option, environment variable or file is wrong."""


class StartError(LanecastError):
    """A service cannot start where and how it was told to."""


class TokenError(LanecastError):
    """A token cannot be accepted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Constant for programs: `TOKEN_MALFORMED`, `TOKEN_EXPIRED`, `TOKEN_FOREIGN`, `TOKEN_CLAIMS` or, where a
        program's function for tokens failed, `TOKEN_NOT_FETCHED`."""


class UnavailableError(LanecastError):
    """A service cannot be reached, or is going away. Trying again later may help."""


class StatusError(LanecastError):
    """A call failed, with a canonical gRPC code and a reason for programs."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        field: str = "",
        retry_delay_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """Canonical gRPC status code."""
        self.reason = reason
        """Constant for programs; docs/errors.md lists them."""
        self.field = field
        """Path of the field that is wrong, where one is."""
        self.retry_delay_seconds = retry_delay_seconds
        """How long to wait before another try; None where a retry will not help."""


class PublishError(LanecastError):
    """An event was refused and is not in the log."""

    def __init__(self, code: int, reason: str, message: str, *, event_id: str = "", channel: str = "") -> None:
        super().__init__(message)
        self.code = code
        """Canonical gRPC status code."""
        self.reason = reason
        """Constant for programs; docs/errors.md lists them."""
        self.event_id = event_id
        self.channel = channel


class BufferFullError(PublishError):
    """The publisher's own buffer is full: wait, or publish with `publish()`, which waits for room."""

    def __init__(self, message: str, *, event_id: str = "", channel: str = "") -> None:
        super().__init__(8, "BUFFER_FULL", message, event_id=event_id, channel=channel)


class PublisherClosedError(PublishError):
    """The publisher was closed before the event was acknowledged, or before it was handed over."""

    def __init__(self, message: str, *, event_id: str = "", channel: str = "") -> None:
        super().__init__(1, "PUBLISHER_CLOSED", message, event_id=event_id, channel=channel)


class NotAcknowledgedError(LanecastError):
    """Events are unconfirmed at the end of `flush()` or `close()`. They may or may not be in the log."""

    def __init__(self, message: str, event_ids: Sequence[str]) -> None:
        super().__init__(message)
        self.event_ids = tuple(event_ids)
        """Ids of the unconfirmed events; publish them again under these ids within 120 s to be sure."""
