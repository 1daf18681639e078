"""The history of metrics on disk: slots, alerts and notifications in one SQLite file.

Owns the file, its format and its migrations. It is written behind what is in memory: what the service answers never
waits for the disk, and where the disk fails it goes on without. All calls but `open` are made in one writer thread, by
`keeper`. A file that is damaged is put aside, never deleted; one of a newer version is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import apsw

from lanecast.errors import StartError
from metrics_svc.core import records
from metrics_svc.core.alerts import Alert
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.notices import Notice
from metrics_svc.core.series import Series, Value
from metrics_svc.core.telemetry import Changes, Process, Telemetry

log = logging.getLogger(__name__)

FOLDER = "metrics"
FILE = "history.sqlite"
BUSY_MILLIS = 2_000
MAX_NOTICES = 1_000
"""Most notifications kept as the record of what was sent."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE series (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, attributes TEXT NOT NULL, kind TEXT NOT NULL,
        process TEXT NOT NULL, UNIQUE (name, attributes, process)
    );
    CREATE TABLE slot (
        width INTEGER NOT NULL, begin INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (width, begin)
    ) WITHOUT ROWID;
    CREATE TABLE tier (width INTEGER PRIMARY KEY, made_until INTEGER NOT NULL);
    CREATE TABLE process (
        service TEXT NOT NULL, instance TEXT NOT NULL, last_ns INTEGER NOT NULL, PRIMARY KEY (service, instance)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE alert (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE notice (
        key TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, body TEXT NOT NULL, attempts INTEGER NOT NULL,
        outcome TEXT NOT NULL, detail TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""What leads from each version of the file to the next; `PRAGMA user_version` says how many were carried out."""


@dataclass(slots=True)
class Batch:
    """What one write takes over."""

    complete: bool = False
    """Whether this is everything, so that whatever else the file holds goes."""
    slots: dict[tuple[int, int], bytes | None] = field(default_factory=dict)
    """Records by width and begin; None: no longer kept."""
    series: list[tuple[int, str, str, str, str]] = field(default_factory=list)
    """New series: number, name, attributes, kind, process."""
    made_until: Mapping[int, int] = field(default_factory=dict)
    processes: Mapping[Process, int] = field(default_factory=dict)
    alerts: dict[str, str | None] = field(default_factory=dict)
    """Records by id; None: forgotten."""
    notices: dict[str, Notice] = field(default_factory=dict)


@dataclass(slots=True)
class Stored:
    """What a history holds when it is opened."""

    changes: Changes
    numbers: dict[Series, int]
    """Numbers of the series."""
    next_number: int
    alerts: list[Alert]
    notices: list[Notice]


class HistoryError(Exception):
    """The history cannot be written now; the text says why."""


class History:
    """One open file."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """Open or make the history below `data_dir`; a damaged one is put aside.

        Raises:
            StartError: the directory cannot be used, the file is in use, or it is of a newer version.
            HistoryError: the disk is full or fails.
        """
        path = data_dir / FOLDER / FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            problem = f"cannot make the folder {path.parent} for the history of metrics: {error.strerror}"
            raise StartError(f"{problem}; choose a data directory that can be written") from error
        try:
            return cls(_connect(path))
        except (apsw.CorruptError, apsw.NotADBError):
            aside = path.with_suffix(f".damaged-{time.time_ns()}")
            path.rename(aside)
            for rest in ("-wal", "-journal"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            log.exception("the history of metrics was damaged and begins anew; the old one is %s", aside)
            return cls(_connect(path))

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._connection.close()

    def load(self, telemetry: Telemetry) -> Stored:
        """Return everything; the series are made in `telemetry`, records that are damaged are left out.

        Raises:
            HistoryError: the file cannot be read.
        """
        try:
            return self._load(telemetry)
        except apsw.Error as error:
            raise HistoryError(f"reading it failed: {error}") from error

    def write(self, batch: Batch) -> None:
        """Take a batch over, all or nothing.

        Raises:
            HistoryError: the disk is full or fails.
        """
        try:
            with self._connection:
                self._write(batch)
        except apsw.Error as error:
            raise HistoryError(_reason(error)) from error

    def _write(self, batch: Batch) -> None:
        many = self._connection.executemany
        if batch.complete:
            self._connection.execute("DELETE FROM slot; DELETE FROM series; DELETE FROM alert")
        many("INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?)", batch.series)
        kept = [(*place, record) for place, record in batch.slots.items() if record is not None]
        gone = [place for place, record in batch.slots.items() if record is None]
        many("INSERT OR REPLACE INTO slot VALUES (?, ?, ?)", kept)
        many("DELETE FROM slot WHERE width = ? AND begin = ?", gone)
        many("INSERT OR REPLACE INTO tier VALUES (?, ?)", batch.made_until.items())
        if batch.processes:
            self._connection.execute("DELETE FROM process")
            rows = [(process.service, process.instance, last) for process, last in batch.processes.items()]
            many("INSERT INTO process VALUES (?, ?, ?)", rows)
        alerts = [(place, record) for place, record in batch.alerts.items() if record is not None]
        many("INSERT OR REPLACE INTO alert VALUES (?, ?)", alerts)
        many("DELETE FROM alert WHERE id = ?", [(place,) for place, record in batch.alerts.items() if record is None])
        self._write_notices(batch.notices.values())

    def _write_notices(self, notices: Iterable[Notice]) -> None:
        rows = [(one.key, one.created_ns, one.body, one.attempts, one.outcome, one.detail) for one in notices]
        if rows:
            self._connection.executemany("INSERT OR REPLACE INTO notice VALUES (?, ?, ?, ?, ?, ?)", rows)
            oldest = "SELECT key FROM notice ORDER BY created_ns DESC LIMIT -1 OFFSET ?"
            self._connection.execute(f"DELETE FROM notice WHERE key IN ({oldest})", (MAX_NOTICES,))  # noqa: S608

    def _load(self, telemetry: Telemetry) -> Stored:
        def execute(statement: str) -> Iterable[Any]:
            return self._connection.execute(statement)

        recall = _Recall(list(execute("SELECT * FROM series")), telemetry)
        slots = {
            (width, begin): _read_slot(record, recall)
            for width, begin, record in execute("SELECT width, begin, record FROM slot")
        }
        processes = {Process(service, instance): at for service, instance, at in execute("SELECT * FROM process")}
        changes = Changes(slots, dict(execute("SELECT width, made_until FROM tier")), processes)
        alerts = _read_alerts([text for (text,) in execute("SELECT record FROM alert")])
        rows = execute("SELECT key, created_ns, body, attempts, outcome, detail FROM notice ORDER BY created_ns")
        return Stored(changes, recall.numbers(), recall.last + 1, alerts, [Notice(*row) for row in rows])


def _connect(path: Path) -> apsw.Connection:
    try:
        connection = apsw.Connection(str(path))
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        path.chmod(0o600)
        return connection
    except apsw.BusyError as error:
        message = f"another metrics_svc uses the history in {path.parent}: stop it, or choose another data directory"
        raise StartError(message) from error
    except (apsw.FullError, apsw.IOError) as error:
        raise HistoryError(_reason(error)) from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError) as error:
        message = f"cannot use the history of metrics {path}: {error}; choose a data directory that can be written"
        raise StartError(message) from error


def _prepare(connection: apsw.Connection, path: Path) -> None:
    connection.set_busy_timeout(BUSY_MILLIS)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    version: Any = connection.execute("PRAGMA user_version").fetchall()[0][0]
    if version > len(MIGRATIONS):
        raise StartError(
            f"the history of metrics {path} has format {version}, this version reads up to {len(MIGRATIONS)}: install a"
            " newer Lanecast or choose another data directory"
        )
    for number in range(version, len(MIGRATIONS)):
        with connection:
            connection.execute(MIGRATIONS[number])
            connection.execute(f"PRAGMA user_version={number + 1}")
    with connection:  # takes the lock for good, so that a second service is refused now and not later
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")


class _Recall:
    """Makes the series that the file names, once something of them is read."""

    def __init__(self, rows: Sequence[tuple[int, str, str, str, str]], telemetry: Telemetry) -> None:
        self._rows = {row[0]: row[1:] for row in rows}
        self._telemetry = telemetry
        self._found: dict[int, Series | None] = {}
        self.last = max(self._rows, default=0)

    def series(self, number: int) -> Series | None:
        """Return a series; None where it is none any more."""
        if number not in self._found:
            self._found[number] = self._make(number)
        return self._found[number]

    def numbers(self) -> dict[Series, int]:
        """Return the numbers of all series that were asked for."""
        return {series: number for number, series in self._found.items() if series is not None}

    def _make(self, number: int) -> Series | None:
        if number not in self._rows:
            return None
        name, attributes, kind, process = self._rows[number]
        try:
            return self._telemetry.recall(records.decode_key(name, attributes), Kind(kind), process)
        except (records.UnreadableError, ValueError) as error:
            log.warning("a series of the history is left out: %s", error)
            return None


def _read_slot(record: bytes, recall: _Recall) -> dict[Series, Value]:
    found: dict[Series, Value] = {}
    try:
        for number, value in records.decode_slot(record):
            series = recall.series(number)
            if series is not None:
                found[series] = value
    except records.UnreadableError as error:
        log.warning("%s; it is left out", error)
    return found


def _read_alerts(texts: Iterable[str]) -> list[Alert]:
    found: list[Alert] = []
    for text in texts:
        try:
            found.append(records.decode_alert(text))
        except records.UnreadableError as error:
            log.warning("%s; it is left out", error)
    return found


def _reason(error: apsw.Error) -> str:
    return "the disk is full" if isinstance(error, apsw.FullError) else f"the disk fails ({error})"
