"""Bots: three bots, a process each, hand customers over to one another and never lose one.

    python examples/bots/main.py --target 127.0.0.1:7400

Each bot publishes to the HIGH lane of `bots:handoffs` and subscribes to it. This process starts them, starts them again
when they die, and audits every handoff from outside. It ends with 1 where a handoff was lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from lanecast import Priority, Start, Subscriber
from lanecast.errors import LanecastError
from lanecast.subscriber import EventStream

sys.path.append(str(Path(__file__).resolve().parents[1]))

import service
from audit import Audit, owners_at_the_end, summary
from bot import StateFile
from desks import DESKS
from handoff import Desk, Timing
from wire import CHANNEL, from_event

RESTART_SECONDS = 0.2
CATCH_UP_SECONDS = 3.0
"""How long the audit may be behind the bots when they have ended."""


class Team:
    """The bots' processes."""

    def __init__(self, options: argparse.Namespace, directory: Path, run: str) -> None:
        self.restarts = 0
        self.failures = 0
        """Bots that ended with an error after they were told to stop."""
        self._options = options
        self._directory = directory
        self._run = run
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all bots and keep them running."""
        self._keepers = [asyncio.create_task(self._keep(name)) for name in DESKS]

    async def stop(self) -> None:
        """Tell all bots to stop, and wait for them; they settle what is under way first."""
        self._stop.set()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*self._keepers)

    def desks(self) -> list[Desk]:
        """Return the bots' states as they are on disk."""
        return [StateFile(self._directory, name).read(Timing()) for name in DESKS]

    async def _keep(self, name: str) -> None:
        while not self._stop.is_set():
            process = await asyncio.create_subprocess_exec(
                *self._command(name),
                stdin=asyncio.subprocess.PIPE,
                process_group=0,  # a Ctrl-C is for this process, which then tells the bots
            )
            self._processes[name] = process
            sys.stdout.write(f"bots: {name} is process {process.pid}\n")
            sys.stdout.flush()
            if self._stop.is_set():
                process.terminate()
            code = await process.wait()
            if self._stop.is_set():
                self._ended(name, code)
                return
            sys.stderr.write(f"bots: {name} ended with {code}, starting it again\n")
            self.restarts += 1
            await service.pause(self._stop, RESTART_SECONDS)

    def _ended(self, name: str, code: int) -> None:
        if code not in (0, -signal.SIGTERM):  # the signal ends a bot that is still starting; its state is on disk
            self.failures += 1
            sys.stderr.write(f"bots: {name} ended with {code} when it was told to stop\n")

    def _command(self, name: str) -> list[str]:
        options = self._options
        result = [sys.executable, str(Path(__file__).with_name("bot.py")), "--name", name, "--supervised"]
        result += ["--state-dir", str(self._directory), "--run", self._run, "--rate", str(options.rate)]
        result += ["--timeout", str(options.timeout)]
        for target in service.targets(options):
            result += ["--target", target]
        return result


class Auditor:
    """Follows the channel of this run's bots."""

    def __init__(self, run: str, count: int) -> None:
        self.audit = Audit()
        self.enough = asyncio.Event()
        self.moved = asyncio.Event()
        self._mark = f"-{run}-"
        self._count = count

    async def follow(self, stream: EventStream) -> None:
        """Take in every event, for ever."""
        async for delivery in stream:
            message = from_event(delivery.message)  # type: ignore[arg-type]  # only BotHandoff is published here
            if message is None or self._mark not in message.talk.id:
                continue
            self.audit.see(message)
            self.audit.forget(time.time())
            self.moved.set()
            if self._count and self.audit.confirmed >= self._count:
                self.enough.set()

    async def catch_up(self, confirmed: int) -> None:
        """Wait until all handoffs that the bots have confirmed were seen, or the time for it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while self.audit.confirmed < confirmed:
                    self.moved.clear()
                    await self.moved.wait()


async def run(options: argparse.Namespace, directory: Path) -> int:
    """Run the bots until told to stop; return the exit code."""
    stop = asyncio.Event()
    service.watch_signals(stop)
    async with (
        Subscriber(service.targets(options), name="bots/audit") as subscriber,
        subscriber.events(CHANNEL, lanes=(Priority.HIGH,), start=Start.LATEST) as stream,
    ):
        name = _run_name(directory)
        team, auditor = Team(options, directory, name), Auditor(name, options.count)
        before = sum(desk.counts.confirmed for desk in team.desks())
        following = asyncio.create_task(auditor.follow(stream))
        team.start()
        try:
            await _first(following, stop, auditor.enough)
        finally:
            await team.stop()
            desks = team.desks()
            await auditor.catch_up(sum(desk.counts.confirmed for desk in desks) - before)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        return _report(auditor.audit, team, desks, before)


def _run_name(directory: Path) -> str:
    """Return what tells the conversations of this state directory from others in the same log."""
    path = directory / "run"
    if not path.exists():
        path.write_text(f"{time.time_ns() // 1_000_000:x}", encoding="utf-8")
    return path.read_text(encoding="utf-8")


async def _first(following: asyncio.Task[None], *events: asyncio.Event) -> None:
    """Wait for the first of the events; raise what ended the audit, where it did."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait([following, *waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    if following.done():
        following.result()


def _report(audit: Audit, team: Team, desks: list[Desk], before: int) -> int:
    lost = audit.lost(time.time(), patience=0)
    problems = owners_at_the_end(desks)
    unseen = sum(desk.counts.confirmed for desk in desks) - before - audit.confirmed
    if unseen > 0:
        problems.append(f"{unseen} handoffs were confirmed by the bots and are not in the log")
    for problem in [
        *(f"lost: {handoff}" for handoff in lost),
        *(f"doubled: {text}" for text in audit.doubled),
        *problems,
    ]:
        sys.stderr.write(f"bots: {problem}\n")
    sys.stdout.write(summary(audit, desks, team.restarts, len(lost), len(problems)) + "\n")
    return 1 if lost or audit.doubled or problems or team.failures else 0


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    parser = service.parser(
        "bots",
        "Three bots hand customers over to one another.",
        rate=2,
        rate_help="things each bot does a second",
        counted="handoffs",
    )
    parser.add_argument("--state-dir", help="where the bots keep what they know (default: a directory for this run)")
    parser.add_argument("--timeout", type=float, default=5, help="seconds after which an offer lapses (default 5)")
    options = parser.parse_args(arguments)
    try:
        if options.state_dir is None:
            with tempfile.TemporaryDirectory(prefix="bots-") as directory:
                return asyncio.run(run(options, Path(directory)))
        Path(options.state_dir).mkdir(parents=True, exist_ok=True)
        return asyncio.run(run(options, Path(options.state_dir)))
    except OSError as error:
        sys.stderr.write(f"The state directory cannot be used: {error}. Give another one with --state-dir.\n")
        return 2
    except LanecastError as error:
        return service.failed(error)


if __name__ == "__main__":
    sys.exit(main())
