"""Reads a namespace's stream as it is, with plain nats-py, and keeps it as lines of JSON."""

import json
from pathlib import Path
from typing import NamedTuple

import nats

from tests.chaos.histories import Stored

SHARDS_KEY = "aether.shards"


class RawStream(NamedTuple):
    """Every commit of a namespace in stream order, and its number of shards."""

    stored: list[Stored]
    shards: int


async def read_stream(url: str, namespace: str) -> RawStream:
    """Everything below `aether.<namespace>.evt.`, by an ordered consumer up to the last sequence there is now."""
    connection = await nats.connect(url.split(","), connect_timeout=5)
    try:
        js = connection.jetstream(timeout=10)
        stream = f"AETHER_{namespace}"
        info = await js.stream_info(stream)
        wanted = f"aether.{namespace}.evt.>"
        stored: list[Stored] = []
        if info.state.messages:
            subscription = await js.subscribe(wanted, stream=stream, ordered_consumer=True)
            pending = 1
            while pending:
                message = await subscription.next_msg(timeout=10)
                pending = message.metadata.num_pending
                stored.append(Stored(message.metadata.sequence.stream, message.subject, message.data))
        return RawStream(stored, int((info.config.metadata or {})[SHARDS_KEY]))
    finally:
        await connection.close()


async def ends(url: str, stream: str) -> tuple[int, int]:
    """The first and the last sequence of a stream."""
    async with await nats.connect(url.split(","), connect_timeout=5) as connection:
        state = (await connection.jetstream(timeout=10).stream_info(stream)).state
    return state.first_seq, state.last_seq


def keep_stream(raw: RawStream, path: Path) -> None:
    """Write it to a file, a line a message."""
    with path.open("w") as file:
        for sequence, subject, payload in raw.stored:
            line = {"sequence": sequence, "subject": subject, "payload": payload.decode(errors="replace")}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
