"""What decides in the JetStream log: pure, synchronous, without NATS."""
