"""Channels and sessions of the whole system, put together from what gateways and publishers answer.

Owns the order of the questions and the audit line of what an operator did. Called by the gRPC and HTTP shells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lanecast.errors import StatusError
from lanecast.internal.v1 import agent_pb2
from lanecast.v1 import admin_pb2
from metrics_svc.agents import UNAVAILABLE, Agents, Answers, names
from metrics_svc.core import survey
from metrics_svc.core.telemetry import NANOS, Telemetry

log = logging.getLogger(__name__)

NOT_FOUND = 5
"""The canonical gRPC code."""
GATEWAY, PUBLISHER = "gateway_svc", "publisher_svc"
_REPORTING_SECONDS = 10
_MOST_CANDIDATES = 4_000
_AT_LEAST = 100
"""Fewest channels each process is asked for, so that one that stands out over all is not missed."""


class Admin:
    """Answers about channels and sessions."""

    def __init__(self, agents: Agents, telemetry: Telemetry, clock_ns: Callable[[], int]) -> None:
        self._agents = agents
        self._telemetry = telemetry
        self._clock_ns = clock_ns

    async def channels(self, request: admin_pb2.ListChannelsRequest) -> admin_pb2.ListChannelsResponse:
        """Return the channels that stand out: who knows the measure names them, everyone says what they know of these.

        Raises:
            StatusError: the request is malformed.
        """
        limit = survey.page_size(request.page_size, survey.DEFAULT_CHANNELS)
        if request.order_by not in {0, *survey.ORDERS.values()}:
            raise survey.invalid("ORDER_UNKNOWN", "order_by is unknown: use RATE, LAG or SUBSCRIBERS", "order_by")
        order = request.order_by or admin_pb2.CHANNEL_ORDER_RATE
        first = agent_pb2.ChannelsQuestion(order_by=order, limit=max(limit, _AT_LEAST))
        owners = {
            admin_pb2.CHANNEL_ORDER_RATE: (PUBLISHER,),
            admin_pb2.CHANNEL_ORDER_SUBSCRIBERS: (GATEWAY,),
            admin_pb2.CHANNEL_ORDER_LAG: (GATEWAY, PUBLISHER),
        }[order]
        named = [await self._agents.ask(owner, agent_pb2.AttachResponse(channels=first)) for owner in owners]
        chosen = survey.candidates((said for answers in named for said in _channels(answers)), _MOST_CANDIDATES)
        publishers = gateways = Answers((), ())
        if chosen:
            second = agent_pb2.AttachResponse(channels=agent_pb2.ChannelsQuestion(names=chosen))
            publishers, gateways = await self._agents.ask(PUBLISHER, second), await self._agents.ask(GATEWAY, second)
        found = survey.merge_channels(_channels(publishers), _channels(gateways), order, limit)
        missing = self._missing((GATEWAY, PUBLISHER), *named, publishers, gateways)
        return admin_pb2.ListChannelsResponse(channels=found, unanswered=missing)

    async def sessions(self, request: admin_pb2.ListSessionsRequest) -> admin_pb2.ListSessionsResponse:
        """Return a page of open sessions.

        Raises:
            StatusError: the request is malformed.
        """
        limit = survey.page_size(request.page_size, survey.DEFAULT_SESSIONS)
        question = agent_pb2.SessionsQuestion(
            subject=request.subject, after_id=survey.check_page_token(request.page_token), limit=limit + 1
        )
        answers = await self._agents.ask(GATEWAY, agent_pb2.AttachResponse(sessions=question))
        page, token = survey.merge_sessions((answer.sessions.sessions for _, answer in answers.by_process), limit)
        return admin_pb2.ListSessionsResponse(
            sessions=page, next_page_token=token, unanswered=self._missing((GATEWAY,), answers)
        )

    async def disconnect(
        self, request: admin_pb2.DisconnectSessionRequest, caller: str
    ) -> admin_pb2.DisconnectSessionResponse:
        """Close a session, wherever it is.

        Raises:
            StatusError: INVALID_ARGUMENT; NOT_FOUND; UNAVAILABLE where a gateway that may have it does not answer.
        """
        survey.check_disconnect(request.id, request.reason)
        reason = survey.printable(request.reason)
        question = agent_pb2.DisconnectQuestion(id=request.id, reason=reason)
        answers = await self._agents.ask(GATEWAY, agent_pb2.AttachResponse(disconnect=question))
        for process, answer in answers.by_process:
            if answer.disconnect.closed:
                subject = answer.disconnect.subject
                log.info(
                    "audit: %s closed session %s of %r on %s: %s", caller, request.id, subject, process.name, reason
                )
                return admin_pb2.DisconnectSessionResponse()
        missing = self._missing((GATEWAY,), answers)
        log.info("audit: %s wanted to close session %s, which was not found: %s", caller, request.id, reason)
        if missing:
            text = f"{', '.join(missing)} may have the session and did not answer: try again in a moment"
            raise StatusError(UNAVAILABLE, "GATEWAY_SILENT", text, retry_delay_seconds=1.0)
        raise StatusError(NOT_FOUND, "SESSION_NOT_FOUND", "no gateway has this session: it may have ended already")

    def _missing(self, services: tuple[str, ...], *answers: Answers) -> list[str]:
        since = self._clock_ns() - _REPORTING_SECONDS * NANOS
        reporting = [process for process, _ in self._telemetry.processes(since) if process.service in services]
        silent = [process for answer in answers for process in answer.unanswered]
        return survey.unanswered(names(self._agents.processes), names(reporting), names(silent))


class AdminServicer:
    """`lanecast.v1.AdminService`."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def ListChannels(self, request: admin_pb2.ListChannelsRequest, _context: Any) -> Any:  # noqa: N802
        """See the contract."""
        return await self._admin.channels(request)

    async def ListSessions(self, request: admin_pb2.ListSessionsRequest, _context: Any) -> Any:  # noqa: N802
        """See the contract."""
        return await self._admin.sessions(request)

    async def DisconnectSession(self, request: admin_pb2.DisconnectSessionRequest, context: Any) -> Any:  # noqa: N802
        """See the contract."""
        return await self._admin.disconnect(request, context.peer())


def _channels(answers: Answers) -> list[list[admin_pb2.ChannelStatus]]:
    return [list(answer.channels.channels) for _, answer in answers.by_process]
