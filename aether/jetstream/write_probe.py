"""Whether this server has written a commit to its stream's file when it acknowledges it, so that a sync makes it last.

That is so for one replica and default persistence, and it is nowhere promised. So it is looked at: a message is stored,
and when it is acknowledged its bytes must stand in the file, as they are.
"""

import asyncio
import random
from secrets import token_hex
from time import time
from typing import Protocol

from msgspec import Raw

from aether.aio import set_once
from aether.core.backoff import Backoff
from aether.errors import Unavailable
from aether.jetstream.api import stream_info
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.store import JetStreamEventStore
from aether.names import PROBE, Names, event_source
from aether.ports import START, AppendOutcome, Committed, Refused, Unknown
from aether.wire import DISK_PROBED_EVENT, StoredEvent, decode_commit, encode_commit, instant

CONFLICTS_MAX = 100
"""Workers that start together look at once, and store their messages one after the other."""

RETRY = Backoff(first_s=0.01, cap_s=0.2)

NEEDED = {"num_replicas": 1, "storage": "file", "persist_mode": "default", "compression": "none"}


class StreamFiles(Protocol):
    """The files in which a server on this machine keeps the stream. Reading them raises OSError."""

    def mark(self) -> tuple[int, int]:
        """Where they end now."""
        ...

    def holds(self, text: bytes, since: tuple[int, int]) -> bool:
        """Whether this text was written to them after a mark."""
        ...


async def why_not_written(connection: NatsConnection, names: Names, files: StreamFiles) -> str:
    """Why an acknowledged commit may not be in the stream's files yet; "" when it is.

    It adds a system event to the history of an actor that belongs to no model. Raises `Unavailable` when the server
    stores nothing now, `UnreadableEvent`.
    """
    for stream in (names.stream, names.inbox):
        config = (await stream_info(connection, stream)).config or {}
        for setting, needed in NEEDED.items():
            if config.get(setting) not in (None, "", needed):
                return f"{setting} of {stream} is {config[setting]!r}, not {needed!r}"
    store = JetStreamEventStore(connection, names)  # one that waits for no disk
    for attempt in range(CONFLICTS_MAX):
        found = await _probe(names, store, files)
        if isinstance(found, bool):
            return "" if found else "what the server has acknowledged does not stand in the stream's file"
        if isinstance(found, Refused | Unknown):
            raise Unavailable(f"a message that shows whether it is written at once was not stored: {found.reason}")
        # Those who look at once must not go on in step; nothing depends on the value.
        await asyncio.sleep(RETRY.delay_s(attempt, random.random()))  # noqa: S311 - no secret
    raise Unavailable("too many look at once whether the server writes what it acknowledges")


async def _probe(names: Names, store: JetStreamEventStore, files: StreamFiles) -> bool | AppendOutcome:
    """Whether a message stood in the file as it was acknowledged; else what came of it."""
    last = await store.last(PROBE)
    version = decode_commit(last.payload, PROBE, last.position)[-1].version if last is not None else 0
    token = token_hex(16)
    event = StoredEvent(
        specversion="1.0",
        id=str(version + 1),
        source=event_source(names.namespace, PROBE),
        type=DISK_PROBED_EVENT,
        time=instant(time()),
        data=Raw(f'{{"token":"{token}"}}'.encode()),
    )
    outcome_known: asyncio.Future[bool | AppendOutcome] = asyncio.get_running_loop().create_future()
    mark = files.mark()

    def acknowledged(outcome: AppendOutcome) -> None:
        """Called in the step in which the acknowledgement is read: so what stands there now stood there before."""
        try:
            set_once(outcome_known, files.holds(token.encode(), mark) if isinstance(outcome, Committed) else outcome)
        except OSError as error:
            outcome_known.set_exception(error)

    store.publish(PROBE, encode_commit([event]), last.position if last is not None else START, acknowledged)
    return await outcome_known
