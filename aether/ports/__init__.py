"""What the runtime asks of the world, as Protocols; adapters in `memory`, `jetstream` and `system` answer.

Every adapter pair passes one contract suite. Callbacks given to a port are synchronous and must not raise. The names
of all ports are here; each is defined in the module of its subject.
"""

from aether.ports.bus import EventBus, EventStored, Subscription
from aether.ports.connection import Connection
from aether.ports.history import (
    START,
    Append,
    AppendOutcome,
    Committed,
    Conflict,
    Durability,
    EventStore,
    Fenced,
    Listing,
    NotStored,
    Refused,
    SnapshotStore,
    StoredCommit,
    StreamReading,
    Unknown,
)
from aether.ports.inbox import (
    SENDING_BYTES_MAX,
    Hear,
    HearCommits,
    Inbox,
    InboxBatch,
    InboxMessage,
    InboxSize,
    TellPlace,
    WentBack,
)
from aether.ports.table import Row, Table
from aether.ports.tasks import TaskBacklog, TaskClaim, TaskRow, Tasks
from aether.ports.timers import EndOfCommits, OverdueTimers, Timers
from aether.ports.transport import Delivery, NotSent, Transport
from aether.ports.worker import ActiveVM, Alarm, Clock, Halts, HandlerNote, Lease, MovedClock, VMProvider, WorkerNote

__all__ = [
    "SENDING_BYTES_MAX",
    "START",
    "ActiveVM",
    "Alarm",
    "Append",
    "AppendOutcome",
    "Clock",
    "Committed",
    "Conflict",
    "Connection",
    "Delivery",
    "Durability",
    "EndOfCommits",
    "EventBus",
    "EventStore",
    "EventStored",
    "Fenced",
    "Halts",
    "HandlerNote",
    "Hear",
    "HearCommits",
    "Inbox",
    "InboxBatch",
    "InboxMessage",
    "InboxSize",
    "Lease",
    "Listing",
    "MovedClock",
    "NotSent",
    "NotStored",
    "OverdueTimers",
    "Refused",
    "Row",
    "SnapshotStore",
    "StoredCommit",
    "StreamReading",
    "Subscription",
    "Table",
    "TaskBacklog",
    "TaskClaim",
    "TaskRow",
    "Tasks",
    "TellPlace",
    "Timers",
    "Transport",
    "Unknown",
    "VMProvider",
    "WentBack",
    "WorkerNote",
]
