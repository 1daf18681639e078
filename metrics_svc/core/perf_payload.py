"""Payloads of synthetic events: of each lane the type that its AI system sends, padded to the size asked for. Pure."""

from __future__ import annotations

from google.protobuf.message import Message

from lanecast.ai.v1.analytics_pb2 import ShapExplanation
from lanecast.ai.v1.bots_pb2 import BotHandoff
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.ai.v1.strategy_pb2 import StrategyRecommendation
from lanecast.core.priority import Priority


def payloads(size: int) -> dict[Priority, Message]:
    """Return the payload of each lane, of `size` bytes; a byte less where the length cannot be met."""
    text = "x" * _characters(size)
    return {
        Priority.CRITICAL: ConciergeInsight(text=text),
        Priority.HIGH: BotHandoff(summary=text),
        Priority.NORMAL: ShapExplanation(subject=text),
        Priority.LOW: StrategyRecommendation(rationale=text),
    }


def _characters(size: int) -> int:
    """Return the length of a string field, with tag and length, that takes `size` bytes."""
    for length_bytes, limit in ((1, 1 << 7), (2, 1 << 14), (3, 1 << 21)):
        characters = size - 1 - length_bytes
        if characters < limit:
            return max(characters, 0)
    return size - 5
