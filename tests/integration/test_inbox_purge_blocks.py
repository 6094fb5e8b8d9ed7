"""The inbox of a real server is shortened by whole blocks, and no tell is lost, repeated or out of order."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import nats
import pytest

from aether.config import ConnectionConfig, StorageConfig
from aether.core.inbox_floor import last_start
from aether.errors import Unavailable
from aether.jetstream import inbox as jetstream_inbox
from aether.jetstream import inbox_beginning
from aether.jetstream.adapters import JetStreamConnection, connect_worker
from aether.jetstream.api import Batch, stream_info, stream_purge
from aether.system.block_files import block_starts, directories_of
from aether.system.clock import SystemClock
from tests.integration.test_tells_pool import paying, settled
from tests.powercut.small_blocks import make
from tests.support.durable import Durable
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

MODEL = "tests.support.shortened:model"
TELLS = 600


class SyncedAtOnce(Durable):
    """Everything is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.reach(1 << 60)


@asynccontextmanager
async def opened(server: NatsServer, namespace: str) -> AsyncIterator[JetStreamConnection]:
    """A node that reads the server's files."""
    config = ConnectionConfig(url=server.url)
    async with connect_worker(config, namespace, StorageConfig(), SystemClock()) as made:
        made.wait_for(SyncedAtOnce(), SyncedAtOnce())
        made.inbox.beginning.block_starts = partial(block_starts, blocks_of(server, namespace), made.names.tells_prefix)
        yield made


def blocks_of(server: NatsServer, namespace: str) -> Path:
    (directory,) = directories_of(server.store, f"AETHER_{namespace}_INBOX")
    return directory


def files_of(directory: Path) -> dict[str, int]:
    """The block files and their inodes: a block that is rewritten is another file."""
    return {one.name: one.stat().st_ino for one in directory.iterdir() if one.suffix == ".blk"}


async def ends(made: JetStreamConnection) -> tuple[int, int]:
    """The first and the last sequence, once the server answers."""
    while True:
        with suppress(Unavailable):
            state = (await stream_info(made.nats, made.names.inbox)).state
            assert state is not None
            return state.first_seq, state.last_seq
        await asyncio.sleep(0.02)


async def first_sequence(made: JetStreamConnection) -> int:
    return (await ends(made))[0]


async def shortened_by(made: JetStreamConnection, share: float) -> None:
    """Return when more than this share of what is there now has been removed, and something at least."""
    end = (await ends(made))[1]
    async with asyncio.timeout(200):  # its parts come every half minute
        while await first_sequence(made) <= max(1, share * end):  # noqa: ASYNC110 - the workers make progress
            await asyncio.sleep(0.05)


@asynccontextmanager
async def filled() -> AsyncIterator[tuple[NatsServer, str, JetStreamConnection]]:
    """A stream of some small blocks, with tells to two shards in turn."""
    namespace = fresh_namespace()
    with NatsServer() as server:
        await make(server.url, namespace)
        async with opened(server, namespace) as made:
            for n in range(TELLS):
                await made.inbox.send(n % 2, b"x" * 400, str(n))
            yield server, namespace, made


async def test_whole_blocks_go_and_none_is_rewritten() -> None:
    async with filled() as (server, namespace, made):
        directory, inbox = blocks_of(server, namespace), made.inbox
        starts = block_starts(directory, made.names.tells_prefix)
        assert len(starts) > 6
        assert starts[0] == 1
        before, since = files_of(directory), await inbox.made()
        assert await inbox.purge(starts[5] + 3, since) == starts[5] - 1
        assert await first_sequence(made) == starts[5]
        after = files_of(directory)
        assert after == {name: inode for name, inode in before.items() if name in after}
        assert len(before) - len(after) == 5
        assert [await inbox.next_tell(shard, 0) for shard in (0, 1)] == sorted(
            [starts[5], starts[5] + 1], key=lambda sequence: (sequence - 1) % 2
        )
        assert (await inbox.tells(0, 0)).messages[0].sequence in (starts[5], starts[5] + 1)


