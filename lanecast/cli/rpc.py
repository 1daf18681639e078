"""Calls to a running system that several commands make.

Owns the wording of "nothing answers there". Imports grpc inside its functions: `--help` need not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanecast.errors import UnavailableError

if TYPE_CHECKING:
    from lanecast.v1.publisher_pb2 import ListEventTypesResponse

TIMEOUT_SECONDS = 5.0


async def list_event_types(target: str) -> ListEventTypesResponse:
    """Return the payload types of the publisher at `target`, with their descriptors.

    Raises:
        ConfigError: the target is malformed.
        UnavailableError: nothing answers there.
        StatusError: the publisher refused the call.
    """
    import grpc

    from lanecast.runtime.status import from_rpc_error
    from lanecast.transport import Targets, open_channel
    from lanecast.v1.publisher_pb2 import ListEventTypesRequest
    from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub

    async with open_channel(Targets(target).names[0]) as channel:
        stub = PublisherServiceStub(channel)
        try:
            return await stub.ListEventTypes(ListEventTypesRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise unreachable(target, str(from_rpc_error(error))) from error
            raise from_rpc_error(error) from error


async def is_serving(target: str) -> bool:
    """Say whether the gRPC service at `target` answers its health check with SERVING."""
    from lanecast.runtime import vitals
    from lanecast.transport import Targets

    return await vitals.is_serving(Targets(target).names[0], TIMEOUT_SECONDS)


def unreachable(target: str, cause: str = "") -> UnavailableError:
    """Return the error for a publisher that does not answer."""
    why = f" ({cause})" if cause else ""
    return UnavailableError(
        f"no publisher answers at {target}{why}: start one with `lanecast up`, name its address with --target, or set"
        " LANECAST_TLS_CA if it speaks TLS"
    )
