"""The event log: what is in it survives, and has a position.

`base` is the interface that the rest of publisher_svc uses; `sqlite` is the embedded implementation, `jetstream` is the
one on NATS that several publishers share.
"""