async def test_a_purge_that_comes_late_or_in_a_first_block_removes_nothing() -> None:
    async with filled() as (server, namespace, made):
        directory, inbox, since = blocks_of(server, namespace), made.inbox, await made.inbox.made()
        starts = block_starts(directory, made.names.tells_prefix)
        assert await inbox.purge(starts[1] - 1, since) == 0
        await inbox.purge(starts[4], since)
        before = files_of(directory)
        for early in (starts[3], starts[4], starts[4] + 1):
            assert await inbox.purge(early, since) == 0
        await stream_purge(made.nats, made.names.inbox, {"seq": starts[2]})
        assert files_of(directory) == before
        assert await first_sequence(made) == starts[4]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `filled` has: blocks of 32 kB."""
    monkeypatch.setattr(inbox_beginning, "BLOCK_BYTES_MAX", 32 * 1024)


@pytest.mark.usefixtures("small_blocks")
async def test_where_no_files_are_read_what_is_needed_is_in_no_block_that_is_rewritten() -> None:
    async with filled() as (server, namespace, made):
        directory = blocks_of(server, namespace)
        starts = block_starts(directory, made.names.tells_prefix)
        made.inbox.beginning.block_starts = None
        below, before = starts[-2] + 3, files_of(directory)
        count = await made.inbox.purge(below, await made.inbox.made())
        first = await first_sequence(made)
        assert first == count + 1
        assert last_start(starts, first) < last_start(starts, below), "they are in different blocks"
        after = files_of(directory)
        needed = sorted(before, key=lambda name: int(name.removesuffix(".blk")))[starts.index(starts[-2]) :]
        assert {name: after[name] for name in needed} == {name: before[name] for name in needed}
        assert len(after) < len(before)


async def test_a_block_that_the_server_rewrites_has_nothing_that_is_needed() -> None:
    """Blocks of 8 MB, of sixteen messages each, and the last but one of a block is needed."""
    namespace = fresh_namespace()
    with NatsServer() as server:
        async with opened(server, namespace) as made:
            made.inbox.beginning.block_starts = None
            for n in range(80):
                await made.inbox.send(0, b"x" * 500_000, str(n))
            directory = blocks_of(server, namespace)
            starts = block_starts(directory, made.names.tells_prefix)
            assert len(starts) == 5
            below, before = starts[4] - 2, files_of(directory)
            assert await made.inbox.purge(below, await made.inbox.made()) > 16
            after = files_of(directory)
            assert (after["4.blk"], after["5.blk"]) == (before["4.blk"], before["5.blk"])
            assert "1.blk" not in after
            await stream_purge(made.nats, made.names.inbox, {"seq": below})
            assert files_of(directory)["4.blk"] != before["4.blk"], "what the distance is for"


@pytest.mark.usefixtures("small_blocks")
async def test_where_no_files_are_read_not_much_more_is_read_than_removed() -> None:
    async with filled() as (server, namespace, made):
        starts = block_starts(blocks_of(server, namespace), made.names.tells_prefix)
        made.inbox.beginning.block_starts = None
        assert await made.inbox.purge(starts[2], await made.inbox.made()) == 0
        assert await first_sequence(made) == 1


async def test_where_no_files_are_read_the_distance_is_counted_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inbox_beginning, "BLOCK_BYTES_MAX", 100 * 1024)
    async with filled() as (_, _, made):
        made.inbox.beginning.block_starts = None
        for n in range(TELLS):
            await made.inbox.send(0, b"x" * (40_000 if n < 20 else 10), f"more {n}")
        end = (await ends(made))[1]
        assert await made.inbox.purge(end, await made.inbox.made()) > 0
        assert await first_sequence(made) <= TELLS + 17, "by the usual size of a message it would have been later"


async def test_a_row_that_a_replica_does_not_know_yet_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with filled() as (_, _, made):
        rows = [await made.inbox.write_dead_letter(n, b"row", 0) for n in (1, 2)]

        async def nothing(*_: object) -> Batch:
            return Batch([], more=False)

        monkeypatch.setattr(jetstream_inbox, "direct_batch", nothing)
        first = await made.inbox.dead_letters(0)
        assert ([one.sequence for one in first.messages], first.more) == (rows[:1], True)
        second = await made.inbox.dead_letters(rows[0] or 0)
        assert [one.sequence for one in second.messages] == rows[1:]
        assert not (await made.inbox.dead_letters(rows[1] or 0)).more


async def test_over_another_connection_nothing_is_removed() -> None:
    async with filled() as (server, namespace, made):
        starts, since = block_starts(blocks_of(server, namespace), made.names.tells_prefix), await made.inbox.made()
        server.kill()
        server.start()
        await ends(made)
        with pytest.raises(Unavailable):
            await made.inbox.purge(starts[4], since)
        assert await first_sequence(made) == 1


async def test_of_a_stream_that_was_made_anew_nothing_is_removed() -> None:
    async with filled() as (_, namespace, made):
        since = await made.inbox.made()
        async with await nats.connect(made.nats.shown) as connection:
            await connection.jetstream().delete_stream(made.names.inbox)
        await make(made.nats.shown, namespace)
        for n in range(TELLS):
            await made.inbox.send(0, b"x" * 400, f"again {n}")
        with pytest.raises(Unavailable):
            await made.inbox.purge(TELLS - 1, since)
        assert await first_sequence(made) == 1


async def test_where_a_block_begins_is_not_believed_when_its_first_message_was_removed() -> None:
    async with filled() as (server, namespace, made):
        starts = block_starts(blocks_of(server, namespace), made.names.tells_prefix)
        async with await nats.connect(server.url) as connection:
            await connection.jetstream().delete_msg(made.names.inbox, starts[3])
        assert starts[3] not in block_starts(blocks_of(server, namespace), made.names.tells_prefix)
        made.inbox.beginning.block_starts = lambda: starts
        assert await made.inbox.purge(starts[3], await made.inbox.made()) == 0, "read before it was removed"
        assert await first_sequence(made) == 1


async def test_a_server_that_dies_after_a_purge_has_what_stayed() -> None:
    async with filled() as (server, namespace, made):
        starts = block_starts(blocks_of(server, namespace), made.names.tells_prefix)
        assert await made.inbox.purge(starts[4], await made.inbox.made()) > 0
        server.kill()
        server.start()
        assert await ends(made) == (starts[4], TELLS)


async def test_files_that_are_gone_at_a_start_are_missed_by_no_reader() -> None:
    """As after a crash in the middle of a purge, or a power cut that kept some of the names that were removed."""
    async with filled() as (server, namespace, made):
        directory = blocks_of(server, namespace)
        starts = block_starts(directory, made.names.tells_prefix)
        server.kill()
        for number in (1, 2, 4):
            (directory / f"{number}.blk").unlink()
        server.start()
        assert await ends(made) == (starts[2], TELLS)
        assert await made.inbox.next_tell(0, starts[4] - 1) in (starts[4], starts[4] + 1)
        assert await made.inbox.purge(starts[4], await made.inbox.made()) == starts[3] - starts[2]
        assert await first_sequence(made) == starts[4]


@pytest.mark.parametrize("dies", ["workers", "server"])
async def test_transfers_are_exact_while_the_inbox_is_shortened(dies: str) -> None:
    namespace, chance = fresh_namespace(), random.Random(23)  # noqa: S311 - no secret
    with NatsServer() as server:
        await make(server.url, namespace)
        variables = {**os.environ, "AETHER_NATS_STORE": str(server.store), "AETHER_INBOX_PURGE": "true"}
        options = ["--nats", server.url, "--namespace", namespace, "--sync", "barrier", "--workers", "3"]
        firsts = [1]
        with Pool(MODEL, *options, variables=variables) as pool:
            async with paying(server.url, namespace) as payments, opened(server, namespace) as made:
                await payments.until_acknowledged(300)
                for round_ in range(4):
                    if dies == "workers":
                        pids = pool.worker_pids(3 + round_)
                        os.kill(pids[chance.randrange(3)], signal.SIGKILL)
                    else:
                        server.kill()
                        server.start()
                    await payments.until_acknowledged(400)
                    firsts.append(await first_sequence(made))
                # A server that is started again goes on with blocks of the usual size.
                await shortened_by(made, 1 / 4 if dies == "workers" else 0)
            found, count = await settled(payments, server.url, namespace)
            assert found == ""
            assert count > 1_500
    assert firsts == sorted(firsts)
