"""What a worker does where the server's acknowledgement is not the disk's: it proves that a sync of its own will do.

A server on this machine that does not sync every write is faster by far, and what it has written is made durable by a
sync of the stream's file (`aether.system.sync_barrier`). Where that cannot be proved nothing is begun.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from errno import EIO
from functools import partial
from pathlib import Path

from aether.background import Background
from aether.config import ConnectionConfig, StorageConfig
from aether.errors import AetherError, ConfigError, Unavailable
from aether.jetstream.adapters import JetStreamConnection, connect_worker
from aether.log_lines import words
from aether.system.block_files import (
    DISK_FAILS,
    BlockFiles,
    Ground,
    Identity,
    SyncFailed,
    block_starts,
    directories_of,
    why_not_synced,
)
from aether.system.clock import SystemClock
from aether.system.environment import boot_id
from aether.system.shared_failure import SharedFailure
from aether.system.sync_barrier import SyncBarrier

LOOK_AGAIN_S = 0.2
GONE_LOOKS = 10
"""So many times in a row the server has the streams and their files are not there: then they are elsewhere."""

DISK_FAILED = "disk_failed"
"""The detail of an error that says that the disk with the server's files fails."""

log = logging.getLogger("aether.barrier")


class NotProved(ConfigError):
    """A sync of the server's files would prove nothing here."""


def _failing(error: OSError) -> AetherError:
    """Of a disk that fails: nothing may rest on it, whichever process syncs."""
    return AetherError(f"the disk with the files of the server fails: {error.strerror}", **{DISK_FAILED: True})


def durability(storage: StorageConfig) -> str:
    """What the row of a worker says of how it makes commits durable: see `aether.core.cluster.membership.MemberRow`."""
    return f"sync barrier, boot {boot_id()}" if storage.sync == "barrier" else ""


async def why_no_barrier(connection: ConnectionConfig, namespace: str, storage: StorageConfig) -> str:
    """Why a sync barrier would prove nothing for this server and these files; "" when one can be begun.

    The namespace is made when it is not there. Raises `ConfigError` for what keeps it from being used in any case,
    `Unavailable`, and `AetherError` for a disk that fails.
    """
    async with connect_worker(connection, namespace, storage, SystemClock()) as node:
        try:
            proved, _ = await _proved(node, Path(storage.nats_store))
            await asyncio.to_thread(proved.blocks.sync)
        except NotProved as error:
            return error.message
        except SyncFailed as error:  # reported once: a later sync hears nothing of it
            raise _failing(error) from error
        except OSError as error:
            return f"the files of the server cannot be synced: {error}"
        proved.blocks.close()
    return ""


@asynccontextmanager
async def sync_barrier(
    node: JetStreamConnection,
    store: Path,
    sync_failure: SharedFailure,
    failed: Callable[[str], None],
    waits: Callable[[], None],
) -> AsyncIterator[None]:
    """Meanwhile what `node` has stored and read is on the disk. `store` is the server's `store_dir`.

    `failed` is called when a sync has failed, in any worker with this `sync_failure`, or another server is in its place
    whose acknowledgements mean less: from then on nothing is stored any more. `waits` is called now and then while the
    server stores nothing. Raises `NotProved` where the server's files are not found or what it acknowledges does not
    stand in them, `Unavailable`.
    """
    async with AsyncExitStack() as stack:
        (proved, proved_inbox), session = await _proved_in_time(node, store, waits)
        blocks, told = proved.blocks, proved_inbox.blocks
        sync = partial(_sync, blocks, sync_failure)
        try:
            await asyncio.to_thread(sync)  # the first one takes in all there is
        except OSError as error:
            failed(f"the files of the server cannot be synced: {error}")
            raise Unavailable("nothing can be made durable") from error
        commits = SyncBarrier(sync, failed, blocks.identity)
        inbox = SyncBarrier(partial(_sync, told, sync_failure), failed, told.identity)
        stack.push_async_callback(_closed, commits, blocks)
        stack.push_async_callback(_closed, inbox, told)
        counted = {commits: proved, inbox: proved_inbox}
        stack.callback(_proving_again(node, blocks, counted, failed, session))
        node.wait_for(commits, inbox)
        node.inbox.beginning.block_starts = partial(block_starts, told.directory, node.names.tells_prefix)
        for barrier, subject in ((commits, node.names.durable()), (inbox, node.names.inbox_durable())):
            asked = await node.transport.answer_durable(barrier, subject)
            stack.push_async_callback(asked.stop)
        yield


class _Proved:
    """Files of a stream of which it was proved, as it was then, that a sync makes durable what is acknowledged."""

    def __init__(self, blocks: BlockFiles) -> None:
        self.blocks = blocks
        self.ground = _ground_now(blocks)


def _inbox_of(node: JetStreamConnection, blocks: BlockFiles) -> BlockFiles:
    """The files of the inbox stream, beside those of the commits: what was proved of the server holds for both."""
    return BlockFiles(blocks.directory.parent.parent / node.names.inbox / blocks.directory.name)


def _sync(blocks: BlockFiles, sync_failure: SharedFailure) -> Identity:
    """`BlockFiles.sync`, which fails from when one has failed in any worker of the pool."""
    try:
        stream = blocks.sync()
    except SyncFailed:
        sync_failure.set()
        raise
    if sync_failure.happened:  # looked at last, as the other one may have failed meanwhile
        raise SyncFailed(EIO, "a sync of another worker of the pool has failed")
    return stream


