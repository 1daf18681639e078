"""Lanecast: typed protobuf events from AI services to browsers, each in a priority lane with a latency budget.

Owns the names that programs import. They are loaded when they are first used, so that `import lanecast` and the command
line stay quick. Services import `lanecast.core` and `lanecast.runtime` instead.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lanecast._version import __version__

if TYPE_CHECKING:
    from lanecast.blocking import BlockingSubscriber, Publisher
    from lanecast.core.position import Position
    from lanecast.core.priority import Priority
    from lanecast.cursors import CursorStore, FileCursorStore, MemoryCursorStore
    from lanecast.errors import (
        BufferFullError,
        ConfigError,
        LanecastError,
        NotAcknowledgedError,
        PublisherClosedError,
        PublishError,
        StartError,
        StatusError,
        TokenError,
        UnavailableError,
    )
    from lanecast.publisher import Ack, AsyncPublisher, PublisherSettings, PublisherStatistics
    from lanecast.subscriber import (
        Delivery,
        EventStream,
        Gap,
        Start,
        Subscriber,
        SubscriberSettings,
        SubscriberStatistics,
    )
    from lanecast.transport import Tls

_HOMES = {
    "Ack": "lanecast.publisher",
    "AsyncPublisher": "lanecast.publisher",
    "BlockingSubscriber": "lanecast.blocking",
    "BufferFullError": "lanecast.errors",
    "ConfigError": "lanecast.errors",
    "CursorStore": "lanecast.cursors",
    "Delivery": "lanecast.subscriber",
    "EventStream": "lanecast.subscriber",
    "FileCursorStore": "lanecast.cursors",
    "Gap": "lanecast.subscriber",
    "LanecastError": "lanecast.errors",
    "MemoryCursorStore": "lanecast.cursors",
    "NotAcknowledgedError": "lanecast.errors",
    "Position": "lanecast.core.position",
    "Priority": "lanecast.core.priority",
    "PublishError": "lanecast.errors",
    "Publisher": "lanecast.blocking",
    "PublisherClosedError": "lanecast.errors",
    "PublisherSettings": "lanecast.publisher",
    "PublisherStatistics": "lanecast.publisher",
    "Start": "lanecast.subscriber",
    "StartError": "lanecast.errors",
    "StatusError": "lanecast.errors",
    "Subscriber": "lanecast.subscriber",
    "SubscriberSettings": "lanecast.subscriber",
    "SubscriberStatistics": "lanecast.subscriber",
    "Tls": "lanecast.transport",
    "TokenError": "lanecast.errors",
    "UnavailableError": "lanecast.errors",
}

__all__ = [
    "Ack",
    "AsyncPublisher",
    "BlockingSubscriber",
    "BufferFullError",
    "ConfigError",
    "CursorStore",
    "Delivery",
    "EventStream",
    "FileCursorStore",
    "Gap",
    "LanecastError",
    "MemoryCursorStore",
    "NotAcknowledgedError",
    "Position",
    "Priority",
    "PublishError",
    "Publisher",
    "PublisherClosedError",
    "PublisherSettings",
    "PublisherStatistics",
    "Start",
    "StartError",
    "StatusError",
    "Subscriber",
    "SubscriberSettings",
    "SubscriberStatistics",
    "Tls",
    "TokenError",
    "UnavailableError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lanecast' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
