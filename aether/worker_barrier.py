"""What a worker does where the server's acknowledgement is not the disk's: it proves that a sync of its own will do.

A server on this machine that does not sync every write is faster by far, and what it has written is made durable by a
sync of the stream's file (`aether.system.sync_barrier`). Where that cannot be proved nothing is begun.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aether.config import ConnectionConfig, StorageConfig
from aether.errors import ConfigError
from aether.jetstream.bundle import JetStreamConnection, connect_worker
from aether.system.block_files import BlockFiles, directories_of, why_not_synced
from aether.system.clock import SystemClock
from aether.system.environment import boot_id
from aether.system.sync_barrier import SyncBarrier


class NotProved(ConfigError):
    """A sync of the server's files would prove nothing here."""


def durability(storage: StorageConfig) -> str:
    """What the row of a worker says of how it makes commits durable: see `aether.core.membership.MemberRow`."""
    return f"sync barrier, boot {boot_id()}" if storage.sync == "barrier" else ""


async def why_no_barrier(connection: ConnectionConfig, namespace: str, storage: StorageConfig) -> str:
    """Why a sync barrier would prove nothing for this server and these files; "" when one can be begun.

    The namespace is made when it is not there. Raises `ConfigError` for what keeps it from being used in any case,
    `Unavailable`.
    """
    async with connect_worker(connection, namespace, storage, SystemClock()) as node:
        try:
            blocks = await _proved(node, Path(storage.nats_store))
            await asyncio.to_thread(blocks.sync)
        except NotProved as error:
            return error.message
        except OSError as error:
            return f"the files of the server cannot be synced: {error}"
        blocks.close()
    return ""


@asynccontextmanager
async def sync_barrier(node: JetStreamConnection, store: Path, failed: Callable[[str], None]) -> AsyncIterator[None]:
    """Meanwhile what `node` has stored and read is on the disk. `store` is the server's `store_dir`.

    `failed` is called when a sync has failed: from then on nothing is stored any more. Raises `NotProved` where the
    server's files are not found or what it acknowledges does not stand in them, `Unavailable`.
    """
    blocks = await _proved(node, store)
    await asyncio.to_thread(blocks.sync)  # the first one takes in all there is
    barrier = SyncBarrier(blocks.sync, failed)
    node.wait_for(barrier)
    node.on_connected(barrier.forget)
    asked = await node.transport.answer_durable(barrier)
    try:
        yield
    finally:
        await asked.stop()
        if await barrier.close():
            blocks.close()


async def _proved(node: JetStreamConnection, store: Path) -> BlockFiles:
    """The files of the node's stream. Raises `NotProved`, `Unavailable`."""
    stream = node.names.stream
    if sys.platform != "linux":
        raise NotProved(f"syncs of another process's writes are known of Linux, not of {sys.platform}", setting="sync")
    found = directories_of(store, stream)
    if not found:
        text = f"no files of the stream {stream} are in {store}, or they cannot be read: is it the server's store_dir?"
        raise NotProved(text, setting="nats_store")
    why = ""
    for directory in found:
        blocks = BlockFiles(directory)
        why = why_not_synced(directory) or await node.why_not_written(blocks.holds)
        if not why:
            return blocks
    raise NotProved(f"{why} ({', '.join(map(str, found))})", setting="sync")
