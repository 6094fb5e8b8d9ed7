"""The test kit: arguments and replies of a command that is given as such are checked."""

from typing import Any, assert_type

from aether import Client
from aether.testing import Given, given, local_pool
from tests.typing.asking import Teller, shop
from tests.typing.bank import Account, Closed, Deposited, model


def stories() -> None:
    """A command by itself has its parameters, one by its name has any."""
    outcome = given(Account, Deposited(10)).when(Account.withdraw, 4, force=True)
    assert_type(outcome.reply, int | None)
    assert_type(given(Account).when(Account.audit, "eve").reply, list[str])
    assert_type(given(Account).when("withdraw", 4).reply, Any)
    assert_type(given(shop, Closed()), Given[Any])
    assert_type(outcome.then(reply=6), Given[Account])
    outcome.then(reply=6).when(Account.statement).then(reply=6)


def refused() -> None:
    """Arguments that the command does not have."""
    given(Account).when(Account.deposit, "4")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    given(Account).when(Account.deposit)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    given(Teller).when(Account.deposit, 4)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    given(Teller).when("move", "a", "b", 4).then().when(Account.deposit, 4)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def pools() -> None:
    """A pool in memory has a client."""
    async with local_pool(model) as pool:
        assert_type(pool.client, Client)
        assert_type(await pool.client.actor(Account, "alice").deposit(1), int)
