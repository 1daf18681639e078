"""Moves the write-ahead logs of full segments into their database files, in a process of its own.

Owns that process: `Checkpointer` is the publisher's end, `serve` the other. Used by `sqlite`. A checkpoint of a full
segment takes a tenth of a second of processor time; in a thread of the publisher it would compete with events, and
could not be given a low priority, since a thread that waits for a core may hold the interpreter's lock. The process
takes the lowest priority and ends with its standard input, which the system closes however the publisher ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw

from lanecast.runtime.scheduling import be_ordinary
from publisher_svc.log.base import LogError

_DONE = "done"


class Checkpointer:
    """Checkpoints one segment after another. Used in one thread; each call waits for its checkpoint."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process. Not while events flow: it holds the interpreter's lock for milliseconds.

        Raises:
            LogError: the system refuses.
        """
        self._process = _start()

    def run(self, path: Path) -> None:
        """Move everything into the database file at `path`, durably. Nobody may be writing to it.

        Raises:
            LogError: it failed. The segment is whole and readable nonetheless.
        """
        if self._process is None or self._process.poll() is not None:
            self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
        except OSError as error:
            answer = str(error)
        if answer != _DONE:
            raise LogError(f"cannot checkpoint {path}: {answer or 'the process for it has ended'}")

    def close(self) -> None:
        """End the process. Idempotent."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def _start() -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is the publisher's to handle
        )
    except OSError as error:
        raise LogError(f"cannot start a process for checkpoints: {error.strerror}") from error


def checkpoint(path: Path) -> None:
    """Move everything into the database file, durably, in this very thread.

    Raises:
        apsw.Error: it failed.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(60_000)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


def serve() -> None:
    """Checkpoint the paths that come on standard input, a line each, and answer each with a line."""
    be_ordinary()  # a publisher in real time may have started it
    os.nice(19)
    for line in sys.stdin:
        try:
            checkpoint(Path(line.rstrip("\n")))
            answer = _DONE
        except apsw.Error as error:
            answer = str(error) or type(error).__name__
        sys.stdout.write(answer.replace("\n", " ") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
