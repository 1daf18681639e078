"""Faults of disk, descriptors and clock; retention; and many who resume at once.

Owns what is done; what must be true is judged by `checker`, and by what each asks for here. Listed in `scenarios`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from faults import machine
from faults.recorder import Recorder
from faults.run import Run, Scenario
from faults.scenarios_processes import now
from faults.stack import Plan
from lanecast.core.priority import Priority
from lanecast.runtime.tokens import issue, load_or_create_key

_FULL_SECONDS = 1.0
_HOUR = 3600.0


async def _refusing(run: Run) -> float:
    """Return how long it took until nothing is acknowledged any more: an event handed over since stays unanswered."""
    began = time.monotonic()
    quiet_since = began
    acked = sum(len(producer.acks) for producer in run.stack.producers)
    while time.monotonic() - quiet_since < 0.5 and time.monotonic() - began < 30:
        await asyncio.sleep(0.05)
        count = sum(len(producer.acks) for producer in run.stack.producers)
        if count != acked:
            acked, quiet_since = count, time.monotonic()
    return quiet_since - began


async def _reads_go_on(run: Run) -> None:
    """Have a new subscriber read history while nothing can be stored."""
    since = time.monotonic()
    late = run.stack.add_recorder("late", run.stack.channels[:1], restless=0)
    await run.recover("read", late.wait_subscribed(), since, limit=5.0)


async def disk_full_by_limit(run: Run) -> None:
    """Let no file of the publisher grow any more, then let them grow again."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    size = max(path.stat().st_size for path in (stack.data / "log").glob("*-wal"))
    before = stack.publisher.limit(resource.RLIMIT_FSIZE, size)
    run.note(refused_after_seconds=round(await _refusing(run), 2))
    await asyncio.sleep(_FULL_SECONDS)
    await _reads_go_on(run)
    since, since_ns = now()
    stack.publisher.limit(resource.RLIMIT_FSIZE, before)
    await run.recover_flow(since, since_ns)
    run.require(stack.publisher.alive, "the publisher ended")


async def disk_full(run: Run) -> None:
    """Fill the file system with something else, then make room."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    ballast = stack.data / "ballast"
    facts = os.statvfs(stack.data)
    with ballast.open("wb") as file:
        file.write(bytes(max(0, facts.f_bavail * facts.f_frsize - 64 * 1024)))
    run.note(refused_after_seconds=round(await _refusing(run), 2))
    await asyncio.sleep(_FULL_SECONDS)
    await _reads_go_on(run)
    since, since_ns = now()
    ballast.unlink()
    await run.recover_flow(since, since_ns)


async def restart_on_full_disk(run: Run) -> None:
    """Kill the publisher while its disk is full: it must come back, or say why not, and recover when there is room."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    ballast = stack.data / "ballast"
    facts = os.statvfs(stack.data)
    with ballast.open("wb", buffering=0) as file, suppress(OSError):  # the publisher takes from the same room meanwhile
        file.write(bytes(max(0, facts.f_bavail * facts.f_frsize)))
    await _refusing(run)
    await stack.publisher.kill()
    await stack.publisher.spawn()
    await asyncio.sleep(2.0)
    running = stack.publisher.alive
    if not running:
        words = stack.publisher.words()
        run.require("Traceback" not in words and words.endswith("free disk space"), f"it ended with {words}")
    since, since_ns = now()
    ballast.unlink()
    if not stack.publisher.alive:
        code = await stack.publisher.wait()
        run.note(started_on_full_disk=False, exit_code=code, words=stack.publisher.words())
        await stack.publisher.spawn()
    else:
        run.note(started_on_full_disk=True)
    await stack.publisher.ready()
    await run.recover_flow(since, since_ns)


async def fsync_error(run: Run) -> None:
    """Have fsync fail for a while."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    async with machine.injected(stack.publisher.pid, "fdatasync,fsync", "error=EIO"):
        run.note(refused_after_seconds=round(await _refusing(run), 2))
    ended = not stack.publisher.alive
    since, since_ns = now()
    if ended:
        code = await stack.publisher.wait()
        run.note(exit_code=code, words=stack.publisher.words())
        run.require(code != 0, "the publisher ended with 0 after a failure of its disk")
        await stack.publisher.start()
    run.note(ended_by_itself=ended)
    await run.recover_flow(since, since_ns)


async def fsync_slow(run: Run) -> None:
    """Have each fsync take 0.3 s for a while: acknowledgements wait, deliveries do not."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    calm = stack.take_latency()
    async with machine.injected(stack.publisher.pid, "fdatasync,fsync", "delay_enter=300000"):
        await asyncio.sleep(6)
        since, since_ns = now()
        await run.recover_flow(since, since_ns)
        meanwhile = stack.take_latency()
    since, since_ns = now()
    await run.recover_flow(since, since_ns)
    run.note(p99_ms_calm=calm, p99_ms_meanwhile=meanwhile)


