"""Reads a namespace's stream with plain nats-py and the standard library: shares no code with the runtime."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import nats
from nats.js import JetStreamContext

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RawEvent:
    """One stored event, with the stream sequence of its commit."""

    sequence: int
    source: str
    version: int
    type: str
    command_id: str
    data: dict[str, object]
    causation_id: str = ""
    time: datetime = LONG_AGO


async def raw_events(url: str, namespace: str) -> dict[str, list[RawEvent]]:
    """Every stored event by subject, in stream order."""
    connection = await nats.connect(url)
    try:
        return await _read(connection.jetstream(), namespace)
    finally:
        await connection.close()


async def _read(js: JetStreamContext, namespace: str) -> dict[str, list[RawEvent]]:
    found: dict[str, list[RawEvent]] = {}
    stream = f"AETHER_{namespace}"
    last = (await js.stream_info(stream)).state.last_seq
    subscription = await js.subscribe(f"aether.{namespace}.evt.>", stream=stream, ordered_consumer=True)
    at = 0
    while at < last:
        message = await subscription.next_msg(timeout=10)
        at = message.metadata.sequence.stream
        found.setdefault(message.subject, []).extend(
            RawEvent(
                at,
                event["source"],
                int(event["id"]),
                event["type"],
                event.get("commandid", ""),
                event["data"],
                event.get("causationid", ""),
                datetime.fromisoformat(event["time"]),
            )
            for event in json.loads(message.data)
        )
    return found
