"""Durable, event-sourced actors for Python on NATS JetStream.

A user's whole vocabulary: declare actors and a model, connect to a pool, or run a `Runtime` in one process. Inside the
package nobody imports from here.
"""

from aether.client import Client, connect
from aether.config import CallConfig, ConnectionConfig, RuntimeConfig, StorageConfig
from aether.errors import (
    ActorFailed,
    AetherError,
    ClientUnusable,
    ConfigError,
    DeadlineExceeded,
    HistoryRegressed,
    InvalidCommand,
    ModelError,
    Overloaded,
    Rejected,
    ReplyNotDelivered,
    StateChangedOutsideEvent,
    Unavailable,
    UnknownActor,
    UnknownCommand,
    UnreadableEvent,
    VersionConflict,
)
from aether.history import EventStream, HistoryEvent
from aether.ids import ActorId
from aether.jetstream.bundle import JetStreamConnection
from aether.jetstream.bus import NATSEventBus
from aether.jetstream.snapshots import JetStreamSnapshotStore
from aether.jetstream.store import JetStreamEventStore
from aether.jetstream.table import JetStreamTable
from aether.jetstream.transport import NatsTransport
from aether.memory.bus import InMemoryEventBus
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.memory.snapshots import InMemorySnapshotStore
from aether.memory.store import InMemoryEventStore
from aether.memory.table import InMemoryTable
from aether.memory.transport import InMemoryTransport
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.definition import ActorState, Context
from aether.model.handlers import command, event, query
from aether.model.model import Model
from aether.runtime.local import Message
from aether.runtime.machine import VirtualMachine
from aether.runtime.runtime import Runtime

__all__ = [
    "Actor",
    "ActorFailed",
    "ActorId",
    "ActorState",
    "AetherError",
    "CallConfig",
    "Client",
    "ClientUnusable",
    "ConfigError",
    "ConnectionConfig",
    "Context",
    "DeadlineExceeded",
    "Decider",
    "EventStream",
    "HistoryEvent",
    "HistoryRegressed",
    "InMemoryConnection",
    "InMemoryEventBus",
    "InMemoryEventStore",
    "InMemoryServer",
    "InMemorySnapshotStore",
    "InMemoryTable",
    "InMemoryTransport",
    "InvalidCommand",
    "JetStreamConnection",
    "JetStreamEventStore",
    "JetStreamSnapshotStore",
    "JetStreamTable",
    "Message",
    "Model",
    "ModelError",
    "NATSEventBus",
    "NatsTransport",
    "Overloaded",
    "Rejected",
    "ReplyNotDelivered",
    "Runtime",
    "RuntimeConfig",
    "StateChangedOutsideEvent",
    "StorageConfig",
    "Unavailable",
    "UnknownActor",
    "UnknownCommand",
    "UnreadableEvent",
    "VersionConflict",
    "VirtualMachine",
    "command",
    "connect",
    "event",
    "query",
]
