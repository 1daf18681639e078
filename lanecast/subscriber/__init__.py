"""The subscribing SDK: `Subscriber` and what it yields.

`core/` decides (continuity, buffering, credit, what to save), `connection` owns the gRPC stream, `stream` is the
iterator that users loop over. `lanecast.blocking` has the same for programs without an event loop.
"""

from lanecast.subscriber.client import Subscriber
from lanecast.subscriber.core.items import Gap
from lanecast.subscriber.delivery import Delivery
from lanecast.subscriber.settings import Start, SubscriberSettings, SubscriberStatistics
from lanecast.subscriber.stream import EventStream

__all__ = ["Delivery", "EventStream", "Gap", "Start", "Subscriber", "SubscriberSettings", "SubscriberStatistics"]
