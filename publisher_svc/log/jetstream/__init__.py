"""The shared event log: one NATS JetStream stream, any number of publishers. See docs/adr/0009-jetstream.md."""
