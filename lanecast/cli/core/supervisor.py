"""Which child process is in which state, when it is started again, and in which order all are stopped.

Owns these decisions and nothing else. It is told what happened and when, and returns what is to be done; the shell in
`lanecast.cli.supervise.loop` starts and signals processes and brings the clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from lanecast.core import exit_codes
from lanecast.core.backoff import Backoff, BackoffPolicy


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What the supervisor must know of a child."""

    name: str
    start_stage: int = 0
    """A stage is started once all children of the stages before it are ready."""
    stop_stage: int = 0
    """A stage is stopped once all children of the stages before it have ended."""
    settle_seconds: float | None = None
    """None: the child says itself when it is ready. Else it counts as ready once it has lived this long."""
    is_service: bool = True
    """True: a rolling restart restarts it."""
    ends_by_itself: bool = False
    """True: exit code 0 means that its work is done, and it is not started again."""


@dataclass(frozen=True, slots=True)
class SupervisorPolicy:
    """Time limits of the supervisor, in seconds."""

    start_seconds: float = 60.0
    """How long a child may take to become ready before it is killed."""
    stable_seconds: float = 10.0
    """A child that was ready for this long is restarted at once when it dies, as if it had never failed."""
    stop_seconds: float = 15.0
    """How long one stage may take to end before what is left of it is killed."""
    backoff: BackoffPolicy = field(default_factory=lambda: BackoffPolicy(first=0.5, maximum=10.0))
    """Delays from the second restart in a row on."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process of a child."""

    name: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Send SIGTERM to a child."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to a child."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Died:
    """Report that a child ended unasked and is started again after `delay_seconds`."""

    name: str
    code: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Report that a child could not be started; everything else is stopped."""

    name: str
    code: int


@dataclass(frozen=True, slots=True)
class Rolled:
    """Report that a rolling restart has ended: all were restarted, or `failed` could not be and the rest was spared."""

    failed: str = ""


@dataclass(frozen=True, slots=True)
class AllReady:
    """Report that the children of all stages are ready, for the first time or again after a restart."""


@dataclass(frozen=True, slots=True)
class Finish:
    """All children have ended: end with this exit code."""

    code: int


Action = Spawn | Terminate | Kill | Died | GaveUp | Rolled | AllReady | Finish


class ChildState(Enum):
    """Where a child stands."""

    PENDING = "pending"
    """Its stage has not been reached."""
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """It died; its restart is due later."""
    ROLLING = "rolling"
    """It was told to end, and is started again when it has."""
    STOPPING = "stopping"
    ENDED = "ended"


_ALIVE = {ChildState.STARTING, ChildState.READY, ChildState.ROLLING, ChildState.STOPPING}


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    backoff: Backoff
    state: ChildState = ChildState.PENDING
    was_ready: bool = False
    """True once any process of this child was ready."""
    is_settled: bool = False
    """True once the present process was ready."""
    ready_at: float = 0.0
    deadline: float | None = None
    restarts: int = 0
    failures: int = 0


class Supervisor:
    """Decides over a fixed set of children. All times are of one monotonic clock, in seconds."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        policy: SupervisorPolicy | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._policy = policy or SupervisorPolicy()
        self._children = {spec.name: _Child(spec, Backoff(self._policy.backoff, uniform)) for spec in specs}
        if len(self._children) != len(specs):
            raise ValueError("two children have the same name")
        self._stopping = False
        self._stop_stage = -1
        self._exit_code = exit_codes.OK
        self._finished = False
        self._rolling = ""
        """What a rolling restart restarts just now."""
        self._to_roll: list[str] = []
        """What it has still to restart after that."""

    @property
    def stopping(self) -> bool:
        """True once a stop was asked for or a child was given up."""
        return self._stopping

    @property
    def rolling(self) -> str:
        """The child that a rolling restart is at; empty where there is none."""
        return self._rolling

    def state(self, name: str) -> ChildState:
        """Return where a child stands."""
        return self._children[name].state

    def restarts(self, name: str) -> int:
        """Return how often a child was started again."""
        return self._children[name].restarts

    def start(self, now: float) -> list[Action]:
        """Start the first stage."""
        return list(self._start_next_stage(now))

    def on_ready(self, name: str, now: float) -> list[Action]:
        """Take note that a child says it is ready."""
        child = self._children[name]
        if child.state is not ChildState.STARTING:
            return []
        child.state = ChildState.READY
        child.was_ready = child.is_settled = True
        child.ready_at = now
        child.deadline = None
        rolled: list[Action] = []
        if name == self._rolling:
            self._rolling = ""
            rolled = [] if self._to_roll else [Rolled()]
        if not self._all_ready():
            return [*rolled, *self._start_next_stage(now)]
        return [AllReady(), *rolled, *self._roll_on(now)]

    def on_exit(self, name: str, code: int, now: float) -> list[Action]:
        """Take note that the process of a child has ended; `code` is negative for a signal, as in `subprocess`."""
        child = self._children[name]
        before, child.state, child.deadline = child.state, ChildState.ENDED, None
        if self._stopping:
            if code != 0 and before is ChildState.STOPPING and child.is_settled:  # else it had no work to lose
                self._fail(exit_codes.FAILED)
            return list(self._continue_stop(now))
        if before is ChildState.ROLLING:
            return [self._spawn(child, now)]
        if code == 0 and child.spec.ends_by_itself:
            return list(self._continue_after_end(now))
        if not child.was_ready:
            self._fail(code if code in {exit_codes.USAGE, exit_codes.CANNOT_START} else exit_codes.CANNOT_START)
            return [GaveUp(name, code), *self._begin_stop(now)]
        spared = [self._stop_rolling(name)] if name == self._rolling else []
        return [*spared, *self._restart(child, before, code, now)]

    def roll(self, now: float) -> list[Action]:
        """Restart the services one at a time, each when all are ready; nothing where that is under way already.

        One that dies instead of becoming ready ends it: it is tried again as any other, the rest keeps running.
        """
        if self._stopping or self._rolling or self._to_roll:
            return []
        services = [child.spec for child in self._children.values() if child.spec.is_service]
        self._to_roll = [spec.name for spec in sorted(services, key=lambda spec: spec.start_stage)]
        return list(self._roll_on(now)) if self._all_ready() else []

    def on_timer(self, now: float) -> list[Action]:
        """Do what is due at `now`; call it at `next_deadline()`, earlier does no harm."""
        actions: list[Action] = []
        for name, child in self._children.items():
            if child.deadline is None or child.deadline > now:
                continue
            child.deadline = None
            actions.extend(self._on_deadline(name, child, now))
        return actions

    def next_deadline(self) -> float | None:
        """Return when `on_timer` is to be called next; None where nothing is due."""
        return min((c.deadline for c in self._children.values() if c.deadline is not None), default=None)

    def stop(self, now: float) -> list[Action]:
        """Stop all children in order; a second call kills them."""
        if not self._stopping:
            return list(self._begin_stop(now))
        if self._finished:
            return []
        self._exit_code = exit_codes.INTERRUPTED
        return [Kill(name, "asked twice to stop") for name, c in self._children.items() if c.state in _ALIVE]

    def _all_ready(self) -> bool:
        return all(child.state in {ChildState.READY, ChildState.ENDED} for child in self._children.values())

    def _fail(self, code: int) -> None:
        if self._exit_code == exit_codes.OK:
            self._exit_code = code

    def _start_next_stage(self, now: float) -> Iterator[Action]:
        pending = [c for c in self._children.values() if c.state is ChildState.PENDING]
        if not pending or self._stopping:
            return
        stage = min(child.spec.start_stage for child in pending)
        earlier = (c for c in self._children.values() if c.spec.start_stage < stage)
        if any(c.state not in {ChildState.READY, ChildState.ENDED} for c in earlier):
            return
        for child in pending:
            if child.spec.start_stage == stage:
                yield self._spawn(child, now)

    def _spawn(self, child: _Child, now: float) -> Action:
        settle = child.spec.settle_seconds
        child.state = ChildState.STARTING
        child.is_settled = False
        child.deadline = now + (self._policy.start_seconds if settle is None else settle)
        return Spawn(child.spec.name)

    def _restart(self, child: _Child, before: ChildState, code: int, now: float) -> Iterator[Action]:
        if before is ChildState.READY and now - child.ready_at >= self._policy.stable_seconds:
            child.failures = 0
            child.backoff.reset()
        delay = child.backoff.next_delay() if child.failures else 0.0
        child.failures += 1
        child.restarts += 1
        yield Died(child.spec.name, code, delay)
        if delay <= 0.0:
            yield self._spawn(child, now)
        else:
            child.state = ChildState.WAITING
            child.deadline = now + delay

    def _on_deadline(self, name: str, child: _Child, now: float) -> list[Action]:
        if child.state is ChildState.WAITING:
            return [self._spawn(child, now)]
        if child.state in {ChildState.STOPPING, ChildState.ROLLING}:
            if child.state is ChildState.STOPPING:
                self._fail(exit_codes.FAILED)
            return [Kill(name, f"it did not end within {self._policy.stop_seconds:g} s")]
        if child.state is ChildState.STARTING and child.spec.settle_seconds is not None:
            return self.on_ready(name, now)
        return [Kill(name, f"it was not ready within {self._policy.start_seconds:g} s")]

    def _roll_on(self, now: float) -> Iterator[Action]:
        """Restart the next service of a rolling restart; called when all children are ready."""
        if not self._to_roll or self._stopping:
            return
        child = self._children[self._to_roll.pop(0)]
        self._rolling = child.spec.name
        child.state = ChildState.ROLLING
        child.deadline = now + self._policy.stop_seconds
        yield Terminate(child.spec.name)

    def _stop_rolling(self, failed: str) -> Action:
        self._rolling, self._to_roll = "", []
        return Rolled(failed)

    def _continue_after_end(self, now: float) -> Iterator[Action]:
        if all(c.state is ChildState.ENDED for c in self._children.values()):
            self._stopping = True
            yield from self._continue_stop(now)
        else:
            yield from self._start_next_stage(now)

    def _begin_stop(self, now: float) -> Iterator[Action]:
        self._stopping = True
        self._rolling, self._to_roll = "", []
        for child in self._children.values():
            if child.state in {ChildState.PENDING, ChildState.WAITING}:
                child.state = ChildState.ENDED
                child.deadline = None
        yield from self._continue_stop(now)

    def _continue_stop(self, now: float) -> Iterator[Action]:
        left = [c for c in self._children.values() if c.state is not ChildState.ENDED]
        if not left:
            if not self._finished:
                self._finished = True
                yield Finish(self._exit_code)
            return
        stage = min(child.spec.stop_stage for child in left)
        if stage <= self._stop_stage:
            return
        self._stop_stage = stage
        for child in left:
            if child.spec.stop_stage == stage:
                child.state = ChildState.STOPPING
                child.deadline = now + self._policy.stop_seconds
                yield Terminate(child.spec.name)
