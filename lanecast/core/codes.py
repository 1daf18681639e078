"""The registry of WebSocket close and error codes.

Owns each code's number, constant and advice. The gateway sends from it, the browser SDK and docs/protocol.md are
generated from it, so server and client cannot disagree. Imports nothing.

The range carries the rule: 3000-3499 and 4000-4499 may be retried, 3500-3999 and 4500-4999 must not be.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One way a command or a connection ends."""

    number: int
    reason: str
    """Constant for programs."""
    advice: str
    """Sentence for people that says what to do."""

    @property
    def retryable(self) -> bool:
        """True where the same request may succeed later."""
        return is_retryable(self.number)


def is_retryable(number: int) -> bool:
    """Say whether a client should reconnect after this close code. Standard codes follow RFC 6455, section 7.4."""
    if number < 3000:
        return number in {1000, 1001, 1005, 1006, 1011, 1012, 1013}
    return number % 1000 < 500


GOING_AWAY = Code(1001, "GOING_AWAY", "The server is restarting: reconnect after the delay it announced.")
UNSUPPORTED_DATA = Code(1003, "UNSUPPORTED_DATA", "Send frames in the form of the negotiated subprotocol.")
MESSAGE_TOO_BIG = Code(1009, "MESSAGE_TOO_BIG", "Send frames within the limit that `welcome` states.")
INTERNAL = Code(1011, "INTERNAL", "The server failed: reconnect, and tell its operator if it happens again.")

SLOW_CONSUMER = Code(3000, "SLOW_CONSUMER", "The connection cannot keep up: reconnect and resume by position.")
HEARTBEAT_MISSED = Code(3001, "HEARTBEAT_MISSED", "No answer to ping came in time: reconnect and resume by position.")
TOKEN_EXPIRED = Code(3002, "TOKEN_EXPIRED", "Fetch a new token, then reconnect.")
UPSTREAM_UNAVAILABLE = Code(3003, "UPSTREAM_UNAVAILABLE", "The event log cannot be reached: retry after a while.")
TOO_MANY_COMMANDS = Code(3004, "TOO_MANY_COMMANDS", "Send fewer commands per second than `welcome` allows.")
DISCONNECTED = Code(3005, "DISCONNECTED", "An operator closed the session: reconnect.")

UNAUTHENTICATED = Code(3500, "UNAUTHENTICATED", "Send `hello` with a valid token as the first frame, within 5 s.")
MALFORMED_FRAME = Code(3501, "MALFORMED_FRAME", "Send frames as docs/protocol.md describes them.")
FORBIDDEN = Code(3502, "FORBIDDEN", "Use a token that grants what was asked for.")
REVOKED = Code(3503, "REVOKED", "The token was revoked: sign in again.")

BAD_CHANNEL = Code(4500, "BAD_CHANNEL", "Use a channel name of 1 to 255 bytes without control characters, * and >.")
CHANNEL_FORBIDDEN = Code(4501, "CHANNEL_FORBIDDEN", "Ask for a token that grants this channel and lane.")
BAD_START = Code(4502, "BAD_START", "Give at most one position per lane, and a `lastN` of 1 to 1,000.")
TOO_MANY_SUBSCRIPTIONS = Code(4503, "TOO_MANY_SUBSCRIPTIONS", "Unsubscribe from a channel first.")
NOT_SUBSCRIBED = Code(4504, "NOT_SUBSCRIBED", "Subscribe to the channel before unsubscribing from it.")
CHANNEL_UNAVAILABLE = Code(4000, "CHANNEL_UNAVAILABLE", "The channel cannot be read now: subscribe again later.")

REGISTRY: dict[int, Code] = {
    value.number: value for name, value in sorted(globals().items()) if name.isupper() and isinstance(value, Code)
}
"""All codes by number."""


def markdown() -> str:
    """Return the table of docs/protocol.md."""
    rows = (
        f"| {code.number} | `{code.reason}` | {'yes' if code.retryable else 'no'} | {code.advice} |"
        for code in REGISTRY.values()
    )
    return "\n".join(("| code | reason | retry | what to do |", "|---|---|---|---|", *rows))