async def gateway_without_files(run: Run) -> None:
    """Leave a gateway no file descriptor for new connections; those that are open must live on."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    gateway = stack.gateways[0]
    before = gateway.limit(resource.RLIMIT_NOFILE, gateway.open_files() + 3)
    refused = [stack.add_recorder(f"refused-{number}", stack.channels[:1], restless=0) for number in range(20)]
    old = stack.recorders[: run.scenario.plan.subscribers]
    connections = sum(recorder.connections for recorder in old)
    await asyncio.sleep(5)
    since, since_ns = now()
    await run.recover("others", stack.flowing(since_ns, old), since, limit=2.0)
    run.require(sum(recorder.connections for recorder in old) == connections, "open sessions were closed")
    run.note(refused=sum(not recorder.subscribed for recorder in refused))
    gateway.limit(resource.RLIMIT_NOFILE, before)
    since, since_ns = now()
    await run.recover("new ones", stack.flowing(since_ns, refused), since)


async def publisher_without_files(run: Run) -> None:
    """Leave the publisher no file descriptor, long enough to need the next segment of the log."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    before = stack.publisher.limit(resource.RLIMIT_NOFILE, stack.publisher.open_files())
    since, since_ns = now()
    await run.recover("meanwhile", stack.flowing(since_ns), since, limit=2.0)
    await asyncio.sleep(8)
    stack.publisher.limit(resource.RLIMIT_NOFILE, before)
    since, since_ns = now()
    await run.recover_flow(since, since_ns)


