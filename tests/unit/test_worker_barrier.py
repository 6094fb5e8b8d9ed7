"""A barrier counts again only on a connection on which it was proved."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import pytest

from aether import worker_barrier
from aether.errors import Unavailable, UnreadableEvent
from aether.ids import Position
from aether.jetstream.adapters import JetStreamConnection
from aether.system.block_files import BlockFiles, Ground, Identity, SyncFailed
from aether.system.shared_failure import SharedFailure
from aether.system.sync_barrier import SyncBarrier
from aether.worker_barrier import _Proved, _proving_again, _sync
from tests.support.members import soon


class Nats:
    """A connection whose sessions the test changes."""

    def __init__(self) -> None:
        self.session: object = object()
        self._listeners: list[Callable[[object], None]] = []

    def listen(self, changed: Callable[[object], None]) -> Callable[[], None]:
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def change(self, session: object) -> None:
        """It is lost, or another one is there."""
        self.session = session
        for changed in self._listeners:
            changed(session)


class Node:
    """A node whose proofs the test lets end, with what they find."""

    def __init__(self) -> None:
        self.nats = Nats()
        self.proofs: list[asyncio.Future[str]] = []
        self.streams_missing: list[str] = []
        self.asked_for_streams = 0

    async def why_not_written(self, _: object) -> str:
        proof: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.proofs.append(proof)
        return await proof

    async def missing(self) -> list[str]:
        self.asked_for_streams += 1
        return self.streams_missing


class Settled:
    """Block files whose settings the test changes."""

    directory = Path("msgs")

    def __init__(self) -> None:
        self.ground = (0, 1, 1)
        self.gone = False

    def ground_now(self) -> Ground:
        if self.gone:
            raise FileNotFoundError(2, "No such file or directory")
        return self.ground

    def sync(self) -> Identity:
        return self.ground_now()[:2]


class Proving:
    """A barrier that is proved again, and what it tells."""

    def __init__(self, node: Node, proved_on: object) -> None:
        self.failed: list[str] = []
        self.files = Settled()
        self.barrier = SyncBarrier(self.files.sync, self.failed.append, lambda: (0, 1))
        files = cast(BlockFiles, self.files)
        self.end = _proving_again(
            cast(JetStreamConnection, node), files, {self.barrier: _Proved(files)}, self.failed.append, proved_on
        )

    async def tells(self) -> bool:
        """Whether who waits is told now."""
        told: list[str] = []
        self.barrier.after_write(Position(1), told.append)
        for _ in range(10):
            await asyncio.sleep(0)
        return told == [""]


@pytest.fixture
async def node() -> Node:
    return Node()


@pytest.fixture
async def proving(node: Node) -> AsyncIterator[Proving]:
    made = Proving(node, node.nats.session)
    yield made
    made.end()


async def test_on_the_connection_that_it_was_proved_on_it_counts(proving: Proving) -> None:
    assert await proving.tells()


async def test_on_another_connection_it_counts_once_it_is_proved_there(node: Node, proving: Proving) -> None:
    node.nats.change(None)
    assert not await proving.tells()
    node.nats.change(object())
    assert not await proving.tells()
    await soon(lambda: len(node.proofs) == 1)
    node.proofs[0].set_result("")
    await asyncio.sleep(0.01)
    assert await proving.tells()


@pytest.mark.parametrize("then", ["is lost", "is another one"])
async def test_a_proof_says_nothing_of_the_next_connection(node: Node, proving: Proving, then: str) -> None:
    node.nats.change(None)
    node.nats.change(object())
    await soon(lambda: len(node.proofs) == 1)
    node.proofs[0].set_result("")
    node.nats.change(None)
    if then == "is another one":
        node.nats.change(object())
    await asyncio.sleep(0.01)
    assert not await proving.tells()
    if then == "is lost":
        node.nats.change(object())
    await soon(lambda: len(node.proofs) == 2)
    assert not await proving.tells()
    node.proofs[1].set_result("")
    await asyncio.sleep(0.01)
    assert await proving.tells()


async def test_a_connection_that_was_replaced_after_the_first_proof_is_proved_anew(node: Node) -> None:
    proving = Proving(node, object())
    assert not await proving.tells()
    await soon(lambda: len(node.proofs) == 1)
    node.proofs[0].set_result("")
    await asyncio.sleep(0.01)
    assert await proving.tells()
    proving.end()


async def test_a_stream_that_is_set_otherwise_counts_once_it_is_proved(node: Node, proving: Proving) -> None:
    proving.files.ground = (0, 1, 2)
    assert not await proving.tells()
    await soon(lambda: len(node.proofs) == 1)
    proving.files.ground = (0, 1, 3)
    node.proofs[0].set_result("")
    await soon(lambda: len(node.proofs) == 2)
    assert not await proving.tells()
    node.proofs[1].set_result("")
    await asyncio.sleep(0.01)
    assert await proving.tells()
    proving.files.ground = (0, 1, 4)
    assert not await proving.tells()
    await soon(lambda: len(node.proofs) == 3)
    node.proofs[2].set_result("it has three replicas")
    await soon(lambda: proving.failed != [])


async def test_who_waits_for_a_sync_that_does_not_count_is_told_by_the_next_that_does(
    node: Node, proving: Proving
) -> None:
    told: list[str] = []
    proving.files.ground = (0, 1, 2)
    proving.barrier.after_write(Position(1), told.append)
    await soon(lambda: len(node.proofs) == 1)
    assert told == []
    node.proofs[0].set_result("")
    await soon(lambda: told == [""])


async def test_another_server_in_its_place_is_told(node: Node, proving: Proving) -> None:
    node.nats.change(None)
    node.nats.change(object())
    await soon(lambda: len(node.proofs) == 1)
    node.proofs[0].set_result("it does not stand in the file")
    await soon(lambda: len(proving.failed) == 1)
    assert not await proving.tells()


async def test_a_stream_whose_files_are_elsewhere_is_told(
    node: Node, proving: Proving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that a cluster has moved to another of its servers."""
    monkeypatch.setattr(worker_barrier, "LOOK_AGAIN_S", 0.0)
    proving.files.gone = True
    assert not await proving.tells()
    await soon(lambda: len(proving.failed) == 1)
    assert "not to be seen in msgs" in proving.failed[0]


