"""Scenarios: what is sent to whom, for how long, and what is looked at, as data.

Owns the form of bench/scenarios/*.toml. Pure: reads text, not files, except `load`.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.mark import MARK_BYTES
from lanecast.core.priority import LANES, Priority

FOLDER = Path(__file__).parent / "scenarios"
ARRIVALS = ("poisson", "uniform")
KINDS = ("latency", "isolation", "idle", "soak")
MAX_LOADS = 4
TELEMETRY = {"": None, "off": None, "on": 0.0, "sampled-1": 0.01, "sampled-100": 1.0}
"""What telemetry may be set to, and the share of events whose traces are then sampled; None: without a collector."""


class ScenarioError(Exception):
    """A scenario does not exist or makes no sense; says what to change."""


@dataclass(frozen=True, slots=True)
class Load:
    """One stream of events with a rate of its own."""

    events_per_second: float
    """Events offered per second over all publisher processes; each goes to one channel."""
    mix: dict[str, float]
    """Weight of each lane, by name."""
    begin: float = 0.0
    """Where in the measured time it begins, 0 to 1. A load that begins at 0 also runs during warm-up."""
    end: float = 1.0
    """Where in the measured time it ends, 0 to 1."""
    capacity_factor: float = 0.0
    """Above 0: `events_per_second` is what capacity is probed with; the run offers this multiple of what came out."""
    publisher: int = -1
    """The publisher process that sends all of it, from 0; -1: shared out among all of them."""

    def weights(self) -> list[float]:
        """Return the share of each lane in the order of `LANES`; they add up to 1."""
        total = sum(self.mix.values())
        return [self.mix.get(lane.name, 0.0) / total for lane in LANES]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the measured time with figures of its own."""

    name: str
    begin: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one run does."""

    name: str
    title: str
    sockets: int
    channels: int
    loads: tuple[Load, ...]
    seconds: float = 30.0
    """Measured time."""
    warmup_seconds: float = 3.0
    """Time before it, under the same load, whose latencies do not count; its losses do."""
    payload_bytes: tuple[int, int] = (256, 256)
    """Smallest and largest payload; sizes are spread evenly between them."""
    publishers: int = 1
    """Publisher processes."""
    receivers: int = 1
    """Receiver processes; the sockets are shared out among them."""
    gateways: int = 1
    """Gateway processes of Lanecast; peers use the number of workers their makers recommend."""
    policy: str = ""
    """Delivery policy of Lanecast. Empty: its default."""
    telemetry: str = ""
    """Telemetry of Lanecast: `off`; `on`, that is with a collector besides metrics_svc; `sampled-1` and `sampled-100`,
    with traces of so many per cent of all events as well. Empty: as installed, to metrics_svc alone."""
    arrivals: str = "poisson"
    kind: str = "latency"
    windows: tuple[Window, ...] = (Window("all"),)
    slice_seconds: float = 1.0
    """Length of one step in the curve over time."""
    seed: int = 1
    limits_ms: dict[str, float] = field(default_factory=dict)
    """Highest p99 from scheduled send to receipt that counts as reached, by lane name."""

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ScenarioError(f"scenario {self.name}: {problem}")

    def _problem(self) -> str | None:
        names = {lane.name for lane in LANES}
        spans = [(item.begin, item.end) for item in self.loads] + [(item.begin, item.end) for item in self.windows]
        checks = (
            (self.sockets >= 1 and self.channels >= 1, "sockets and channels must be at least 1"),
            (self.sockets >= self.channels, "every channel needs a socket: sockets must be at least channels"),
            (self.seconds > 0 and self.warmup_seconds >= 0, "seconds must be above 0 and warmup_seconds not below"),
            (self.publishers >= 1 and self.receivers >= 1 and self.gateways >= 1, "every process count is at least 1"),
            (all(load.publisher < self.publishers for load in self.loads), "a load names a publisher beyond the last"),
            (1 <= len(self.loads) <= MAX_LOADS, f"there must be 1 to {MAX_LOADS} loads"),
            (MARK_BYTES <= self.payload_bytes[0] <= self.payload_bytes[1], f"payloads must be {MARK_BYTES} B or more"),
            (self.telemetry in TELEMETRY, f"telemetry must be one of {', '.join(filter(None, TELEMETRY))}"),
            (self.arrivals in ARRIVALS, f"arrivals must be one of {', '.join(ARRIVALS)}"),
            (self.kind in KINDS, f"kind must be one of {', '.join(KINDS)}"),
            (all(load.mix and set(load.mix) <= names for load in self.loads), f"a mix names lanes: {sorted(names)}"),
            (all(load.events_per_second > 0 for load in self.loads), "events_per_second must be above 0"),
            (all(0 <= begin < end <= 1 for begin, end in spans), "begin and end must lie between 0 and 1"),
        )
        return next((text for holds, text in checks if not holds), None)

    @property
    def total_seconds(self) -> float:
        """Warm-up and measured time together."""
        return self.warmup_seconds + self.seconds

    def load_span(self, load: Load) -> tuple[float, float]:
        """Return when a load begins and ends, in seconds from the start of the warm-up."""
        begin = self.warmup_seconds + load.begin * self.seconds if load.begin > 0 else 0.0
        return begin, self.warmup_seconds + load.end * self.seconds

    def window_span(self, window: Window) -> tuple[float, float]:
        """Return when a window begins and ends, in seconds from the start of the warm-up."""
        return self.warmup_seconds + window.begin * self.seconds, self.warmup_seconds + window.end * self.seconds

    def sockets_of(self, channel: int) -> int:
        """Return how many sockets subscribe to a channel; socket i subscribes to channel i modulo `channels`."""
        whole, rest = divmod(self.sockets, self.channels)
        return whole + (channel < rest)

    @property
    def deliveries_per_second(self) -> float:
        """Deliveries that are offered per second while all loads run."""
        return sum(load.events_per_second for load in self.loads) * self.sockets / self.channels

    def scaled(self, factor: float) -> Scenario:
        """Return the same scenario at a multiple of its rates."""
        loads = tuple(replace(load, events_per_second=load.events_per_second * factor) for load in self.loads)
        return replace(self, loads=loads)

    def as_dict(self) -> dict[str, Any]:
        """Return the scenario as plain data; `from_dict` reads it."""
        return asdict(self)


def channel_name(index: int) -> str:
    """Return the name of a channel: letters and digits only, so that every server takes it as it is."""
    return f"bench{index}"


def lane_of(name: str) -> Priority:
    """Return a lane by name."""
    return Priority[name]


def from_dict(data: dict[str, Any]) -> Scenario:
    """Build a scenario from plain data, as it stands in a TOML file or came from `Scenario.as_dict`.

    Raises:
        ScenarioError: a setting is unknown, missing or out of range.
    """
    values = dict(data)
    loads = values.pop("load", None) or values.pop("loads", ())
    windows = values.pop("window", None) or values.pop("windows", ())
    try:
        values["loads"] = tuple(Load(**load) for load in loads)
        if windows:
            values["windows"] = tuple(Window(**window) for window in windows)
        if "payload_bytes" in values:
            values["payload_bytes"] = tuple(values["payload_bytes"])
        return Scenario(**values)
    except TypeError as error:
        raise ScenarioError(f"scenario {data.get('name', '?')}: {error}") from error


def names() -> list[str]:
    """Return the names of the scenarios that come with the suite."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Scenario:
    """Read one of the scenarios that come with the suite, or a TOML file where `name` ends in `.toml`.

    Raises:
        ScenarioError: there is none, or it is malformed.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ScenarioError(f"there is no scenario {name}: use one of {', '.join(names())}") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path.name} is not valid TOML: {error}") from error
    return from_dict({"name": path.stem, **data})
