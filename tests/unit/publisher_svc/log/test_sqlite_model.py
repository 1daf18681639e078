"""The embedded log against a list: kills, crashes, failing commits, retention and restarts in any order.

Also damage: whatever bytes of its files are changed, opening says StartError or works; nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import apsw
import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lanecast.core.priority import Priority
from lanecast.errors import StartError
from lanecast.v1.event_pb2 import Event
from publisher_svc.log import segment, sqlite
from publisher_svc.log.base import ChannelLane, Entry, LogError, LogFullError
from publisher_svc.log.checkpoint import checkpoint
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

names = st.sampled_from("abc")
lanes = st.sampled_from([Priority.CRITICAL, Priority.LOW])
batches = st.lists(st.tuples(names, lanes, st.integers(0, 40), st.sampled_from([0, 900])), min_size=1, max_size=6)


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the files of examples are."""


class InThread:
    """Checkpoints in the housekeeping thread itself: a process for each example would take its time."""

    def start(self) -> None:
        pass

    def run(self, path: Path) -> None:
        checkpoint(path)

    def close(self) -> None:
        pass


def entry(channel: str, lane: Priority, number: int, size: int = 0) -> Entry:
    event = Event(id=f"id{number}", channel=channel, priority=lane.wire_value)
    event.data.value = bytes(size)
    return Entry(channel, lane, event.id, event.SerializeToString(), time.time_ns())


class LogModel(RuleBasedStateMachine):
    """See the module. `stored` is what the log must have, in order; offset n is at n - 1."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(sqlite, "Checkpointer", InThread)
        self.patch.setattr(sqlite, "_boot_id", lambda: f"boot {self.boots}")
        self.boots = 0
        self.folder = Path(tempfile.mkdtemp(prefix="log-model-", dir=MEMORY))
        self.loop = asyncio.new_event_loop()
        self.stored: list[tuple[ChannelLane, str]] = []
        self.epochs = 1
        self.bytes = 10**9
        self.open()

    def teardown(self) -> None:
        self.run(self.log.close())
        self.loop.close()
        self.patch.undo()
        shutil.rmtree(self.folder)

    def run(self, coroutine: object) -> object:
        return self.loop.run_until_complete(coroutine)  # type: ignore[arg-type]

    def open(self) -> None:
        async def opened() -> SqliteEventLog:
            return SqliteEventLog.open(self.folder, SqliteLogSettings(segment_pages=8, retention_bytes=self.bytes))

        self.log: SqliteEventLog = self.run(opened())  # type: ignore[assignment]

    def append(self, entries: list[Entry]) -> None:
        async def appended() -> None:
            if not self.log.append_nowait(entries):
                await self.log.append(entries)

        self.run(appended())

    @rule(batch=batches)
    def store(self, batch: list[tuple[str, Priority, int, int]]) -> None:
        entries = [entry(*each) for each in batch]
        self.append(entries)
        for each in entries:
            name = (each.channel, each.event_id)
            known = [at for at, (key, its) in enumerate(self.stored, 1) if (key[0], its) == name]
            if known and known[-1] < self.log.first_offset and not each.duplicate:
                known = []  # a limit in bytes took it before its time, and a restart forgot its id
            assert each.duplicate == bool(known)
            if not known:
                heads = [at for at, (key, _) in enumerate(self.stored, 1) if key == each.key]
                assert each.prev_offset == max(heads, default=0)
                self.stored.append((each.key, each.event_id))
            assert each.offset == (known or [len(self.stored)])[-1]

    @rule(batch=batches)
    def fail_to_store(self, batch: list[tuple[str, Priority, int, int]]) -> None:
        writer = self.log._open_writer()
        real = writer._connection

        class Full:
            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

            def execute(self, statement: str, *arguments: object) -> object:
                alone = statement.startswith("INSERT INTO event") and not real.in_transaction
                if statement == "COMMIT" or alone:
                    raise apsw.FullError("database or disk is full")
                return real.execute(statement, *arguments)  # type: ignore[arg-type]

        writer._connection = Full()  # type: ignore[assignment]
        entries = [entry(*each) for each in batch]
        try:
            with contextlib.suppress(LogFullError):
                self.append(entries)
                assert all(each.duplicate for each in entries)
        finally:
            writer._connection = real

    @rule()
    def settle(self) -> None:
        self.run(self.log.settle())

    @rule()
    def close_and_open(self) -> None:
        self.run(self.log.close())
        self.open()

    @rule(reboot=st.booleans())
    def crash(self, reboot: bool) -> None:
        """Go on from the files as a kill left them; after a reboot, with nothing but their order lost."""
        self.run(self.log.settle())
        copy = Path(tempfile.mkdtemp(prefix="log-model-", dir=MEMORY))
        for path in self.folder.iterdir():
            shutil.copy2(path, copy / path.name)
        self.run(self.log.close())
        for path in self.folder.iterdir():
            if path.name != "identity":
                path.unlink()
        for path in copy.iterdir():
            if path.name != "identity" and not path.name.endswith("-shm"):
                shutil.copy2(path, self.folder / path.name)
        shutil.rmtree(copy)
        self.boots += reboot
        self.epochs += reboot
        self.open()

    @rule(limit=st.sampled_from([20_000, 60_000, 10**9]))
    def limit_bytes(self, limit: int) -> None:
        self.bytes = limit
        self.close_and_open()
        self.settle()

    @rule(name=names, lane=lanes, after=st.integers(0, 80), limit=st.integers(1, 5))
    def read(self, name: str, lane: Priority, after: int, limit: int) -> None:
        async def all_of() -> tuple[list[int], list[int]]:
            found: list[int] = []
            missing: list[int] = []
            cursor = after
            while True:
                page = await self.log.read((name, lane), cursor, limit)
                found += [each.offset for each in page.events]
                missing += [] if page.missing_through is None else [page.missing_through]
                if not page.more:
                    return found, missing
                cursor = page.covered_through

        found, missing = self.run(all_of())  # type: ignore[misc]
        expected = [at for at, (key, _) in enumerate(self.stored, 1) if key == (name, lane) and at > after]
        gone = [offset for offset in expected if offset < self.log.first_offset]
        assert found == [offset for offset in expected if offset >= self.log.first_offset]
        assert missing == gone[-1:]

    @invariant()
    def positions_are_those_of_the_list(self) -> None:
        assert self.log.end_offset == len(self.stored)
        for key in {key for key, _ in self.stored}:
            assert self.log.head(key) == max(at for at, (its, _) in enumerate(self.stored, 1) if its == key)
        assert len(self.log.lineage.starts) == self.epochs


TestLogModel = LogModel.TestCase
TestLogModel.settings = settings(max_examples=effort(12), stateful_step_count=25, deadline=None)


# Damage


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with closed segments and one that a kill left open."""
    folder, kept = tmp_path_factory.mktemp("sample"), tmp_path_factory.mktemp("kept")

    async def make() -> None:
        log = SqliteEventLog.open(folder, SqliteLogSettings(segment_pages=8))
        for number in range(30):
            await log.append([entry("a", Priority.LOW, number, 300)])
            await log.settle()
        for path in folder.iterdir():
            if not path.name.endswith("-shm"):
                shutil.copy2(path, kept / path.name)
        await log.close()

    asyncio.run(make())
    return kept


