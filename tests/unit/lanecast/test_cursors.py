"""The cursor stores, both held to the same rules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.cursors import CursorStore, FileCursorStore, MemoryCursorStore
from lanecast.errors import LanecastError

A_HIGH, A_LOW, B_HIGH = ("a", Priority.HIGH), ("a", Priority.LOW), ("b", Priority.HIGH)


@pytest.fixture(params=["memory", "file"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], CursorStore]:
    if request.param == "memory":
        return MemoryCursorStore
    return lambda: FileCursorStore(tmp_path / "new" / "cursors.db")


async def test_positions_are_loaded_by_channel(make_store: Callable[[], CursorStore]) -> None:
    store = make_store()
    assert await store.load(["a"]) == {}
    await store.save({A_HIGH: Position("e", 1), A_LOW: Position("e", 2), B_HIGH: Position("e", 3)})
    assert await store.load(["a", "c"]) == {A_HIGH: Position("e", 1), A_LOW: Position("e", 2)}


async def test_a_position_replaces_the_one_before_even_backwards(make_store: Callable[[], CursorStore]) -> None:
    store = make_store()
    await store.save({A_HIGH: Position("e", 9)})
    await store.save({A_HIGH: Position("f", 2)})
    assert await store.load(["a"]) == {A_HIGH: Position("f", 2)}


async def test_a_file_outlives_its_store_and_keeps_subscribers_apart(tmp_path: Path) -> None:
    path = tmp_path / "cursors.db"
    first, other = FileCursorStore(path, "one"), FileCursorStore(path, "two")
    await first.save({A_HIGH: Position("e", 1)})
    await other.save({A_HIGH: Position("e", 2)})
    await first.close()
    await first.close()
    assert await FileCursorStore(path, "one").load(["a"]) == {A_HIGH: Position("e", 1)}
    assert await first.load(["a"]) == {A_HIGH: Position("e", 1)}
    await first.close()
    await other.close()


def test_a_saved_position_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "cursors.db"
    program = (
        "import asyncio, os, signal, sys\n"
        "from lanecast import FileCursorStore, Position, Priority\n"
        "async def main():\n"
        "    await FileCursorStore(sys.argv[1]).save({('a', Priority.HIGH): Position('e', 7)})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT position FROM cursor").get == 7
    connection.close()


async def test_a_foreign_or_damaged_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    connection = apsw.Connection(str(foreign))
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(LanecastError, match="no cursor file of this version"):
        await FileCursorStore(foreign).load(["a"])
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database, certainly not" * 100)
    with pytest.raises(LanecastError, match="cannot be used"):
        await FileCursorStore(damaged).save({A_HIGH: Position("e", 1)})
    assert damaged.read_bytes().startswith(b"not a database")


async def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LanecastError, match="choose a path"):
        await FileCursorStore(tmp_path / "file" / "cursors.db").load(["a"])
