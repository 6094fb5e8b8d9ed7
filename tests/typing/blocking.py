"""The client for code without asyncio: what it reads is typed, what it calls is Any."""

from collections.abc import Iterator
from typing import Any, assert_type

import aether
from aether import ActorState, BlockingClient, HistoryEvent
from tests.typing.bank import Account, Deposited, Withdrawn, model
from tests.typing.deciders import Added, WasReset, counter


def reads(client: BlockingClient) -> None:
    """As the asynchronous client's, without awaiting."""
    assert_type(client.state(Account, "alice"), ActorState[Account])
    assert_type(client.state(counter, "a").state, int)
    assert_type(client.state("account", "alice"), ActorState[Any])
    assert_type(client.history(Account, "alice"), Iterator[HistoryEvent[object]])
    assert_type(client.history(counter, "a"), Iterator[HistoryEvent[Added | WasReset]])
    assert_type(list(client.keys(Account)), list[str])
    with client.subscribe(Deposited) as deposits:
        assert_type(next(deposits).event.amount, int)
    for either in client.subscribe(Deposited, Withdrawn):
        assert_type(either.event, Deposited | Withdrawn)
    with client.follow(Account, "alice") as states:
        assert_type(next(states), ActorState[Account])
    for count in client.follow(counter, "a"):
        assert_type(count.state, int)


def calls() -> None:
    """A reply comes at once, so the actor's class, whose methods are awaited, is not its type."""
    with aether.connect_blocking(model=model) as client:
        assert_type(client, BlockingClient)
        assert_type(client.actor(Account, "alice"), Any)
        assert_type(client.using(command_id="c-1"), BlockingClient)
