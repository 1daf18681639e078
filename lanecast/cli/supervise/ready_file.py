"""The file that tells other programs that the system is up, and where.

Owns its form and that a reader never sees half of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanecast.errors import StartError


class ReadyFile:
    """Written once all services are ready, again after each restart, and removed when the system stops."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, content: Mapping[str, Any]) -> None:
        """Put `content` in place in one step.

        Raises:
            StartError: the file cannot be written.
        """
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(content, indent=2) + "\n")
            draft.replace(self._path)
        except OSError as error:
            raise StartError(
                f"cannot write the ready file {self._path}: {error.strerror}; choose another path"
            ) from error

    def remove(self) -> None:
        """Remove the file, so that nobody takes an earlier run for the present one.

        Raises:
            StartError: the file is there and cannot be removed, or its directory does not exist.
        """
        if not self._path.parent.is_dir():
            raise StartError(f"the directory of the ready file {self._path} does not exist: create it first")
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StartError(
                f"cannot replace the ready file {self._path}: {error.strerror}; choose another path"
            ) from error
