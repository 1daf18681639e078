"""gRPC over asyncio's own sockets: the ends of the streams that carry events.

`server` serves what `grpc.aio.server` would, `channel` calls as `grpc.aio`'s channels do, and both talk to any other
implementation of gRPC. docs/adr/0018 has the reason and what it saves.
"""
