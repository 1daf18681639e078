"""Answers operators' questions about this gateway; see `lanecast.runtime.agent`.

Owns the turns of the loop that answers take, and the audit line of what an operator did. Built by `app`.
"""

from __future__ import annotations

import logging

from gateway_svc.core import survey
from gateway_svc.core.session import Session
from gateway_svc.edge import Edge
from lanecast.core import codes
from lanecast.internal.v1 import agent_pb2
from lanecast.runtime.agent import in_turns

log = logging.getLogger(__name__)


class Inspection:
    """Implements `lanecast.runtime.agent.Answerer`."""

    def __init__(self, edge: Edge, instance: str) -> None:
        self._edge = edge
        self._instance = instance

    async def channels(self, question: agent_pb2.ChannelsQuestion) -> agent_pb2.ChannelsAnswer:
        """See `Answerer.channels`."""
        found = await in_turns(survey.channels(self._edge.hub.channels, question))
        return agent_pb2.ChannelsAnswer(channels=found)

    async def sessions(self, question: agent_pb2.SessionsQuestion) -> agent_pb2.SessionsAnswer:
        """See `Answerer.sessions`."""
        found = await in_turns(survey.sessions(self._open(), self._instance, question))
        return agent_pb2.SessionsAnswer(sessions=found)

    async def disconnect(self, question: agent_pb2.DisconnectQuestion) -> agent_pb2.DisconnectAnswer:
        """See `Answerer.disconnect`."""
        for session in self._open():
            if session.id == question.id and not session.closed:
                subject = session.subject
                session.end(codes.DISCONNECTED, question.reason or codes.DISCONNECTED.advice)
                log.info("audit: session %s of %r was closed by an operator: %s", question.id, subject, question.reason)
                return agent_pb2.DisconnectAnswer(closed=True, subject=subject)
        return agent_pb2.DisconnectAnswer()

    def _open(self) -> list[Session]:
        return [each.session for each in self._edge.connections if each.session is not None]