async def gateway_without_memory(run: Run) -> None:
    """Leave a gateway next to no address space and have many come; it may die of it, but not lie."""
    stack = run.stack
    await run.pause(1.0, 2.0)
    gateway = stack.gateways[0]
    used = int(Path(f"/proc/{gateway.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = gateway.limit(resource.RLIMIT_AS, used + 2 * 1024 * 1024)
    crowd = [stack.add_recorder(f"crowd-{number}", stack.channels, restless=0) for number in range(100)]
    await asyncio.sleep(8)
    ended = not gateway.alive
    since, since_ns = now()
    if ended:
        run.note(exit_code=await gateway.wait())
        await gateway.start()
    else:
        gateway.limit(resource.RLIMIT_AS, before)
    run.note(ended=ended)
    await run.recover("everyone", stack.flowing(since_ns, [*stack.recorders, *crowd]), since)


async def clock_jumps(run: Run) -> None:
    """Set the wall clocks of all services an hour ahead, back, and an hour behind."""
    stack = run.stack
    key = load_or_create_key(stack.data)
    short = issue(key, ["*"], subject="short", ttl_seconds=1800)
    watcher = stack.add_recorder("short token", stack.channels[:1], restless=0, token=short)
    await watcher.wait_subscribed()
    clock = Path(stack.publisher.environ["FAULTS_CLOCK"])
    for ahead in (_HOUR, 0.0, -_HOUR, 0.0):
        await run.pause(1.0, 2.0)
        since, since_ns = now()
        clock.write_text(str(ahead))
        for service in stack.services():
            service.send(signal.SIGUSR1)
        others = [recorder for recorder in stack.recorders if recorder is not watcher]
        await run.recover("publish", stack.acknowledging(since), since)
        await run.recover("deliver", stack.flowing(since_ns, others), since)
        if ahead > 0:
            await run.recover("expire", _closed_with(watcher, "TOKEN_EXPIRED"), since, limit=5.0)
        run.tell(f"{ahead:+.0f} s")
    await run.recover("return", stack.flowing(since_ns, [watcher]), since, limit=10.0)


async def _closed_with(recorder: Recorder, reason: str) -> None:
    while not any(reason in text for text in recorder.closes):
        await asyncio.sleep(0.02)


async def retention(run: Run) -> None:
    """Have retention pass a subscriber that is away, and one whose channel is quiet."""
    stack = run.stack
    away, quiet = stack.recorders[0], stack.add_recorder("quiet", ["quiet"], restless=0)
    await quiet.wait_subscribed()
    stack.producers[0].publish("quiet", Priority.HIGH)
    await stack.flowing(1, [quiet])
    away.go_offline()
    quiet.go_offline()
    first = _first_segment(stack.data / "log")
    deadline = time.monotonic() + 60
    while _first_segment(stack.data / "log") < first + 3 and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    run.tell(f"segments up to {_first_segment(stack.data / 'log')} are gone")
    since, since_ns = now()
    away.come_back()
    quiet.come_back()
    await run.recover("resume", stack.flowing(since_ns, [away]), since)
    await run.recover("quiet", quiet.wait_subscribed(), since)
    told = [gap for journal in away.journals.values() for gap in journal.gaps]
    run.require(any(gap.reason == "TRUNCATED" for gap in told), "the one that was away was not told what is gone")
    others = [each for recorder in stack.recorders if recorder is not away for each in recorder.journals.values()]
    wrongly = [journal for journal in others if journal.gaps]
    run.require(
        not wrongly, f"{len(wrongly)} lanes that lost nothing have gaps, {wrongly[0].key if wrongly else ''} first"
    )
    run.note(truncated=[(gap.after, gap.through) for gap in told])


def _first_segment(folder: Path) -> int:
    return min((int(path.stem) for path in folder.glob("[0-9]*.sqlite")), default=0)


async def resume_many(run: Run) -> None:
    """Bring sessions back that have 10,000 events behind them, while live traffic goes on.

    Each session missed the same 10,000 events of one channel and lane, so that `sessions` times 10,000 are delivered.
    """
    stack, sessions, behind = run.stack, run.sessions, 10_000
    witness = stack.recorders[0]
    crowd = [stack.add_recorder(f"resuming-{n}", ["history"], restless=0) for n in range(sessions)]
    await asyncio.gather(*(recorder.wait_subscribed() for recorder in crowd))
    for recorder in crowd:
        recorder.go_offline()
        recorder.latency = {lane: type(sketch)() for lane, sketch in crowd[0].latency.items()}
        recorder.edge_latency = None
    run.tell("writing what they will have missed")
    waits: list[Awaitable[object]] = []
    for number in range(behind):
        future = stack.producers[0].publish("history", Priority.NORMAL)
        waits += [future] if future is not None else []
        if number % 500 == 499:
            await asyncio.gather(*waits)
            waits.clear()
    calm_from = time.monotonic()
    stack.take_latency()
    stack.take_edge_latency()
    await asyncio.sleep(3)
    run.note(p99_ms_calm=stack.take_latency(), edge_p99_ms_calm=stack.take_edge_latency())
    run.note(calm_seconds=round(time.monotonic() - calm_from, 1))
    head = max(ack.offset for ack in stack.producers[0].acks if ack.key[0] == "history")
    since = time.monotonic()
    for recorder in crowd:
        recorder.come_back()
    run.tell(f"{sessions} sessions resume")
    await run.recover("resume", _caught_up(crowd, head), since)
    took = time.monotonic() - since
    delivered = sum(len(journal.handed) for recorder in crowd for journal in recorder.journals.values())
    run.note(
        sessions=sessions, behind=behind, resume_seconds=round(took, 1), events_per_second=round(delivered / took),
        p99_ms_meanwhile=stack.take_latency(), edge_p99_ms_meanwhile=stack.take_edge_latency(), witness=witness.name,
    )  # fmt: skip


async def _caught_up(crowd: list[Recorder], head: int) -> None:
    key = ("history", int(Priority.NORMAL))
    for recorder in crowd:
        while recorder.journals[key].cursor < head:
            await asyncio.sleep(0.05)


_SMALL = Plan(events_per_second=500, subscribers=20, restless_seconds=0)
_DURABLE = replace(_SMALL, publisher={"LANECAST_PUBLISHER_DURABILITY": "disk"})
_NO_FALSE = "RESOURCE_EXHAUSTED and no false acknowledgement, reads go on, recovers"

SCENARIOS = (
    Scenario("disk-limit", "files cannot grow (RLIMIT_FSIZE)", _NO_FALSE, disk_full_by_limit, _SMALL),
    Scenario(
        "disk-full", "disk full (a small file system)", _NO_FALSE, disk_full,
        replace(_SMALL, disk_bytes=48 * 1024 * 1024), absent=machine.no_mount,
    ),
    Scenario(
        "disk-full-restart", "publisher killed while its disk is full",
        "starts, or ends with one clear sentence; recovers",
        restart_on_full_disk, replace(_SMALL, disk_bytes=48 * 1024 * 1024), absent=machine.no_mount,
    ),
    Scenario(
        "fsync-error", "fsync error", "recovers, or exit without acknowledging",
        fsync_error, _DURABLE, absent=machine.no_strace,
    ),
    Scenario(
        "fsync-slow", "fsync slow", "acknowledgements wait, deliveries do not",
        fsync_slow, _DURABLE, absent=machine.no_strace
    ),
    Scenario(
        "gateway-files", "file descriptors of a gateway exhausted", "existing sessions live; recovers when freed",
        gateway_without_files, replace(_SMALL, gateways=1),
    ),
    Scenario(
        "publisher-files", "file descriptors of the publisher exhausted", "existing sessions live; recovers when freed",
        publisher_without_files, replace(_SMALL, payload_bytes=4_000),
    ),
    Scenario(
        "gateway-memory", "memory of a gateway exhausted", "existing sessions live or resume; recovers when freed",
        gateway_without_memory, replace(_SMALL, gateways=1), recover_seconds=10.0,
    ),
    Scenario(
        "clock-jumps", "clock jumps by an hour, both ways", "order and offsets untouched; expiry fails closed",
        clock_jumps, replace(_SMALL, launcher="faults.skewed"),
    ),
    Scenario(
        "retention", "retention passes a cursor",
        "gap TRUNCATED with the first position available; none where nothing is gone",
        retention,
        replace(_SMALL, events_per_second=1_000, payload_bytes=8_000, channels=10, subscribers=10,
                publisher={"LANECAST_PUBLISHER_RETENTION_BYTES": "1000000"}, excused=frozenset({"TRUNCATED"})),
    ),
    Scenario(
        "resume-crowd", "1,000 sessions resume with 10,000 events behind them", "nothing lost; CRITICAL goes first",
        resume_many, Plan(events_per_second=200, subscribers=20, restless_seconds=0), recover_seconds=60.0,
    ),
)  # fmt: skip
