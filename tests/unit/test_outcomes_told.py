"""What a caller is told of an outcome is true on every path: refusals, replies and queries too large to be sent."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from aether import (
    Actor,
    ActorFailed,
    ActorId,
    DeadlineExceeded,
    InvalidCommand,
    Model,
    Rejected,
    ReplyNotDelivered,
    command,
    event,
    query,
)
from aether.calls import Caller
from aether.config import CallConfig
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.model.proxy import proxy_of
from aether.wire import Answer
from tests.support.nodes import history, node

MESSAGE_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Written:
    """A page was written."""

    size: int


class Book(Actor):
    """Everything about it can be large."""

    pages: int = 0

    @command
    def write(self, size: int) -> str:
        """A reply that is in the commit too."""
        self.emit(Written(size))
        return "x" * size

    @command
    def read_aloud(self, size: int) -> str:
        """A command without events."""
        return "x" * size

    @command
    def refuse(self, size: int) -> None:
        """Emit, then decide no, with large details."""
        self.emit(Written(size))
        raise Rejected("no", size=size, page="x" * size)

    @command
    def fail(self, size: int) -> None:
        """Emit, then have a bug with a large text."""
        self.emit(Written(size))
        raise ValueError("y" * size)

    @query
    def page(self, size: int) -> str:
        """A large page."""
        return "x" * size

    @event
    def written(self, e: Written) -> None:
        """Count it."""
        self.pages += 1


model = Model("books", actors=[Book])
BOOK = ActorId("book", "b")


def caller(client: InMemoryConnection, **config: Any) -> Caller:
    """Calls as a client makes them."""
    ids = iter(f"c-{n}" for n in range(100))
    return Caller(client.transport, client.clock, CallConfig(**config), new_id=lambda: next(ids), jitter=lambda: 0.0)


async def test_each_answer_too_large_to_be_sent_tells_its_outcome() -> None:
    server = InMemoryServer(payload_bytes_max=MESSAGE_BYTES)
    async with node(server, model=model) as runtime, InMemoryConnection(server, "tests") as client:
        book = proxy_of(model, Book, "b", caller(client).call)
        assert await book.write(size=5) == "xxxxx"
        with pytest.raises(Rejected, match=r"^no \(shortened") as refused:
            await book.refuse(size=2 * MESSAGE_BYTES)
        assert refused.value.details == {"size": 2 * MESSAGE_BYTES, "left_out": ["page"]}
        with pytest.raises(ActorFailed, match="ValueError: yyy") as failed:
            await book.fail(size=2 * MESSAGE_BYTES)
        assert failed.value.actor == "book/b"
        with pytest.raises(InvalidCommand, match="nothing was stored"):
            await book.write(size=2 * MESSAGE_BYTES)
        [event] = await history(runtime, BOOK)
        assert event.version == 1
        for ask in (book.read_aloud, book.page):
            with pytest.raises(ReplyNotDelivered, match="succeeded") as told:
                await ask(size=2 * MESSAGE_BYTES)
            last = await runtime.event_store.last(BOOK)
            assert last is not None
            assert (told.value.version, told.value.position) == (1, last.position)


async def test_a_remembered_reply_that_cannot_be_sent_any_more_still_tells_its_version() -> None:
    """The server that is there now takes smaller messages than the one that the command was answered by."""
    server = InMemoryServer(payload_bytes_max=MESSAGE_BYTES)
    async with node(server, model=model) as runtime, InMemoryConnection(server, "tests") as client:
        calls = caller(client)
        args = b'{"size": 4000}'
        first = await calls.call(BOOK, "write", args, command_id="mine")
        for link in (client, runtime.connection):
            link.payload_bytes_max = 2_000  # type: ignore[attr-defined]  # as a server with another setting has it
        with pytest.raises(ReplyNotDelivered) as told:
            await calls.call(BOOK, "write", args, command_id="mine")
        assert (told.value.version, told.value.position) == (first.version, first.position) == (1, first.position)
        assert len(await history(runtime, BOOK)) == 1


class Answering:
    """A send that answers with a reply of another type."""

    async def __call__(self, actor_id: ActorId, name: str, args: bytes) -> Answer:
        """An answer of version 3."""
        return Answer(ok=True, version=3, position=9)


async def test_a_reply_that_the_callers_model_cannot_read_still_tells_its_version() -> None:
    with pytest.raises(ReplyNotDelivered, match=r"declared type.*succeeded") as told:
        await proxy_of(model, Book, "b", Answering()).write(size=1)
    assert (told.value.version, told.value.position) == (3, 9)


async def test_a_query_without_an_answer_has_stored_nothing_and_a_command_may_have() -> None:
    server = InMemoryServer()
    async with InMemoryConnection(server, "tests") as deaf, InMemoryConnection(server, "tests") as client:
        for shard in range(client.shards):
            await deaf.transport.serve(shard, lambda _: None)
        book = proxy_of(model, Book, "b", caller(client, deadline_s=0.05, attempt_timeout_s=0.01).call)
        for ask, known in ((book.page, True), (book.write, False)):
            with pytest.raises(DeadlineExceeded, match="no answer") as late:
                await asyncio.wait_for(ask(size=1), 10)
            assert late.value.outcome_known is known
            assert late.value.details["outcome_known"] is known
