"""The one place where errors become gRPC statuses, and statuses become errors.

Owns the mapping to `google.rpc` details (https://google.aip.dev/193). Called by the gRPC server wrapper and by the
SDKs; services raise `lanecast.errors.StatusError` and never touch `grpc.StatusCode`.
"""

from __future__ import annotations

from typing import Any, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from lanecast.errors import LanecastError, StatusError, UnavailableError
from lanecast.runtime import tls

DOMAIN = "lanecast"
"""`google.rpc.ErrorInfo.domain` of all errors."""

CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 1, 3, 4, 5, 6, 7
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = (
    8, 9, 10, 12, 13, 14, 16,
)  # fmt: skip

BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
"""gRPC's codes by their numbers."""
_RETRYABLE = {UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, ABORTED}


def to_status(error: StatusError) -> status_pb2.Status:
    """Return the status with `ErrorInfo` and, where they apply, `BadRequest` and `RetryInfo`."""
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)]
    status = status_pb2.Status(code=error.code, message=str(error))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=str(error))
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_delay_seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_delay_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: StatusError) -> None:
    """End a call with the status of `error`; does not return."""
    status = rpc_status.to_status(to_status(error))
    await context.abort(BY_NUMBER[error.code], str(error), status.trailing_metadata or ())


def from_rpc_error(error: grpc.RpcError) -> LanecastError:
    """Return the Lanecast error that a failed call stands for."""
    code = error.code().value[0] if hasattr(error, "code") else UNAVAILABLE
    message = (error.details() if hasattr(error, "details") else "") or str(error)
    reason, field, delay = _details(error)
    if code == UNAVAILABLE and not reason:
        message = tls.explain(message)
        return UnavailableError(message)
    return StatusError(code, reason or BY_NUMBER[code].name, message, field=field, retry_delay_seconds=delay)


def is_retryable(code: int) -> bool:
    """Say whether a call that ended with this canonical code may succeed when it is made again."""
    return code in _RETRYABLE


def _details(error: grpc.RpcError) -> tuple[str, str, float | None]:
    reason, field, delay = "", "", None
    try:
        status = rpc_status.from_call(cast("grpc.Call", error))
    except (ValueError, AttributeError):
        return reason, field, delay
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            delay = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return reason, field, delay
