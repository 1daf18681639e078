"""Keeps policies and the history of rollouts on disk.

Owns the SQLite file `rollouts.db` in the data directory. An entry is on the disk when `append` returns, and nothing is
ever changed or removed: the database refuses it. Called by the controller alone, which waits for it in a thread.

Fencing: whoever opens the file takes the next term; an older holder can read, but write no more.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from lanecast.core.policy import BUILT_IN, LanePolicy, Policy
from lanecast.core.priority import LANES
from lanecast.errors import StartError
from metrics_svc.core.rollout.history import Entry

FILE = "rollouts.db"
_VERSION = 1
_SCHEMA = """
CREATE TABLE history (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, kind TEXT NOT NULL, time_ns INTEGER NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, request_id TEXT NOT NULL, data TEXT NOT NULL
) STRICT;
CREATE INDEX history_of ON history (rollout, number);
CREATE UNIQUE INDEX history_request ON history (request_id) WHERE request_id <> '';
CREATE TRIGGER history_is_final BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER history_stays BEFORE DELETE ON history BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TABLE policies (
    name TEXT PRIMARY KEY, settings TEXT NOT NULL, description TEXT NOT NULL, create_ns INTEGER NOT NULL
) STRICT;
CREATE TRIGGER policies_are_final BEFORE UPDATE ON policies BEGIN SELECT RAISE(ABORT, 'policies are immutable'); END;
CREATE TABLE terms (term INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;
"""


class FencedError(Exception):
    """Another process has taken over the rollouts."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An entry with its place in the history of all rollouts."""

    number: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy with what is known about it."""

    policy: Policy
    description: str = ""
    create_ns: int = 0


class RolloutStore:
    """See the module. Safe to use from several threads, one at a time."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.touch(0o600)
            self._db = apsw.Connection(str(path))
            self._db.set_busy_timeout(5_000)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._prepare(path)
            with self._db:
                self._db.execute("INSERT INTO terms DEFAULT VALUES")
                self._term = self._db.last_insert_rowid()
        except (apsw.Error, OSError) as error:
            raise StartError(
                f"the history of rollouts in {path} cannot be used ({error}): choose a data directory that can be"
                " written"
            ) from error

    def append(self, entries: Iterable[Entry]) -> list[Numbered]:
        """Write entries together, to the disk.

        Raises:
            FencedError: another process has opened the history since.
        """
        written: list[Numbered] = []
        with self._lock, self._db:
            self._db.execute("INSERT INTO terms SELECT 0 WHERE 0")  # takes the write lock before the term is read
            newest = self._db.execute("SELECT max(term) FROM terms").get
            if newest != self._term:
                raise FencedError("another metrics_svc controls the rollouts of this data directory")
            for entry in entries:
                self._db.execute(
                    "INSERT INTO history (rollout, kind, time_ns, actor, reason, request_id, data)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        entry.rollout, entry.kind, entry.time_ns, entry.actor, entry.reason, entry.request_id,
                        json.dumps(entry.data, separators=(",", ":")),
                    ),
                )  # fmt: skip
                written.append(Numbered(self._db.last_insert_rowid(), entry))
        return written

    def history(self, rollout: str = "", after: int = 0, limit: int = -1) -> list[Numbered]:
        """Return entries, oldest first, of one rollout or of all."""
        with self._lock:
            rows: list[Any] = self._db.execute(
                "SELECT number, rollout, kind, time_ns, data, actor, reason, request_id FROM history"
                " WHERE (?1 = '' OR rollout = ?1) AND number > ?2 ORDER BY number LIMIT ?3",
                (rollout, after, limit),
            ).fetchall()
        return [Numbered(row[0], Entry(row[1], row[2], row[3], json.loads(row[4]), *row[5:])) for row in rows]

    def find_request(self, request_id: str) -> Entry | None:
        """Return the entry that a request has made before."""
        with self._lock:
            number = self._db.execute("SELECT number FROM history WHERE request_id = ?", (request_id,)).get
        return self.history(after=number - 1, limit=1)[0].entry if number else None

    def add_policy(self, stored: StoredPolicy) -> None:
        """Keep a policy whose name is free."""
        lanes = {lane.name: _plain(stored.policy.lanes[lane]) for lane in LANES}
        with self._lock, self._db:
            self._db.execute(
                "INSERT INTO policies VALUES (?, ?, ?, ?)",
                (stored.policy.name, json.dumps(lanes), stored.description, stored.create_ns),
            )

    def policies(self) -> dict[str, StoredPolicy]:
        """Return all policies by name, the built-in ones among them."""
        found = {name: StoredPolicy(policy, "built in") for name, policy in BUILT_IN.items()}
        with self._lock:
            rows: list[Any] = self._db.execute("SELECT name, settings, description, create_ns FROM policies").fetchall()
        for name, settings, description, create_ns in rows:
            lanes = {lane: LanePolicy(**json.loads(settings)[lane.name]) for lane in LANES}
            found[name] = StoredPolicy(Policy(name, lanes), description, create_ns)
        return dict(sorted(found.items()))

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._db.close()

    def _prepare(self, path: Path) -> None:
        version = self._db.pragma("user_version")
        if version == 0:
            with self._db:
                self._db.execute(_SCHEMA)
                self._db.pragma("user_version", _VERSION)
        elif version != _VERSION:
            raise StartError(f"{path} has format {version}, this version knows {_VERSION}: use the newer Lanecast")


def _plain(settings: LanePolicy) -> dict[str, float | int | bool]:
    names = ("linger_seconds", "max_batch_events", "max_batch_bytes", "limit_seconds", "fixed_window")
    return {name: getattr(settings, name) for name in names}
