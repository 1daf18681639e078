"""Errors to statuses and back, through a real call."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from lanecast.errors import LanecastError, StatusError, UnavailableError
from lanecast.runtime import status
from lanecast.runtime.grpc_server import GrpcServer
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub


class Failing:
    """Answers ListEventTypes with an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def ListEventTypes(self, *_: Any) -> Any:  # noqa: N802
        raise self._error

    PublishEvents = PublishEventStream = StreamEvents = ReadEvents = ListEventTypes


async def call(error: Exception, request: bytes | None = None) -> LanecastError:
    """Return what a client sees where the service raises `error`."""
    server = GrpcServer()
    server.add(pb.DESCRIPTOR.services_by_name["PublisherService"], Failing(error))
    port = await server.start("127.0.0.1", 0)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                if request is None:
                    await PublisherServiceStub(channel).ListEventTypes(pb.ListEventTypesRequest())
                else:
                    await channel.unary_unary("/lanecast.v1.PublisherService/ListEventTypes")(request)
            except grpc.RpcError as failure:
                return status.from_rpc_error(failure)
    finally:
        await server.stop(0)
    raise AssertionError("the call went through")


async def test_an_error_arrives_with_all_it_says() -> None:
    sent = StatusError(
        status.RESOURCE_EXHAUSTED, "OVERLOADED", "slow down", field="events[3].id", retry_delay_seconds=1.5
    )
    error = await call(sent)
    assert isinstance(error, StatusError)
    assert (error.code, error.reason, str(error)) == (8, "OVERLOADED", "slow down")
    assert (error.field, error.retry_delay_seconds) == ("events[3].id", 1.5)


async def test_an_error_without_details_has_none() -> None:
    error = await call(StatusError(status.NOT_FOUND, "CHANNEL_UNKNOWN", "no such channel"))
    assert isinstance(error, StatusError)
    assert (error.field, error.retry_delay_seconds) == ("", None)


async def test_a_service_that_goes_away_says_when_to_come_back() -> None:
    error = await call(UnavailableError("going away"))
    assert isinstance(error, StatusError)
    assert (error.code, error.reason, error.retry_delay_seconds) == (status.UNAVAILABLE, "UNAVAILABLE", 1.0)


async def test_a_bug_in_a_service_is_internal_and_says_nothing_of_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    error = await call(ZeroDivisionError("secret"))
    assert isinstance(error, StatusError)
    assert (error.code, error.reason) == (status.INTERNAL, "INTERNAL")
    assert "secret" not in str(error)
    assert "secret" in caplog.text


async def test_garbage_is_the_fault_of_the_caller() -> None:
    error = await call(AssertionError("not reached"), b"\xff\xff\xff")
    assert isinstance(error, StatusError)
    assert (error.code, error.reason) == (status.INVALID_ARGUMENT, "MALFORMED")
    assert "lanecast.v1.ListEventTypesRequest" in str(error)


async def test_nobody_there_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await PublisherServiceStub(channel).ListEventTypes(pb.ListEventTypesRequest())
    assert isinstance(status.from_rpc_error(caught.value), UnavailableError)


@pytest.mark.parametrize(("code", "retryable"), [(14, True), (8, True), (4, True), (10, True), (3, False), (13, False)])
def test_codes_that_may_pass(code: int, retryable: bool) -> None:
    assert status.is_retryable(code) is retryable
