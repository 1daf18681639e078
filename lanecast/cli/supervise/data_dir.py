"""The data directory as the supervisor sees it: it exists, it is writable, and it is ours alone.

Owns the lock file. What lies in the directory, and which format it has, is the business of the services.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from lanecast.errors import StartError

LOCK_FILE = "up.lock"
STATE_FILE = "up.state"
"""What the supervisor tells `lanecast restart`."""


class DataDirLock:
    """Holds the data directory for this process; a context manager. The lock ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Create the directory where it is missing, and lock it.

        Raises:
            StartError: it cannot be created or written, or another system runs in it.
        """
        lock = self._path / LOCK_FILE
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except (FileExistsError, NotADirectoryError):
            raise StartError(f"the data directory {self._path} is a file: choose a directory with --data-dir") from None
        except OSError as error:
            raise StartError(
                f"cannot write to the data directory {self._path}: {error.strerror};"
                " choose one you may write to with --data-dir"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StartError(
                f"the data directory {self._path} is in use by `lanecast up` with process id {holder}:"
                " stop that one, or choose another directory with --data-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the directory up. The file stays: to remove it would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def holder(path: Path) -> int:
    """Return the process id of the `lanecast up` that holds a data directory; 0 where none does."""
    try:
        descriptor = os.open(path / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return 0
