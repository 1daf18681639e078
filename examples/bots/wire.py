"""Handoff messages as events of the contract, and back.

Owns the mapping between `handoff.Message` and `lanecast.ai.v1.BotHandoff`. Used by `bot.py` and `main.py`.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from handoff import Line, Message, Step, Talk

from lanecast.ai.v1.bots_pb2 import BotHandoff, ConversationTurn, HandoffState

CHANNEL = "bots:handoffs"
MAX_TURNS = 20
"""As many turns as the contract allows; the conversations of this example are shorter."""

_STATES = {
    Step.OFFERED: HandoffState.HANDOFF_STATE_OFFERED,
    Step.ACCEPTED: HandoffState.HANDOFF_STATE_ACCEPTED,
    Step.DECLINED: HandoffState.HANDOFF_STATE_DECLINED,
    Step.CONFIRMED: HandoffState.HANDOFF_STATE_CONFIRMED,
    Step.TIMED_OUT: HandoffState.HANDOFF_STATE_TIMED_OUT,
}
_STEPS = {state: step for step, state in _STATES.items()}


def to_event(message: Message) -> BotHandoff:
    """Return the event that carries a message."""
    return BotHandoff(
        handoff_id=message.handoff_id,
        conversation_id=message.talk.id,
        from_bot=message.sender,
        to_bot=message.receiver,
        state=_STATES[message.step],
        reason=message.reason,
        summary=message.summary,
        recent_turns=[
            ConversationTurn(speaker=line.speaker, text=line.text, time=_timestamp(line.at))
            for line in message.talk.lines[-MAX_TURNS:]
        ],
        hop_count=message.talk.hop,
        expire_time=_timestamp(message.deadline),
    )


def from_event(event: BotHandoff) -> Message | None:
    """Return the message that an event carries; None where its state is of a newer contract."""
    step = _STEPS.get(event.state)
    if step is None:
        return None
    lines = tuple(Line(turn.speaker, turn.text, _seconds(turn.time)) for turn in event.recent_turns)
    return Message(
        handoff_id=event.handoff_id,
        sender=event.from_bot,
        receiver=event.to_bot,
        step=step,
        talk=Talk(event.conversation_id, event.hop_count, lines),
        deadline=_seconds(event.expire_time),
        reason=event.reason,
        summary=event.summary,
    )


def _timestamp(seconds: float) -> Timestamp:
    result = Timestamp()
    result.FromMicroseconds(round(seconds * 1e6))
    return result


def _seconds(timestamp: Timestamp) -> float:
    return timestamp.ToMicroseconds() / 1e6
