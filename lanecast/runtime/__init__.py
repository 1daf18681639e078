"""What every service process needs around its core: configuration, lifecycle, gRPC server, telemetry, tokens."""
