"""A stream of states: what it makes of answers and commits that meet in an unlucky order."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aether.errors import ActorFailed, AetherError, HistoryRegressed, Unavailable, UnreadableEvent
from aether.ids import ActorId, Position
from aether.ports import START, StoredCommit
from aether.state_stream import StateStream
from aether.testing import local_pool
from aether.wire import Answer
from tests.support.actors import Account, model

ALICE = ActorId("account", "alice")


class Source:
    """What a stream of alice's states asks: the test says what the worker answers, and hands commits over."""

    def __init__(self, answers: list[Answer], commits: list[StoredCommit]) -> None:
        self.answers = answers
        self.commits = commits
        self.asked: Answer | Unavailable = answers[0]
        self.in_the_store: list[StoredCommit] = []
        self.receive: Callable[[StoredCommit], None]
        self.stopped = False
        self.stream: StateStream[Account] = StateStream(
            ALICE, model.actor_types["account"], begin=self.begin, ask=self.ask, read=self.read
        )

    async def begin(self, receive: Callable[[StoredCommit], None]) -> "Source":
        self.receive = receive
        return self

    async def stop(self) -> None:
        self.stopped = True

    async def ask(self) -> Answer:
        if isinstance(self.asked, Unavailable):
            raise self.asked
        return self.asked

    async def read(self, after: Position) -> AsyncIterator[list[StoredCommit]]:
        yield [commit for commit in self.in_the_store if commit.position > after]

    async def versions(self, count: int) -> list[int]:
        return [(await anext(self.stream)).version for _ in range(count)]


@pytest.fixture
async def source() -> Source:
    """Five deposits of 1, and the worker's answer to `aether.state` before and after each."""
    async with local_pool(model, workers=1) as pool:
        untyped = pool.client.untyped
        answers = [await untyped.state_answer(ALICE)]
        for _ in range(5):
            await pool.client.actor(Account, "alice").deposit(1)
            answers.append(await untyped.state_answer(ALICE))
        commits: list[StoredCommit] = []
        async for batch in untyped.stored(START, await untyped.last_position()):
            commits += batch
    return Source(answers, commits)


async def test_a_commit_that_is_stored_and_neither_in_the_state_nor_received_is_read(source: Source) -> None:
    source.asked, source.in_the_store = source.answers[1], source.commits[:3]
    async with source.stream:
        source.receive(source.commits[3])
        assert await source.versions(4) == [1, 2, 3, 4]


async def test_commits_that_are_received_although_they_are_in_the_state_are_left_out(source: Source) -> None:
    source.asked = source.answers[3]
    async with source.stream:
        for commit in source.commits:
            source.receive(commit)
        assert await source.versions(3) == [3, 4, 5]


async def test_a_history_with_a_hole_ends_it(source: Source) -> None:
    async with source.stream as states:
        source.receive(source.commits[0])
        source.receive(source.commits[2])
        assert await source.versions(2) == [0, 1]
        for _ in range(2):
            with pytest.raises(HistoryRegressed):
                await anext(states)


async def test_a_commit_that_cannot_be_read_ends_it(source: Source) -> None:
    first = source.commits[0]
    async with source.stream as states:
        source.receive(StoredCommit(ALICE, first.position, first.payload.replace(b"Deposited", b"Donated")))
        source.receive(source.commits[1])
        assert await source.versions(1) == [0]
        for _ in range(2):
            with pytest.raises(UnreadableEvent, match="Donated"):
                await anext(states)


async def test_a_state_that_cannot_be_shown_is_an_error_of_the_actor(source: Source, monkeypatch: Any) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(type(model.actor_types["account"]), "encode_state", broken)
    async with source.stream as states:
        with pytest.raises(ActorFailed, match=r"account/alice at version 0 cannot be shown.*a bug"):
            await anext(states)


async def test_what_cannot_begin_is_not_left_open(source: Source) -> None:
    source.asked = Unavailable("away")
    with pytest.raises(Unavailable):
        await anext(source.stream)
    assert source.stopped
    source.asked = source.answers[0]
    assert await source.versions(1) == [0]


async def test_a_state_that_cannot_be_caught_up_with_is_asked_for_again(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aether.state_stream.COMMITS_BEHIND_MAX", 2)
    async with source.stream as states:
        assert await source.versions(1) == [0]
        source.asked = Unavailable("away")
        for commit in source.commits[:4]:
            source.receive(commit)
            assert len(states._waiting) <= 2, "what is held for a slow reader is bounded"
        for _ in range(2):
            with pytest.raises(Unavailable):
                await anext(states)
        source.asked = source.answers[4]
        source.receive(source.commits[4])
        assert await source.versions(2) == [4, 5]


async def test_the_state_of_another_model_is_named(source: Source) -> None:
    source.asked = replace_value(source.answers[1], b'{"id":{"kind":"account","key":"alice"},"version":1,"state":[]}')
    with pytest.raises(AetherError, match="is not of the type that this model declares"):
        await anext(source.stream)


def replace_value(answer: Answer, value: bytes) -> Answer:
    """The answer with another value."""
    return type(answer)(value=type(answer.value)(value), version=answer.version, position=answer.position)
