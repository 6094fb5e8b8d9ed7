"""States, histories and subscriptions."""

from typing import Any, assert_type

from aether import ActorId, ActorState, Client, HistoryEvent, StateStream
from aether.ids import Position, Version
from tests.typing.bank import Account, Closed, Deposited, Withdrawn
from tests.typing.deciders import counter


async def states(client: Client) -> None:
    """The state is the actor's class, detached."""
    found = await client.state(Account, "alice", version=3)
    assert_type(found, ActorState[Account])
    assert_type(found.id, ActorId)
    assert_type(found.id.key, str)
    assert_type(found.state.balance, int)
    assert_type(found.state.is_empty, bool)
    assert_type(found.version, Version)
    assert_type(found.position, Position)
    assert_type(found.as_dict(), dict[str, Any])
    assert_type(await client.state(counter, "a"), ActorState[int])
    assert_type(await client.state("account", "alice"), ActorState[Any])
    found.version = Version(1)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    found.state.amount  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def histories(client: Client) -> None:
    """Events of a class are objects to match on, those of a decider its events, those of a name anything."""
    history = await client.history(Account, "alice")
    assert_type(history, list[HistoryEvent[object]])
    async for stored in client.history(Account, "alice", after_version=2):
        match stored.event:
            case Deposited(amount):
                assert_type(amount, int)
            case Withdrawn() as withdrawn:
                assert_type(withdrawn.amount, int)
            case _:
                pass
    assert_type((await client.history("account", "alice"))[0].event, Any)
    history[0].event.amount  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def subscriptions(client: Client) -> None:
    """A subscription gives the events that it names."""
    async with client.subscribe(Deposited) as deposits:
        stored = await anext(deposits)
        assert_type(stored, HistoryEvent[Deposited])
        assert_type(stored.event.amount, int)
    async for either in client.subscribe(Deposited, Withdrawn, deadline_s=3):
        assert_type(either.event, Deposited | Withdrawn)
    async for one in client.subscribe(Deposited, Withdrawn, Closed):
        assert_type(one.event, Deposited | Withdrawn | Closed)
    async for anything in client.subscribe():
        assert_type(anything.event, object)


async def followed(client: Client) -> None:
    """Each state that is followed is the actor's class, detached."""
    async with client.follow(Account, "alice") as states:
        assert_type(states, StateStream[Account])
        assert_type(await anext(states), ActorState[Account])
    async for now in client.follow(Account, "alice", deadline_s=3):
        assert_type(now.state.balance, int)
    async for count in client.follow(counter, "a"):
        assert_type(count.state, int)
    async for anything in client.follow("account", "alice"):
        assert_type(anything.state, Any)
    client.follow(int, "alice")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]
