"""The OpenAPI 3.1 document of the HTTP API.

Owns the list of operations with their parameters. The schemas are made from the contracts; a test holds the list
against the routes that are served, and answers against the schemas. Served by `operations_api`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor

from lanecast._version import __version__
from lanecast.v1 import admin_pb2, metrics_pb2, rollout_pb2
from metrics_svc.core import json_schema
from metrics_svc.core.rollout.model import Verb

PREFIX = "/api/v1/websocket-performance"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    answer: Descriptor | None = None
    """Of the JSON answer; None: not a message of ours."""
    parameters: tuple[str, ...] = ()
    body: Descriptor | None = None
    media: str = "application/json"
    errors: tuple[int, ...] = (400,)
    text: str = ""
    """What else there is to know."""


_FIGURES = ("window", "lanes", "types", "arm")

OPERATIONS = (
    Operation(
        "get", f"{PREFIX}/latency-metrics", "Latency per lane, scope and hop",
        metrics_pb2.GetLatencyResponse.DESCRIPTOR, _FIGURES,
    ),
    Operation(
        "get", f"{PREFIX}/throughput-metrics", "Rates, queues and connections",
        metrics_pb2.GetThroughputResponse.DESCRIPTOR, _FIGURES,
    ),
    Operation(
        "get", f"{PREFIX}/optimization-status", "The grade with its reasons, and what to change",
        metrics_pb2.GetOptimizationStatusResponse.DESCRIPTOR, ("window",),
    ),
    Operation(
        "get", f"{PREFIX}/grade", "The same as optimization-status",
        metrics_pb2.GetOptimizationStatusResponse.DESCRIPTOR, ("window",),
    ),
    Operation(
        "get", f"{PREFIX}/history", "Latency and rates of each lane over time, for plots",
        metrics_pb2.GetHistoryResponse.DESCRIPTOR, ("window",),
    ),
    Operation(
        "get", f"{PREFIX}/stream", "Latency and throughput as they change",
        metrics_pb2.WatchMetricsResponse.DESCRIPTOR, (*_FIGURES, "interval", "include"), media="text/event-stream",
        errors=(400, 429, 503),
        text="Server-sent events: `metrics` with the message as data, `alert` with one that changed, `drain` last."
        " With `include` also `status`, a GetOptimizationStatusResponse each 5 s, `rollout`, a Rollout that changed.",
    ),
    Operation(
        "get", f"{PREFIX}/alerts", "Alerts, newest first",
        metrics_pb2.ListAlertsResponse.DESCRIPTOR, ("state", "page_size", "page_token"),
    ),
    Operation(
        "post", f"{PREFIX}/alerts", "Take care of an alert, or silence it",
        metrics_pb2.AcknowledgeAlertResponse.DESCRIPTOR,
        body=metrics_pb2.AcknowledgeAlertRequest.DESCRIPTOR, errors=(400, 403, 404, 409),
        text="Answered only to the machine that the service runs on.",
    ),
    Operation(
        "post", f"{PREFIX}/performance-test", "Send synthetic events through the whole path",
        metrics_pb2.RunPerformanceTestResponse.DESCRIPTOR,
        body=metrics_pb2.RunPerformanceTestRequest.DESCRIPTOR, media="text/event-stream", errors=(400, 403, 409, 503),
        text="Server-sent events: `progress` twice a second, then `result`, or `failed` with an error as data. One test"
        " runs at a time; closing the connection ends it.",
    ),
    Operation(
        "get", f"{PREFIX}/channels", "The channels that stand out",
        admin_pb2.ListChannelsResponse.DESCRIPTOR, ("order", "page_size"),
    ),
    Operation(
        "get", f"{PREFIX}/sessions", "Open sessions, oldest first",
        admin_pb2.ListSessionsResponse.DESCRIPTOR, ("subject", "page_size", "page_token"),
    ),
    Operation(
        "post", f"{PREFIX}/sessions/{{id}}/disconnect", "Close a session",
        admin_pb2.DisconnectSessionResponse.DESCRIPTOR, ("id",),
        body=admin_pb2.DisconnectSessionRequest.DESCRIPTOR, errors=(400, 403, 404, 503),
        text="The id of the path counts. The client is told the reason and may connect again.",
    ),
    Operation(
        "get", f"{PREFIX}/reports", "The reports that are kept, newest first, without their texts",
        metrics_pb2.ListReportsResponse.DESCRIPTOR, ("page_size",),
    ),
    Operation(
        "post", f"{PREFIX}/reports", "Create a report, or return the one that the same requestId created",
        metrics_pb2.CreateReportResponse.DESCRIPTOR,
        body=metrics_pb2.CreateReportRequest.DESCRIPTOR, errors=(400, 403, 429),
    ),
    Operation(
        "get", f"{PREFIX}/reports/{{id}}", "A report",
        metrics_pb2.GetReportResponse.DESCRIPTOR, ("id", "format"), errors=(400, 404),
        text="With `format` the report itself: `html` a page of one file, `md` Markdown, `json` its figures.",
    ),
    Operation(
        "get", f"{PREFIX}/policies", "Delivery policies",
        rollout_pb2.ListPoliciesResponse.DESCRIPTOR,
    ),
    Operation(
        "post", f"{PREFIX}/policies", "Create a delivery policy",
        rollout_pb2.CreatePolicyResponse.DESCRIPTOR,
        body=rollout_pb2.CreatePolicyRequest.DESCRIPTOR, errors=(400, 403, 409),
        text="Answered only to the machine that the service runs on.",
    ),
    Operation(
        "get", f"{PREFIX}/rollouts", "Rollouts of delivery policies",
        rollout_pb2.ListRolloutsResponse.DESCRIPTOR,
    ),
    Operation(
        "post", f"{PREFIX}/rollouts", "Create a rollout",
        rollout_pb2.CreateRolloutResponse.DESCRIPTOR,
        body=rollout_pb2.CreateRolloutRequest.DESCRIPTOR, errors=(400, 403, 404, 409, 503),
        text="Answered only to the machine that the service runs on.",
    ),
    Operation(
        "post", f"{PREFIX}/rollouts/validate", "Say what a plan needs, and how long that takes",
        rollout_pb2.ValidateRolloutResponse.DESCRIPTOR,
        body=rollout_pb2.ValidateRolloutRequest.DESCRIPTOR, errors=(400, 403, 404, 409),
        text="Answered only to the machine that the service runs on.",
    ),
    Operation(
        "get", f"{PREFIX}/rollouts/{{id}}", "A rollout",
        rollout_pb2.GetRolloutResponse.DESCRIPTOR, parameters=("id",), errors=(404,),
    ),
    Operation(
        "get", f"{PREFIX}/rollouts/{{id}}/history", "What became of a rollout, step by step",
        rollout_pb2.ListRolloutHistoryResponse.DESCRIPTOR, parameters=("id",), errors=(404,),
    ),
    Operation(
        "get", f"{PREFIX}/rollouts/{{id}}/report", "The report of a rollout",
        parameters=("id", "format of a rollout"), errors=(400, 404),
    ),
    Operation(
        "post", f"{PREFIX}/rollouts/{{id}}/{{verb}}", "Change the state of a rollout",
        rollout_pb2.StartRolloutResponse.DESCRIPTOR, parameters=("id", "verb"),
        body=rollout_pb2.StartRolloutRequest.DESCRIPTOR, errors=(400, 403, 404, 409, 503),
        text="Answered only to the machine that the service runs on. Body and answer"
        " are those of the rpc of the verb, which are alike.",
    ),
    Operation(
        "get", "/api/v1/session", "A token for a page on this machine; for development", errors=(403,),
    ),
    Operation("get", "/api/v1/openapi.json", "This document"),
)  # fmt: skip
"""Everything under /api/v1."""

_DURATION = {"type": "string", "examples": ["60s", "5m", "24h"]}
_PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {  # the first word is the name
    "window": ("The stretch of time up to now, 1 s to 30 days.", _DURATION),
    "interval": ("Time between two messages, 100 ms to 60 s.", _DURATION),
    "include": ("What to send besides, with commas between: status, rollouts.", {"type": "string"}),
    "lanes": ("Only these lanes, with commas between them.", {"type": "string", "examples": ["CRITICAL,HIGH"]}),
    "types": ("Only these event types, full names with commas between them.", {"type": "string"}),
    "arm": ("Only this arm of a rollout.", {"type": "string", "enum": ["baseline", "candidate"]}),
    "state": ("Only alerts in this state.", {"type": "string", "enum": ["pending", "firing", "resolved"]}),
    "order": ("The measure, greatest first.", {"type": "string", "enum": ["rate", "lag", "subscribers"]}),
    "page_size": ("Most entries to return.", {"type": "integer", "minimum": 1, "maximum": 1000}),
    "page_token": ("`nextPageToken` of the page before.", {"type": "string"}),
    "subject": ("Only sessions of this subject.", {"type": "string"}),
    "format": ("The report itself in this form.", {"type": "string", "enum": ["html", "md", "json"]}),
    "format of a rollout": ("The form.", {"type": "string", "enum": ["json", "markdown", "html"]}),
    "id": ("The id.", {"type": "string"}),
    "verb": ("What to do.", {"type": "string", "enum": [verb.value for verb in Verb]}),
}
_REASONS = {
    400: "The request is malformed.",
    403: "The caller may not: a page of another site, or one on another machine.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand: another performance test is running, the alert is resolved, the "
    "rollout is in another state.",
    429: "Too much is under way; `Retry-After` says when to try again.",
    503: "A service that is needed does not answer, or this one is going away.",
}


@cache
def document() -> dict[str, Any]:
    """Return the document; do not change it."""
    schemas: dict[str, json_schema.Schema] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lanecast metrics",
            "version": __version__,
            "description": "The same figures and commands as over gRPC, as ProtoJSON: 64-bit integers are strings.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


_ERROR: json_schema.Schema = {
    "type": "object",
    "required": ["code", "reason", "message"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "integer", "description": "Canonical gRPC code."},
        "reason": {"type": "string", "description": "Constant for programs; docs/errors.md lists them."},
        "message": {"type": "string", "description": "Sentence that says what to do."},
    },
}


def _operation(operation: Operation, schemas: dict[str, json_schema.Schema]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "responses": {"200": _answer(operation, schemas)},
    }
    if operation.text:
        described["description"] = operation.text
    if operation.parameters:
        described["parameters"] = [
            _parameter(name, in_path=f"{{{name}}}" in operation.path) for name in operation.parameters
        ]
    if operation.body is not None:
        schema = json_schema.add(operation.body, schemas, complete=False)
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    for status in operation.errors:
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        described["responses"][str(status)] = {"description": _REASONS[status], "content": content}
    return described


def _answer(operation: Operation, schemas: dict[str, json_schema.Schema]) -> dict[str, Any]:
    if operation.answer is None:
        return {"description": operation.summary, "content": {"application/json": {"schema": {"type": "object"}}}}
    schema = json_schema.add(operation.answer, schemas, complete=True)
    if operation.media == "text/event-stream":
        # OpenAPI 3.1 has no form for the data of events: the text says which message it is.
        text = f"A stream of {operation.answer.name} as JSON."
        return {"description": text, "content": {operation.media: {"schema": {"type": "string"}}}}
    content: dict[str, Any] = {operation.media: {"schema": schema}}
    if "format" in operation.parameters:
        content |= {media: {"schema": {"type": "string"}} for media in ("text/html", "text/markdown")}
        content[operation.media] = {"schema": {"anyOf": [schema, {"type": "object"}]}}
    return {"description": operation.summary, "content": content}


def _parameter(name: str, *, in_path: bool) -> dict[str, Any]:
    text, schema = _PARAMETERS[name]
    place = "path" if in_path else "query"
    return {"name": name.split(maxsplit=1)[0], "in": place, "required": in_path, "description": text, "schema": schema}


def _operation_id(operation: Operation) -> str:
    words = (
        operation.path.removeprefix(PREFIX)
        .removeprefix("/api/v1")
        .replace("{id}", "one")
        .replace("{verb}", "verb")
        .replace(".", "-")
    )
    return operation.method + "".join(part.capitalize() for part in words.replace("-", "/").split("/"))
