"""What commands write to standard output: lines for people or JSON lines for programs.

Owns flushing: a line is out when the call returns, so that a program at the other end of a pipe need not wait.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def write_line(text: str) -> None:
    """Write a line for people."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(value: Any) -> None:
    """Write one JSON document on one line."""
    write_line(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def write_note(text: str) -> None:
    """Write a remark that is not part of the result, to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def counted(number: int, noun: str) -> str:
    """Return `1 event`, `2 events`, `1,000 events`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def terminal_text(text: str) -> str:
    """Return `text` with control characters made visible: what comes from outside must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
