"""Calls that both checkers refuse."""

from aether import Client, Command
from tests.typing.bank import Account, Order


class Other:
    """No actor."""


async def arguments(client: Client) -> None:
    """A call takes the handler's parameters and no others."""
    account = client.actor(Account, "alice")
    await account.deposit("10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await account.deposit()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await account.deposit(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await account.deposit(sum=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await account.withdraw(1, "", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await account.by_place(first=1, second=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await account.order(Order("tea"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await account.report(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def replies(client: Client) -> None:
    """A reply is of its type."""
    text: str = await client.actor(Account, "alice").deposit(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(text)


async def names(client: Client) -> None:
    """What an actor does not have cannot be called, and an event is no command."""
    await client.actor(Account, "alice").pay(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    client.actor(Other, "alice")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def not_awaited(client: Client) -> None:
    """A call that is not awaited does nothing."""
    client.actor(Account, "alice").deposit(1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]


def on_the_class() -> None:
    """A command is not a query, nor of another actor or with other parameters."""
    query: Command[Account, [], int] = Account.statement  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    other: Command[Account, [str], int] = Account.deposit  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(query, other)
