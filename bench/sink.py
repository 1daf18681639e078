"""A collector that takes everything and keeps nothing, so that what is measured is the cost of sending.

Owns one process: `python -m bench.sink <port>`. Started by `bench.systems.lanecast` where a scenario wants a collector.
"""

from __future__ import annotations

import asyncio
import sys

import grpc

_SERVICES = (
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.trace.v1.TraceService",
)


async def _take(_request: bytes, _context: object) -> bytes:
    return b""  # an empty response: everything was accepted


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    for name in _SERVICES:
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(_take)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