async def _closed(barrier: SyncBarrier, blocks: BlockFiles) -> None:
    if await barrier.close():
        blocks.close()


def _proving_again(
    node: JetStreamConnection,
    blocks: BlockFiles,
    barriers: Mapping[SyncBarrier, _Proved],
    failed: Callable[[str], None],
    proved_on: object,
) -> Callable[[], None]:
    """Prove on each connection but the one it was proved on that it is still so, before a sync counts again.

    The same when a stream was made anew or is set otherwise. Returns what ends it.
    """
    proof, background = _ProofAgain(node, blocks, barriers, failed), Background()
    proving = background.forever("aether proof of the sync barrier", proof.again_and_again)
    for barrier, proved in barriers.items():
        barrier.counts = partial(proof.counts, proved)
        barrier.unsure = proof.again
    unlisten = node.nats.listen(proof.connected)
    if node.nats.session is not proved_on:
        proof.connected(node.nats.session)

    def end() -> None:
        unlisten()
        proving.cancel()

    return end


class _ProofAgain:
    """The proof that is made again, and what makes it needed."""

    def __init__(
        self,
        node: JetStreamConnection,
        blocks: BlockFiles,
        barriers: Mapping[SyncBarrier, _Proved],
        failed: Callable[[str], None],
    ) -> None:
        self._node = node
        self._blocks = blocks
        self._barriers = barriers
        self._failed = failed
        self._needed = asyncio.Event()
        self._looks_gone = 0

    def again(self) -> None:
        """A sync could not be made: the files may be others, or elsewhere."""
        self.connected(self._node.nats.session)

    def connected(self, session: object) -> None:
        """The connection is lost, or another one is there."""
        for barrier in self._barriers:
            barrier.hold()
        if session is not None:
            self._needed.set()

    def counts(self, proved: _Proved) -> bool:
        """Whether the last sync was of what was proved."""
        same = proved.blocks.ground == proved.ground
        if not same:
            self.again()
        return same

    async def again_and_again(self) -> None:
        """Prove whenever it is needed."""
        while True:
            await self._needed.wait()
            self._needed.clear()
            try:
                await self._prove(self._node.nats.session)
            except BaseException:  # it is made again: until then nothing is answered
                self._needed.set()
                raise

    async def _prove(self, session: object) -> None:
        grounds = {proved: _ground_now(proved.blocks) for proved in self._barriers.values()}
        gone = [proved.blocks.directory for proved, ground in grounds.items() if ground is None]
        if gone:
            why = await self._why_gone(gone[0])
        else:
            self._looks_gone = 0
            why = await _why_not_written(self._node, self._blocks)
        if why is None:
            await asyncio.sleep(LOOK_AGAIN_S)
            self._needed.set()
        elif why:
            self._failed(f"another server is in its place, or it is set otherwise: {why}")
        elif session is not None and session is self._node.nats.session and not self._needed.is_set():
            for proved, ground in grounds.items():
                proved.ground = ground or proved.ground
            for barrier in self._barriers:
                barrier.go_on()

    async def _why_gone(self, directory: Path) -> str | None:
        """Why there are no files here; None while the stream may be gone, too, or may have just been made anew."""
        try:
            missing = bool(await self._node.missing())
        except Unavailable:
            missing = True
        self._looks_gone = 0 if missing else self._looks_gone + 1
        if self._looks_gone < GONE_LOOKS:
            return None
        return f"the server has the stream, and its files are not to be seen in {directory}"


def _ground_now(blocks: BlockFiles) -> Ground | None:
    """None while there is no such stream."""
    try:
        return blocks.ground_now()
    except OSError:
        return None


async def _why_not_written(node: JetStreamConnection, blocks: BlockFiles) -> str | None:
    """Why the proof has failed; "" when it has not, None when the server stores nothing now."""
    try:
        return await node.why_not_written(blocks)
    except Unavailable:
        return None
    except OSError as error:
        return str(error)


async def _proved_in_time(
    node: JetStreamConnection, store: Path, waits: Callable[[], None]
) -> tuple[tuple[_Proved, _Proved], object]:
    """`_proved`, once the server stores something, and on which connection: a full disk has room again some time."""
    while True:
        session = node.nats.session
        try:
            return await _proved(node, store), session
        except Unavailable as error:
            log.info("it is not known yet whether a sync makes stored events durable", extra={"error": words(error)})
        waits()
        await asyncio.sleep(LOOK_AGAIN_S)


async def _proved(node: JetStreamConnection, store: Path) -> tuple[_Proved, _Proved]:
    """The files of the node's stream of commits, and those of its inbox, which lie beside.

    Raises `NotProved`, `Unavailable`, and `AetherError` for a disk that fails.
    """
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
        try:
            proved = _Proved(blocks), _Proved(_inbox_of(node, blocks))
            why = why_not_synced(directory) or await node.why_not_written(blocks)
            why = why or why_not_synced(proved[1].blocks.directory)
            if not why:
                return proved
        except OSError as error:
            if error.errno in DISK_FAILS:
                raise _failing(error) from error
            why = f"its files cannot be read: {error.strerror}"
    raise NotProved(f"{why} ({', '.join(map(str, found))})", setting="sync")
