"""Durable, event-sourced actors for Python on NATS JetStream.

A user's whole vocabulary: declare actors and a model, connect to a pool, or run a `Runtime` in one process. Inside the
package no module imports from here.

A name is imported from its module when it is first used, so that `import aether` is quick and the command line can
take an interrupt at once. Type checkers read the imports below.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aether.blocking import BlockingClient, connect_blocking
    from aether.client import Client
    from aether.config import CallConfig, ConnectionConfig, RuntimeConfig, StorageConfig
    from aether.connecting import connect
    from aether.correlation import Trace, TracedEvent, TraceStep
    from aether.dead_letters import DeadLetter
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
    from aether.jetstream.adapters import JetStreamConnection
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
    from aether.model.decider import Decider, Decision
    from aether.model.definition import ActorState, Context
    from aether.model.handlers import command, event, query
    from aether.model.methods import Command, Query
    from aether.model.model import Model
    from aether.model.policy import Policy, PolicyContext, policy
    from aether.model.schedules import After, At, Cron, Every
    from aether.model.tasks import Retry, Task, TaskCall, TaskContext, TaskFailed, task
    from aether.runtime.local import Message
    from aether.runtime.machine import VirtualMachine
    from aether.runtime.runtime import Runtime
    from aether.state_stream import StateStream
    from aether.untyped_client import Receipt
else:

    def __getattr__(name):
        """A public name, or a module of the package, when it is first asked for."""
        from importlib import import_module  # noqa: PLC0415 - not needed to start

        where = _WHERE.get(name)
        if where is not None:
            value = globals()[name] = getattr(import_module(where), name)
            return value
        if not name.startswith("_"):
            module = f"{__name__}.{name}"
            try:
                return import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Actor",
    "ActorFailed",
    "ActorId",
    "ActorState",
    "AetherError",
    "After",
    "At",
    "BlockingClient",
    "CallConfig",
    "Client",
    "ClientUnusable",
    "Command",
    "ConfigError",
    "ConnectionConfig",
    "Context",
    "Cron",
    "DeadLetter",
    "DeadlineExceeded",
    "Decider",
    "Decision",
    "EventStream",
    "Every",
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
    "Policy",
    "PolicyContext",
    "Query",
    "Receipt",
    "Rejected",
    "ReplyNotDelivered",
    "Retry",
    "Runtime",
    "RuntimeConfig",
    "StateChangedOutsideEvent",
    "StateStream",
    "StorageConfig",
    "Task",
    "TaskCall",
    "TaskContext",
    "TaskFailed",
    "Trace",
    "TraceStep",
    "TracedEvent",
    "Unavailable",
    "UnknownActor",
    "UnknownCommand",
    "UnreadableEvent",
    "VersionConflict",
    "VirtualMachine",
    "command",
    "connect",
    "connect_blocking",
    "event",
    "policy",
    "query",
    "task",
]

_WHERE = {
    "Actor": "aether.model.actor",
    "ActorFailed": "aether.errors",
    "ActorId": "aether.ids",
    "ActorState": "aether.model.definition",
    "AetherError": "aether.errors",
    "After": "aether.model.schedules",
    "At": "aether.model.schedules",
    "BlockingClient": "aether.blocking",
    "CallConfig": "aether.config",
    "Client": "aether.client",
    "ClientUnusable": "aether.errors",
    "Command": "aether.model.methods",
    "ConfigError": "aether.errors",
    "ConnectionConfig": "aether.config",
    "Context": "aether.model.definition",
    "Cron": "aether.model.schedules",
    "DeadLetter": "aether.dead_letters",
    "DeadlineExceeded": "aether.errors",
    "Decider": "aether.model.decider",
    "Decision": "aether.model.decider",
    "EventStream": "aether.history",
    "Every": "aether.model.schedules",
    "HistoryEvent": "aether.history",
    "HistoryRegressed": "aether.errors",
    "InMemoryConnection": "aether.memory.connection",
    "InMemoryEventBus": "aether.memory.bus",
    "InMemoryEventStore": "aether.memory.store",
    "InMemoryServer": "aether.memory.server",
    "InMemorySnapshotStore": "aether.memory.snapshots",
    "InMemoryTable": "aether.memory.table",
    "InMemoryTransport": "aether.memory.transport",
    "InvalidCommand": "aether.errors",
    "JetStreamConnection": "aether.jetstream.adapters",
    "JetStreamEventStore": "aether.jetstream.store",
    "JetStreamSnapshotStore": "aether.jetstream.snapshots",
    "JetStreamTable": "aether.jetstream.table",
    "Message": "aether.runtime.local",
    "Model": "aether.model.model",
    "ModelError": "aether.errors",
    "NATSEventBus": "aether.jetstream.bus",
    "NatsTransport": "aether.jetstream.transport",
    "Overloaded": "aether.errors",
    "Policy": "aether.model.policy",
    "PolicyContext": "aether.model.policy",
    "Query": "aether.model.methods",
    "Receipt": "aether.untyped_client",
    "Rejected": "aether.errors",
    "ReplyNotDelivered": "aether.errors",
    "Retry": "aether.model.tasks",
    "Runtime": "aether.runtime.runtime",
    "RuntimeConfig": "aether.config",
    "StateChangedOutsideEvent": "aether.errors",
    "StateStream": "aether.state_stream",
    "StorageConfig": "aether.config",
    "Task": "aether.model.tasks",
    "TaskCall": "aether.model.tasks",
    "TaskContext": "aether.model.tasks",
    "TaskFailed": "aether.model.tasks",
    "Trace": "aether.correlation",
    "TraceStep": "aether.correlation",
    "TracedEvent": "aether.correlation",
    "Unavailable": "aether.errors",
    "UnknownActor": "aether.errors",
    "UnknownCommand": "aether.errors",
    "UnreadableEvent": "aether.errors",
    "VersionConflict": "aether.errors",
    "VirtualMachine": "aether.runtime.machine",
    "command": "aether.model.handlers",
    "connect": "aether.connecting",
    "connect_blocking": "aether.blocking",
    "event": "aether.model.handlers",
    "policy": "aether.model.policy",
    "query": "aether.model.handlers",
    "task": "aether.model.tasks",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
