"""Channel names and the patterns that grant access to them.

Owns what a valid channel name is. Used at every edge that takes a name from outside; imports nothing.
"""

from __future__ import annotations

import unicodedata

MAX_CHANNEL_BYTES = 255
_RESERVED = frozenset("*>")

RESERVED_PREFIX = "$lanecast:"
"""Beginning of the channels that belong to Lanecast itself, such as those of performance tests. Nobody may publish or
subscribe to them without a token that names this prefix; `*` does not cover them."""


def check_channel(name: str) -> str | None:
    """Return what is wrong with `name` as a sentence, or None where it is a valid channel name.

    A channel name has 1 to 255 bytes of UTF-8 without control characters, `*` and `>`, which are kept for patterns.
    """
    if not name:
        return "the channel name is empty: give one, for example agent:42"
    if name.isascii() and name.isprintable():
        size = len(name)
    else:
        if any(unicodedata.category(char) in {"Cc", "Cs"} for char in name):
            return "the channel name has a control character: use printable characters only"
        size = len(name.encode())
    if size > MAX_CHANNEL_BYTES:
        return f"the channel name has {size} bytes: use at most {MAX_CHANNEL_BYTES}"
    if not _RESERVED.isdisjoint(name):
        return "the channel name has * or >, which are kept for patterns: leave them out"
    return None


def check_pattern(pattern: str) -> str | None:
    """Return what is wrong with a grant pattern as a sentence, or None where it is valid.

    A pattern is a channel name, or the beginning of one followed by a single trailing `*`; `*` alone is any channel.
    """
    if pattern == "*":
        return None
    problem = check_channel(pattern.removesuffix("*"))
    if problem is None:
        return None
    return f"bad pattern {pattern!r}: use a channel name, or its beginning with one trailing * ({problem})"


def matches(pattern: str, channel: str) -> bool:
    """Say whether `channel` is covered by `pattern`; see `check_pattern`.

    A reserved channel is covered only by a pattern that names the reserved prefix.
    """
    if is_reserved(channel) and not is_reserved(pattern):
        return False
    if pattern.endswith("*"):
        return channel.startswith(pattern[:-1])
    return channel == pattern


def is_reserved(channel: str) -> bool:
    """Say whether a channel belongs to Lanecast itself."""
    return channel.startswith(RESERVED_PREFIX)
