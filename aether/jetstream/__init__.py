"""The adapters of the ports over NATS JetStream: the only room that imports nats."""
