"""Calls through a proxy: parameters and replies are the handlers'."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_type

import aether
from aether import Client, Command, Query, Runtime
from aether.testing import local_runtime
from tests.typing.bank import Account, Address, Opening, Order, model


async def replies(client: Client) -> None:
    """Every form of a handler gives an awaitable of its reply."""
    account = client.actor(Account, "alice")
    assert_type(account, Account)
    assert_type(await account.deposit(10), int)
    assert_type(await account.deposit(amount=10), int)
    assert_type(await account.withdraw(10, "rent", force=True), int | None)
    assert_type(await account.by_place(1, second=2), tuple[int, int])
    assert_type(await account.audit("eve"), list[str])
    assert_type(await account.print_statement(), bytes)
    await account.touch()
    assert_type(await account.touch_later(), float)
    assert_type(await account.move(Address(street="High Street")), Address)
    assert_type(await account.order([Order("tea")]), dict[str, Order])
    assert_type(await account.open(Opening("alice")), Opening)
    assert_type(await account.statement(), int)
    assert_type(await account.statement_at(datetime.now().astimezone()), Decimal)
    assert_type(await account.report(), str)
    assert_type(await client.actor(Account, "alice", deadline_s=2, command_id="c1").deposit(10), int)


async def by_name(client: Client, runtime: Runtime) -> None:
    """A kind that is only named is Any, and so is all that it gives."""
    assert_type(client.actor("account", "alice"), Any)
    assert_type(runtime.actor("account", "alice"), Any)


async def in_one_process(runtime: Runtime) -> None:
    """A runtime's proxies are a client's."""
    assert_type(await runtime.actor(Account, "alice", command_id="c1").deposit(10), int)
    async with local_runtime(model) as local:
        assert_type(local, Runtime)
        assert_type(await local.actor(Account, "alice").statement(), int)


async def connected() -> None:
    """What `connect` gives is a client."""
    async with aether.connect(model=model) as client:
        assert_type(client, Client)


async def many_at_once(client: Client) -> None:
    """A call is a coroutine, so that tasks and groups take it."""
    account = client.actor(Account, "alice")
    call = account.deposit(1)
    _coroutine: Coroutine[object, None, int] = call
    assert_type(await call, int)
    balance, lines = await asyncio.gather(account.deposit(1), account.audit("eve"))
    assert_type(balance, int)
    assert_type(lines, list[str])
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(account.deposit(1)), asyncio.Task[int])


def on_the_class() -> None:
    """On its class a command is itself."""
    assert_type(Account.statement, Query[Account, [], int])
    _deposit: Command[Account, [int], int] = Account.deposit
    _then: Callable[[Account, int], object] = Account.deposit
    assert_type(Account.deposit.name, str)
    assert_type(Account.deposit.kind, str)
    assert_type(Account.highest(1, 2), int)
    assert_type(Account.lowest(1, 2), int)


async def options(client: Client) -> None:
    """The same client with other options."""
    assert_type(client.using(deadline_s=2, correlation_id="o-7"), Client)
    assert_type(await client.using(caller="shop").actor(Account, "alice").deposit(1), int)
    client.using(deadline="2")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
