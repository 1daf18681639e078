"""HTTP/2 as far as gRPC needs it (RFC 9113), without I/O; see `connection`."""
