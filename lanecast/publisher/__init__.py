"""The publishing SDK: `AsyncPublisher` and its settings.

`core/` decides (encoding, order, coalescing, acknowledgement), `stream`, `link` and `credentials` own the connection,
`client` is what users see. `lanecast.blocking` has the same for programs without an event loop.
"""

from lanecast.publisher.client import AsyncPublisher
from lanecast.publisher.core.ack import Ack, PublisherStatistics
from lanecast.publisher.credentials import TokenSource
from lanecast.publisher.settings import PublisherSettings

__all__ = ["Ack", "AsyncPublisher", "PublisherSettings", "PublisherStatistics", "TokenSource"]
