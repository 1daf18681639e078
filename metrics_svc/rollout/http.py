"""Rollouts over HTTP: the messages of `lanecast.v1.RolloutService` as ProtoJSON.

Owns the paths. Registered by `http`.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from lanecast.errors import StatusError
from lanecast.v1 import rollout_pb2 as pb
from metrics_svc.core.operators import Operators
from metrics_svc.core.rollout.model import Verb
from metrics_svc.http_api import PREFIX, read_change
from metrics_svc.rollout.service import RolloutServicer

_INVALID = 3
_REPORTS = {"json": "application/json", "markdown": "text/markdown", "html": "text/html"}


class RolloutApi:
    """Handlers of the paths about rollouts and policies."""

    def __init__(self, servicer: RolloutServicer, operators: Operators) -> None:
        self._servicer = servicer
        self._operators = operators

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        base = f"{PREFIX}/rollouts"
        return [
            web.get(base, self.list, allow_head=False),
            web.post(base, self.create),
            web.post(f"{base}/validate", self.validate),
            web.get(f"{PREFIX}/policies", self.policies, allow_head=False),
            web.post(f"{PREFIX}/policies", self.create_policy),
            web.get(f"{base}/{{id}}", self.get, allow_head=False),
            web.get(f"{base}/{{id}}/history", self.history, allow_head=False),
            web.get(f"{base}/{{id}}/report", self.report, allow_head=False),
            web.post(f"{base}/{{id}}/{{verb}}", self.verb),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer like ListRollouts."""
        del request
        return _json(await self._servicer.ListRollouts(pb.ListRolloutsRequest(page_size=1_000), None))

    async def get(self, request: web.Request) -> web.Response:
        """Answer like GetRollout."""
        return _json(await self._servicer.GetRollout(pb.GetRolloutRequest(id=request.match_info["id"]), None))

    async def history(self, request: web.Request) -> web.Response:
        """Answer like ListRolloutHistory."""
        message = pb.ListRolloutHistoryRequest(id=request.match_info["id"])
        return _json(await self._servicer.ListRolloutHistory(message, None))

    async def report(self, request: web.Request) -> web.Response:
        """Return the report in the form that `format` names."""
        form = request.query.get("format", "json")
        if form not in _REPORTS:
            raise StatusError(_INVALID, "FORMAT_UNKNOWN", f"unknown format {form!r:.60}: use {', '.join(_REPORTS)}")
        message = pb.GetRolloutReportRequest(id=request.match_info["id"])
        found = await self._servicer.GetRolloutReport(message, None)
        headers = {"Cache-Control": "no-store"}
        return web.Response(text=getattr(found, form), content_type=_REPORTS[form], headers=headers)

    async def policies(self, request: web.Request) -> web.Response:
        """Answer like ListPolicies."""
        del request
        return _json(await self._servicer.ListPolicies(pb.ListPoliciesRequest(), None))

    async def create_policy(self, request: web.Request) -> web.Response:
        """Answer like CreatePolicy."""
        return _json(await self._servicer.CreatePolicy(await self._body(request, pb.CreatePolicyRequest()), None))

    async def create(self, request: web.Request) -> web.Response:
        """Answer like CreateRollout."""
        message = await self._body(request, pb.CreateRolloutRequest())
        message.actor = message.actor or _someone(request)
        return _json(await self._servicer.CreateRollout(message, None))

    async def validate(self, request: web.Request) -> web.Response:
        """Answer like ValidateRollout."""
        message = await self._body(request, pb.ValidateRolloutRequest())
        return _json(await self._servicer.ValidateRollout(message, None))

    async def verb(self, request: web.Request) -> web.Response:
        """Answer like the rpc of the verb."""
        word = request.match_info["verb"]
        if word not in {verb.value for verb in Verb}:
            words = ", ".join(verb.value for verb in Verb)
            raise StatusError(_INVALID, "VERB_UNKNOWN", f"unknown verb {word!r:.60}: use {words}")
        name = f"{word.capitalize()}Rollout"
        message: Any = await self._body(request, getattr(pb, f"{name}Request")())
        message.id = request.match_info["id"]
        message.context.actor = message.context.actor or _someone(request)
        return _json(await getattr(self._servicer, name)(message, None))

    async def _body(self, request: web.Request, message: Message) -> Any:
        return await read_change(request, self._operators, message)


def _someone(request: web.Request) -> str:
    return f"someone at {request.remote}" if request.remote else "someone"


def _json(message: Message) -> web.Response:
    text = MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})
