"""The shared event log: one NATS JetStream stream, any number of publishers. See docs/adr/0011-jetstream.md."""
