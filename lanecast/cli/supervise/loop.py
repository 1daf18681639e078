"""Carries out what the supervisor core decides: starts processes, sends signals, keeps time, tells the user.

Owns the children and the signal handlers of this process. Called by `lanecast up` and `lanecast demo`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lanecast.cli.core.plan import Launch
from lanecast.cli.core.supervisor import (
    Action,
    AllReady,
    Died,
    Finish,
    GaveUp,
    Kill,
    Rolled,
    Spawn,
    Supervisor,
    SupervisorPolicy,
    Terminate,
)
from lanecast.cli.supervise.child import Child
from lanecast.errors import LanecastError

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ROLL_SIGNAL = signal.SIGUSR1
"""Asks for a rolling restart. Not SIGHUP, which also comes when a terminal is closed."""


class Reporter(Protocol):
    """Who tells the user."""

    def line(self, name: str, text: str) -> None:
        """Pass on a line that a child wrote."""

    def ready(self, launch: Launch, pid: int, facts: dict[str, Any]) -> None:
        """Say that one child is ready."""

    def all_ready(self, ready: Sequence[tuple[Launch, int, dict[str, Any]]]) -> None:
        """Say that all are ready, for the first time or after a restart."""

    def died(self, name: str, code: int, delay_seconds: float) -> None:
        """Say that a child ended unasked and is restarted after a delay."""

    def gave_up(self, name: str, code: int) -> None:
        """Say that a child could not be started."""

    def killed(self, name: str, reason: str) -> None:
        """Say that a child had to be killed."""

    def rolling(self) -> None:
        """Say that the services are restarted one at a time."""

    def rolled(self, failed: str) -> None:
        """Say that this has ended: with all of them, or at one that did not become ready again."""

    def stopping(self) -> None:
        """Say that the children are being stopped."""


class SupervisorLoop:
    """Runs a set of children until it is told to stop, or cannot go on. Use `run()` once."""

    def __init__(self, launches: Sequence[Launch], reporter: Reporter, policy: SupervisorPolicy | None = None) -> None:
        self._launches = {launch.spec.name: launch for launch in launches}
        self._core = Supervisor([launch.spec for launch in launches], policy)
        self._reporter = reporter
        self._running: dict[str, Child] = {}
        self._closed: list[Child] = []
        self._facts: dict[str, dict[str, Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._exit_code = 0
        self._error: Exception | None = None

    async def run(self) -> int:
        """Start everything, keep it running until SIGTERM, SIGINT or SIGHUP, and return the exit code."""
        self._loop = asyncio.get_running_loop()
        self._finished = asyncio.Event()
        for number in _STOP_SIGNALS:
            self._loop.add_signal_handler(number, self.stop)
        self._loop.add_signal_handler(ROLL_SIGNAL, self.roll)
        try:
            self._carry_out(self._core.start(self._loop.time()))
            await self._finished.wait()
            for child in [*self._closed, *self._running.values()]:
                await child.wait_closed()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for number in (*_STOP_SIGNALS, ROLL_SIGNAL):
                self._loop.remove_signal_handler(number)
        if self._error is not None:
            raise self._error
        return self._exit_code

    def stop(self) -> None:
        """Stop all children in order; a second call kills them."""
        if not self._core.stopping:
            self._tell(self._reporter.stopping)
        self._carry_out(self._core.stop(self._loop.time()))

    def roll(self) -> None:
        """Restart the services one at a time; nothing where that is under way."""
        actions = self._core.roll(self._loop.time())
        if actions:
            self._tell(self._reporter.rolling)
        self._carry_out(actions)

    def child_ready(self, name: str, facts: dict[str, Any]) -> None:
        """Called by a child."""
        self._facts[name] = facts
        self._tell(self._reporter.ready, self._launches[name], self._running[name].pid, facts)
        self._carry_out(self._core.on_ready(name, self._loop.time()))

    def child_line(self, name: str, text: str) -> None:
        """Called by a child."""
        self._tell(self._reporter.line, name, text)

    def child_ended(self, name: str, code: int) -> None:
        """Called by a child."""
        self._closed = [*(child for child in self._closed if not child.closed), self._running.pop(name)]
        self._facts.pop(name, None)
        self._carry_out(self._core.on_exit(name, code, self._loop.time()))

    def _tell(self, report: Callable[..., None], *arguments: object) -> None:
        """Report something; where that fails, stop in order and raise the error at the end of `run`."""
        try:
            report(*arguments)
        except (LanecastError, OSError) as error:
            self._error = self._error or error
            if not self._core.stopping:
                self._loop.call_soon(self.stop)

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._perform(action)
        self._set_timer()

    def _perform(self, action: Action) -> None:
        match action:
            case Spawn(name):
                self._running[name] = Child(self._launches[name], self)
                self._running[name].start()
            case Terminate(name):
                self._running[name].signal(signal.SIGTERM)
            case Kill(name, reason):
                self._tell(self._reporter.killed, name, reason)
                self._running[name].signal(signal.SIGKILL)
            case Died(name, code, delay):
                self._tell(self._reporter.died, name, code, delay)
            case GaveUp(name, code):
                self._tell(self._reporter.gave_up, name, code)
            case Rolled(failed):
                self._tell(self._reporter.rolled, failed)
            case AllReady():
                self._tell(self._reporter.all_ready, self._ready())
            case Finish(code):
                self._exit_code = code
                self._finished.set()

    def _ready(self) -> list[tuple[Launch, int, dict[str, Any]]]:
        return [
            (launch, self._running[name].pid, self._facts.get(name, {}))
            for name, launch in self._launches.items()
            if name in self._running
        ]

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._core.next_deadline()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        # The loop may run a timer up to its clock's resolution early; what is due then must count as due.
        now = max(self._loop.time(), self._core.next_deadline() or 0.0)
        self._carry_out(self._core.on_timer(now))
