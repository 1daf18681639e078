"""What a publisher remembers of the stream between two runs.

Owns a small file: the epoch, and how far the stream had got. With it a publisher notices at start that the stream was
restored from a backup. It may be missing: then only what happens while a publisher runs is noticed.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


def load_state(path: Path | None) -> tuple[str, int]:
    """Return epoch and sequence; ("", 0) where nothing is remembered."""
    if path is None or not path.exists():
        return "", 0
    try:
        state = json.loads(path.read_text())
        return str(state["epoch"]), int(state["sequence"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read and is made anew: %s", path, error)
        return "", 0


def save_state(path: Path | None, epoch: str, sequence: int) -> None:
    """Remember epoch and sequence."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({"epoch": epoch, "sequence": sequence}))
        beside.replace(path)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error)
