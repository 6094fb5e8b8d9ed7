"""Makes a namespace's streams with small blocks: `python -m tests.powercut.small_blocks URL NAMESPACE`.

The server chooses the size of a stream's blocks by the stream's limit of bytes when it makes the stream, and keeps the
size when the limit goes. With a small limit blocks are of 32 kB; afterwards the streams are as a worker makes them.
"""

import asyncio
import json
import sys

import nats

from aether.jetstream.connection.headers import ERROR_STREAM_EXISTS_OTHERWISE
from aether.jetstream.stream_configs import configs
from aether.names import Names

LIMIT_BYTES = 100_000
"""A quarter of it is less than the smallest block."""


async def make(url: str, namespace: str, replicas: int = 1) -> None:
    """Make every stream that is not there yet."""
    async with await nats.connect(url) as connection:
        for config in configs(Names(namespace), replicas=replicas):
            for act, limit in (("CREATE", LIMIT_BYTES), ("UPDATE", -1)):
                request = json.dumps({**config, "max_bytes": limit}).encode()
                answer = await connection.request(f"$JS.API.STREAM.{act}.{config['name']}", request, timeout=10)
                error = json.loads(answer.data).get("error", {})
                assert error.get("err_code") in (None, ERROR_STREAM_EXISTS_OTHERWISE), error


if __name__ == "__main__":
    asyncio.run(make(sys.argv[1], sys.argv[2]))
