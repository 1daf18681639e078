"""The history on disk: what is written comes back, whatever happens to the process or the file."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lanecast.core import instruments as names
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StartError
from metrics_svc.core.alerts import AlertBook, Reading, Severity
from metrics_svc.core.latency import report
from metrics_svc.core.notices import Notice
from metrics_svc.core.objectives import DEFAULTS
from metrics_svc.core.selection import Selection
from metrics_svc.core.slo import Ledger, deriver
from metrics_svc.core.telemetry import NANOS, Telemetry
from metrics_svc.history import FILE, FOLDER, MIGRATIONS, History
from metrics_svc.keeper import RETRY_TICKS, Keeper


def figures(bench: Any, window: int) -> Any:
    """Everything that a window says: quantiles, and counts of each lane."""
    now = bench.now_ns // NANOS
    ledger = Ledger(bench.telemetry)
    span = bench.telemetry.span(now - window, now + 1, bench.now_ns)
    found = report(bench.telemetry, Selection(), bench.now_ns, window)
    return found.figures, [ledger.counts(span, lane) for lane in LANES], bench.telemetry.processes(0)


async def again(new_bench: Any, data_dir: Path, now_ns: int) -> tuple[Any, Keeper]:
    """A service that starts anew with what is on disk."""
    bench = new_bench()
    bench.now_ns = now_ns
    bench.telemetry = Telemetry(now_ns, derive=deriver(DEFAULTS))  # begins now, as in a process that was just started
    keeper = Keeper(data_dir, bench.telemetry)
    await keeper.open(now_ns)
    return bench, keeper


steps = st.lists(
    st.tuples(st.sampled_from([1, 7, 70, 900, 5000, 40_000]), st.sampled_from(LANES), st.integers(1, 10**8)),
    min_size=1,
    max_size=15,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps, st.sampled_from([1, 30, 4000, 100_000]))
async def test_all_windows_go_on_after_a_kill(
    new_bench: Any, tmp_path_factory: pytest.TempPathFactory, steps: Any, away: int
) -> None:
    data_dir = tmp_path_factory.mktemp("history")
    bench, keeper = await again(new_bench, data_dir, new_bench().now_ns)
    for pause, lane, nanos in steps:
        bench.later(pause)
        bench.deliveries(lane.name, [nanos / 1e9])
        bench.count(names.EVENT_DROPPED, 2, bench.gateway, lane=lane.name, reason="shed")
        await keeper.flush()
    keeper._history._connection.close()  # type: ignore[union-attr] # as a kill would: nothing more is written
    bench.later(away)
    restarted, second = await again(new_bench, data_dir, bench.now_ns)
    bench.telemetry.span(0, 1, bench.now_ns)  # moves the clock of the one that was not restarted
    for window in (10, 300, 3600, 86_400, 3 * 86_400, 30 * 86_400):
        assert figures(restarted, window) == figures(bench, window)
    await second.close()
    keeper._history = None
    await keeper.close()


async def test_alerts_and_notifications_come_back(new_bench: Any, tmp_path: Path) -> None:
    _, keeper = await again(new_bench, tmp_path, 1)
    book = AlertBook()
    book.update(5, [Reading("r", Severity.PAGE, holds=True, stays=True, summary="Wrong.", lane=Priority.LOW)])
    keeper.keep_alerts({alert.id: alert for alert in book.newest()})
    keeper.keep_notice(Notice("r:FIRING", 5, "{}"))
    await keeper.flush()
    book.acknowledge(6, book.newest()[0].id, "kim", "", 60)
    keeper.keep_alerts({alert.id: alert for alert in book.newest()})
    await keeper.close()
    _, second = await again(new_bench, tmp_path, 1)
    await second.close()
    third = Keeper(tmp_path, new_bench().telemetry)
    alerts, notices = await third.open(10)
    assert alerts == book.newest()
    assert notices == [Notice("r:FIRING", 5, "{}")]
    third.keep_alerts({})
    await third.close()
    fourth = Keeper(tmp_path, new_bench().telemetry)
    assert (await fourth.open(10))[0] == []
    await fourth.close()


async def test_what_is_too_old_goes_from_the_disk_as_well(new_bench: Any, tmp_path: Path) -> None:
    bench, keeper = await again(new_bench, tmp_path, new_bench().now_ns)
    for _ in range(40):
        bench.deliveries("LOW", [0.001])
        await keeper.flush()
        bench.later(86_400)
    bench.deliveries("LOW", [0.001])
    await keeper.close()
    with closing(apsw.Connection(str(tmp_path / FOLDER / FILE))) as connection:
        rows = list(connection.execute("SELECT width, count(*) FROM slot GROUP BY width"))
    kept = dict(rows)
    assert kept[21_600] <= 32
    assert sum(kept.values()) <= 40


async def test_a_second_service_is_refused(new_bench: Any, tmp_path: Path) -> None:
    _, keeper = await again(new_bench, tmp_path, 1)
    with pytest.raises(StartError, match="another metrics_svc uses the history"):
        History.open(tmp_path)
    await keeper.close()


def test_a_newer_format_is_refused_and_an_older_one_migrated(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / FILE
    path.parent.mkdir()
    connection = apsw.Connection(str(path))
    connection.execute(MIGRATIONS[0])
    connection.execute("INSERT INTO tier VALUES (1, 5); PRAGMA user_version=1")
    connection.close()
    history = History.open(tmp_path)
    assert list(history._connection.execute("SELECT * FROM tier")) == [(1, 5)]
    assert list(history._connection.execute("SELECT * FROM alert")) == []
    assert path.stat().st_mode & 0o077 == 0
    history.close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StartError, match="has format 99, this version reads up to 2: install a newer Lanecast"):
        History.open(tmp_path)


async def test_a_damaged_file_is_put_aside(new_bench: Any, tmp_path: Path) -> None:
    path = tmp_path / FOLDER / FILE
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)
    _, keeper = await again(new_bench, tmp_path, 1)
    await keeper.close()
    assert [one.read_bytes()[:4] for one in path.parent.glob("*damaged*")] == [b"this"]


async def test_a_damaged_record_is_left_out_and_the_rest_is_kept(new_bench: Any, tmp_path: Path) -> None:
    bench, keeper = await again(new_bench, tmp_path, new_bench().now_ns)
    for _ in range(2):
        bench.deliveries("LOW", [0.001])
        bench.later(1)
    await keeper.close()
    with closing(apsw.Connection(str(tmp_path / FOLDER / FILE))) as connection:
        connection.execute("UPDATE slot SET record = x'0102' WHERE begin = (SELECT min(begin) FROM slot)")
    restarted, second = await again(new_bench, tmp_path, bench.now_ns)
    assert figures(restarted, 60)[1][3].good == 1
    await second.close()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


async def test_a_full_disk_costs_nothing_but_the_history(new_bench: Any, tmp_path: Path) -> None:
    bench, keeper = await again(new_bench, tmp_path, new_bench().now_ns)
    wal = tmp_path / FOLDER / f"{FILE}-wal"
    with full_disk(wal.stat().st_size + 4096):
        for _ in range(20):
            bench.deliveries("LOW", [0.001])
            bench.later(1)
            await keeper.flush()
        assert keeper.problem
        assert figures(bench, 60)[1][3].good == 20
    for _ in range(RETRY_TICKS + 1):
        await keeper.flush()
    assert keeper.problem == ""
    keeper._history._connection.close()  # type: ignore[union-attr]
    restarted, second = await again(new_bench, tmp_path, bench.now_ns)
    assert figures(restarted, 3600) == figures(bench, 3600)
    await second.close()
    keeper._history = None
    await keeper.close()
