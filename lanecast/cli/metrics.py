"""Calls to the metrics service that several commands make.

Owns the connection, the wording of "nothing answers there" and the translation of failed calls. Imports grpc inside its
functions: `--help` need not wait for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from lanecast.errors import LanecastError, UnavailableError

if TYPE_CHECKING:
    from lanecast.v1.admin_pb2_grpc import AdminServiceAsyncStub
    from lanecast.v1.metrics_pb2_grpc import MetricsServiceAsyncStub
    from lanecast.v1.rollout_pb2_grpc import RolloutServiceAsyncStub

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0


class MetricsClient:
    """The stubs of one metrics service."""

    def __init__(
        self,
        target: str,
        metrics: MetricsServiceAsyncStub,
        admin: AdminServiceAsyncStub,
        rollouts: RolloutServiceAsyncStub,
    ) -> None:
        self.target = target
        self.metrics = metrics
        self.admin = admin
        self.rollouts = rollouts

    async def call(self, method: Callable[..., Awaitable[T]], request: Any, timeout: float = TIMEOUT_SECONDS) -> T:  # noqa: ASYNC109 - the rpc's own
        """Make a unary call.

        Raises:
            UnavailableError: nothing answers.
            StatusError: the service refused.
        """
        import grpc

        try:
            return await method(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise self.translated(error) from error

    def translated(self, error: Any) -> LanecastError:
        """Return the error of ours that a failed call stands for."""
        import grpc

        from lanecast.runtime.status import from_rpc_error

        found = from_rpc_error(error)
        if isinstance(found, UnavailableError) or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return unreachable(self.target)
        return found


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[MetricsClient]:
    """Give a client of the metrics service at `target` for the length of a block.

    Raises:
        ConfigError: the target is malformed.
        UnavailableError: nothing answers a call that the block makes.
        StatusError: the service refused such a call.
    """
    import grpc

    from lanecast.transport import Targets, open_channel
    from lanecast.v1.admin_pb2_grpc import AdminServiceStub
    from lanecast.v1.metrics_pb2_grpc import MetricsServiceStub
    from lanecast.v1.rollout_pb2_grpc import RolloutServiceStub

    name = Targets(target).names[0]
    async with open_channel(name) as channel:
        client = MetricsClient(
            name, MetricsServiceStub(channel), AdminServiceStub(channel), RolloutServiceStub(channel)
        )
        try:
            yield client
        except grpc.aio.AioRpcError as error:
            raise client.translated(error) from error


def unreachable(target: str) -> UnavailableError:
    """Return the error for a metrics service that does not answer."""
    return UnavailableError(
        f"no metrics service answers at {target}: start one with `lanecast up`, or name its address with --metrics"
    )


def lane_name(value: int) -> str:
    """Return the short name of a lane in a message."""
    from lanecast.core.priority import LANES

    return next((lane.name for lane in LANES if int(lane) == value), "?")


def grade_name(value: int) -> str:
    """Return the letter of a grade in a message; `-` where there is none."""
    return "-ABCDF"[value] if 0 <= value <= 5 else "?"


def to_dict(message: Any) -> dict[str, Any]:
    """Return a message as the JSON object that the HTTP API would send."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(message, always_print_fields_with_no_presence=True)
    return found