async def test_a_stream_that_was_removed_is_waited_for(
    node: Node, proving: Proving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_barrier, "LOOK_AGAIN_S", 0.0)
    proving.files.gone, node.streams_missing = True, ["AETHER_TESTS"]
    assert not await proving.tells()
    await soon(lambda: node.asked_for_streams > 2 * worker_barrier.GONE_LOOKS)
    proving.files.gone, proving.files.ground = False, (0, 2, 1)
    await soon(lambda: len(node.proofs) == 1)
    node.proofs[0].set_result("")
    await asyncio.sleep(0.01)
    assert await proving.tells()
    assert proving.failed == []


@pytest.mark.parametrize("error", [Unavailable("no answer"), UnreadableEvent("of another version")])
async def test_a_proof_that_raises_is_made_again(
    node: Node, proving: Proving, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_barrier, "LOOK_AGAIN_S", 0.0)
    node.nats.change(None)
    node.nats.change(object())
    await soon(lambda: len(node.proofs) == 1)
    node.proofs[0].set_exception(error)
    await soon(lambda: len(node.proofs) == 2)
    assert not await proving.tells()
    node.proofs[1].set_result("")
    await asyncio.sleep(0.01)
    assert await proving.tells()


class Files:
    """The block files of one worker, whose sync fails when the test says so."""

    def __init__(self) -> None:
        self.error: OSError | None = None

    def sync(self) -> Identity:
        if self.error is not None:
            raise self.error
        return 0, 1


def synced(files: Files, sync_failure: SharedFailure) -> Identity:
    return _sync(cast(BlockFiles, files), sync_failure)


def test_when_a_sync_of_one_worker_has_failed_none_of_another_counts() -> None:
    one, other, sync_failure = Files(), Files(), SharedFailure()
    assert synced(one, sync_failure) == synced(other, sync_failure) == (0, 1)
    one.error = FileNotFoundError(2, "No such file or directory")
    with pytest.raises(FileNotFoundError):
        synced(one, sync_failure)
    assert synced(other, sync_failure) == (0, 1)
    one.error = SyncFailed(5, "Input/output error")
    with pytest.raises(SyncFailed, match="Input/output"):
        synced(one, sync_failure)
    with pytest.raises(SyncFailed, match="another worker"):
        synced(other, sync_failure)


def test_processes_that_were_forked_share_a_failure() -> None:
    sync_failure = SharedFailure()
    pid = os.fork()
    if pid == 0:
        sync_failure.set()
        os._exit(0)
    os.waitpid(pid, 0)
    assert sync_failure.happened


def test_a_program_that_is_executed_in_its_place_shares_a_failure_by_the_descriptor() -> None:
    sync_failure = SharedFailure()
    code = "import sys; from aether.system.shared_failure import SharedFailure; SharedFailure(int(sys.argv[1])).set()"
    subprocess.run([sys.executable, "-c", code, str(sync_failure.fd)], check=True, pass_fds=(sync_failure.fd,))
    assert sync_failure.happened
