"""A pool in memory: what is told and fails is tried again by the pool's clock."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from aether import Actor, Model, RuntimeConfig, command, event
from aether.testing import local_pool
from aether.testing.clock import PoolClock

RATES: dict[str, int] = {}


@dataclass(frozen=True)
class MoneyIn:
    """Money has come."""

    cents: int


class Account(Actor):
    """One that takes the currencies of `RATES`."""

    balance: int = 0

    @command
    def receive(self, cents: int, currency: str) -> None:
        self.emit(MoneyIn(cents * RATES[currency]))

    @event
    def money_in(self, e: MoneyIn) -> None:
        self.balance += e.cents


class Purse(Account):
    """The same, in any order."""

    tells_in_order: ClassVar[bool] = False


model = Model("bank", actors=[Account, Purse])


@pytest.fixture
def rates() -> Any:
    RATES.clear()
    RATES["EUR"] = 1
    yield RATES
    RATES.clear()


@pytest.mark.parametrize("kind", [Account, Purse])
async def test_a_tell_that_fails_too_often_is_a_dead_letter_once_the_time_of_its_tries_has_passed(
    kind: type[Account], rates: dict[str, int]
) -> None:
    async with local_pool(model) as pool:
        await pool.client.tell(kind.receive, "bob", 5, "USD")
        await pool.clock.advance(seconds=10)
        assert [one async for one in pool.client.dead_letters(kind)] == []
        await pool.clock.advance(minutes=2)
        (letter,) = [one async for one in pool.client.dead_letters(kind)]
        assert (letter.command, letter.failures, str(letter.error)) == (
            "receive",
            10,
            "receive failed: KeyError: 'USD'",
        )
        rates["USD"] = 2
        await pool.client.retry_dead_letter(letter.id)
        await pool.clock.advance()
        assert (await pool.client.state(kind, "bob")).state.balance == 10


async def test_a_tell_is_tried_again_by_another_worker_when_its_own_has_crashed(rates: dict[str, int]) -> None:
    async with local_pool(model, config=RuntimeConfig(tell_retry_first_s=3_600, tell_retry_max_s=3_600)) as pool:
        await pool.client.tell(Account.receive, "bob", 5, "USD")
        await pool.clock.advance(minutes=59)
        await pool.crash(pool.worker_of(Account, "bob"))
        rates["USD"] = 1
        await pool.clock.advance(hours=2)
        assert (await pool.client.state(Account, "bob")).state.balance == 5


async def test_what_is_cancelled_is_not_called() -> None:
    clock, rung = PoolClock(), list[str]()
    clock.call_later(5, lambda: rung.append("cancelled")).cancel()
    clock.call_later(5, lambda: rung.append("kept"))
    await clock.advance(seconds=5)
    assert rung == ["kept"]
