"""Whether this server has written a commit to its stream's file when it acknowledges it, so that a sync makes it last.

That is so for one replica and default persistence, and it is nowhere promised. So it is looked at: a few messages are
stored, and when each is acknowledged its bytes must stand in the file, as they are.
"""

import asyncio
from collections.abc import Callable
from secrets import token_hex
from time import time

from msgspec import Raw

from aether.errors import Unavailable
from aether.jetstream.api import stream_info
from aether.jetstream.connection import NatsConnection
from aether.jetstream.generation import set_once
from aether.jetstream.store import PROBE, JetStreamEventStore
from aether.names import Names, event_source
from aether.ports import START, AppendOutcome, Committed
from aether.wire import DISK_PROBED_EVENT, StoredEvent, decode_commit, encode_commit, instant

PROBES = 3
ATTEMPTS_MAX = 50
"""Workers that start together look at once, and store their messages one after the other."""


async def why_not_written(
    connection: NatsConnection, names: Names, store: JetStreamEventStore, holds: Callable[[bytes], bool]
) -> str:
    """Why an acknowledged commit may not be in the stream's file yet; "" when it is. `holds` looks for bytes there.

    It adds a few system events to the history of an actor that is nobody's. Raises `Unavailable`, `UnreadableEvent`.
    """
    config = (await stream_info(connection, names.stream)).config or {}
    for setting, needed in (("num_replicas", 1), ("storage", "file"), ("persist_mode", "default"),
                            ("compression", "none")):  # fmt: skip
        if config.get(setting) not in (None, "", needed):
            return f"{setting} of {names.stream} is {config[setting]!r}, not {needed!r}"
    probed = 0
    for _ in range(ATTEMPTS_MAX):
        seen = await _probe(names, store, holds)
        if seen is False:
            return "what the server has acknowledged does not stand in the stream's file"
        probed += seen is True
        if probed == PROBES:
            return ""
    raise Unavailable("no message could be stored to see whether the server writes it at once")


async def _probe(names: Names, store: JetStreamEventStore, holds: Callable[[bytes], bool]) -> bool | None:
    """Whether a message stood in the file as it was acknowledged; None when it was not stored."""
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
    settled: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()

    def acknowledged(outcome: AppendOutcome) -> None:
        """Called in the step in which the acknowledgement is read: so what stands there now stood there before."""
        try:
            set_once(settled, holds(token.encode()) if isinstance(outcome, Committed) else None)
        except OSError:
            set_once(settled, False)

    store.publish(PROBE, encode_commit([event]), last.position if last is not None else START, acknowledged)
    return await settled
