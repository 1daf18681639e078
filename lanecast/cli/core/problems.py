"""The error that parsing of user input raises."""

from __future__ import annotations


class InputError(ValueError):
    """What was given is no event, type or payload; the text says what to do."""
