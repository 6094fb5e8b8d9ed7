"""Proxies: a call only makes an awaitable; everything happens when it is awaited."""

import asyncio
import copy
import warnings
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Raw

from aether.errors import InvalidCommand, UnknownActor, UnknownCommand
from aether.ids import ActorId
from aether.model.actor import Actor
from aether.model.handlers import command, event
from aether.model.model import Model
from aether.model.proxy import proxy_of
from aether.wire import Answer


@dataclass
class Deposited:
    """Money came in."""

    amount: int


class Account(Actor):
    """One command."""

    @command
    def deposit(self, amount: int) -> int:
        """Not run here."""
        return amount

    @event
    def deposited(self, e: Deposited) -> None:
        """Not run here."""


MODEL = Model("bank", actors=[Account])


class Sent:
    """What was sent, answered with the count."""

    def __init__(self) -> None:
        self.messages: list[tuple[ActorId, str, bytes]] = []

    async def send(self, actor_id: ActorId, command: str, args: bytes) -> Answer:
        """Take a command."""
        self.messages.append((actor_id, command, args))
        return Answer(ok=True, value=Raw(b"%d" % len(self.messages)))


async def test_a_call_is_sent_when_it_is_awaited() -> None:
    sent = Sent()
    proxy = proxy_of(MODEL, Account, "alice", sent.send)
    first, second = proxy.deposit(5), proxy.deposit(amount=6)
    assert sent.messages == []
    assert [*await asyncio.gather(first, second)] == [1, 2]
    alice = ActorId("account", "alice")
    assert sent.messages == [(alice, "deposit", b'{"amount":5}'), (alice, "deposit", b'{"amount":6}')]


@pytest.mark.parametrize(
    ("kind", "key", "call", "error"),
    [
        ("account", "alice", lambda proxy: proxy.withdraw(5), UnknownCommand),
        ("account", "alice", lambda proxy: proxy.deposit("5"), InvalidCommand),
        ("account", "alice", lambda proxy: proxy.deposit(5, 6), InvalidCommand),
        ("account", "", lambda proxy: proxy.deposit(5), InvalidCommand),
        (Account, "\ud800", lambda proxy: proxy.deposit(5), InvalidCommand),
        ("nobody", "alice", lambda proxy: proxy.anything(1, x=2), UnknownActor),
        (Actor, "alice", lambda proxy: proxy.deposit(5), UnknownActor),
    ],
)
async def test_every_error_is_raised_when_the_call_is_awaited(
    kind: Any, key: str, call: Any, error: type[Exception]
) -> None:
    sent = Sent()
    waiting: Coroutine[Any, Any, Any] = call(proxy_of(MODEL, kind, key, sent.send))
    with pytest.raises(error):
        await waiting
    assert sent.messages == []


@pytest.mark.parametrize("key", ["alice", ""])
def test_probes_of_private_names_find_nothing(key: str) -> None:
    proxy = proxy_of(MODEL, Account, key, Sent().send)
    for name in ("_repr_html_", "__wrapped__", "_deposit"):
        assert not hasattr(proxy, name)
    assert "proxy" in repr(copy.copy(proxy))


def test_a_call_that_is_never_awaited_is_named_in_pythons_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        proxy_of(MODEL, Account, "alice", Sent().send).deposit(5)
    assert [str(one.message) for one in caught] == ["coroutine 'account.deposit' was never awaited"]
