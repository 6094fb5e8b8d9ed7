"""Durable, event-sourced actors for Python on NATS JetStream."""
