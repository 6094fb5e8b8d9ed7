"""Makes a namespace's streams with small blocks: `python -m tests.powercut.small_blocks URL NAMESPACE`.

The server chooses the size of a stream's blocks by the stream's limit of bytes when it makes the stream, and keeps the
size when the limit goes. With a small limit blocks are of 32 kB; afterwards the streams are as a worker makes them.
"""

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

import nats
from nats.aio.client import Client

from aether.jetstream.connection.headers import ERROR_STREAM_EXISTS_OTHERWISE
from aether.jetstream.stream_configs import configs
from aether.names import Names

LIMIT_BYTES = 100_000
"""A quarter of it is less than the smallest block."""

LEADER_TIMEOUT_S = 60.0
UNAVAILABLE = 503


async def make(url: str, namespace: str, replicas: int = 1) -> None:
    """Make every stream that is not there yet; a cluster that has no leader yet is waited for."""
    async with await nats.connect(url.split(",")) as connection:
        for config in configs(Names(namespace), replicas=replicas):
            for act, limit in (("CREATE", LIMIT_BYTES), ("UPDATE", -1)):
                request = json.dumps({**config, "max_bytes": limit}).encode()
                error = await _asked(connection, f"$JS.API.STREAM.{act}.{config['name']}", request)
                assert error.get("err_code") in (None, ERROR_STREAM_EXISTS_OTHERWISE), error


async def _asked(connection: Client, subject: str, request: bytes) -> dict[str, Any]:
    async with asyncio.timeout(LEADER_TIMEOUT_S):
        while True:
            with suppress(TimeoutError):
                answer = await connection.request(subject, request, timeout=2)
                error: dict[str, Any] = json.loads(answer.data).get("error", {})
                if error.get("code") != UNAVAILABLE:
                    return error
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(make(sys.argv[1], sys.argv[2]))
