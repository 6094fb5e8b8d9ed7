"""The adapters of the ports over NATS JetStream: the only package that imports nats."""