@settings(max_examples=effort(40), deadline=None)
@given(data=st.data(), count=st.integers(1, 30))
def test_fuzzed_files_are_opened_or_refused(sample: Path, data: st.DataObject, count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="log-fuzz-", dir=MEMORY) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "Checkpointer", InThread)
        folder = Path(made) / "log"
        shutil.copytree(sample, folder)
        path = folder / data.draw(st.sampled_from(sorted(each.name for each in folder.iterdir())))
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            del content[data.draw(st.integers(0, len(content))) :]
        for _ in range(count if content else 0):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        asyncio.run(open_and_read(folder))


async def open_and_read(folder: Path) -> None:
    try:
        log = SqliteEventLog.open(folder)
    except StartError:
        return
    try:
        with contextlib.suppress(LogError):
            await log.append([entry("a", Priority.LOW, 1), entry("a", Priority.LOW, 99)])
            await log.sync()
        with contextlib.suppress(LogError):
            await log.read(("a", Priority.LOW), 0, 100)
    finally:
        await log.close()


FACTS = ["format", "clean", "boot_id", "identity", "heads_through", "newest_segment", "failed"]


@settings(max_examples=effort(25), deadline=None)
@given(name=st.sampled_from(FACTS), value=st.one_of(st.text(max_size=8), st.integers(-(2**63), 2**63).map(str)))
def test_fuzzed_facts_of_the_manifest_are_understood_or_refused(sample: Path, name: str, value: str) -> None:
    with tempfile.TemporaryDirectory(prefix="log-fuzz-", dir=MEMORY) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "Checkpointer", InThread)
        folder = Path(made) / "log"
        shutil.copytree(sample, folder)
        connection = apsw.Connection(str(folder / "manifest.sqlite"))
        connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))
        connection.close()
        asyncio.run(open_and_read(folder))


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    for name in ("1.sqlite", "000000000001.sqlite.bak", "12345678901234.sqlite", "1abc.sqlite"):
        (tmp_path / name).write_text("mine")
    assert segment.numbers(tmp_path) == []
