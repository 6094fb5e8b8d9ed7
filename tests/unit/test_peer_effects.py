"""The loads that Aether is compared under with others: their plans, when they end, and what they refuse."""

import time
from collections.abc import Mapping, Sequence

import pytest

from benchmarks.figures import Measured, Point
from benchmarks.load import closed_loop, each_once
from benchmarks.peers import effects
from benchmarks.peers.effects import DELAYED, DUE, LOADS, SET, TASKS, TELLS, measure, plan_of, totals, until_stored
from benchmarks.peers.report import against_each


def test_what_is_sent_on_is_wanted_of_both_accounts() -> None:
    plan = [("a0", 3), ("a1", 4), ("a0", 5)]
    assert totals(TELLS, plan) == {"to-a0": 8, "a0": 8, "to-a1": 4, "a1": 4}
    assert totals(DELAYED, plan) == {"a0": 8, "a1": 4}


def test_the_account_of_the_last_request_is_looked_at_first() -> None:
    assert next(iter(totals(TELLS, [("a0", 1), ("a1", 1), ("a2", 1), ("a1", 1)]))) == "to-a1"


def test_the_results_of_tasks_can_be_counted() -> None:
    plan = plan_of(TASKS, 50, seed=1)
    assert len(plan) == 50
    assert {amount for _, amount in plan} == {1}
    assert plan_of(TELLS, 50, seed=1) != plan
    assert plan_of(TELLS, 50, seed=1) == plan_of(TELLS, 50, seed=1)


class Store:
    """Balances that come one look after the other."""

    def __init__(self, *looks: Mapping[str, int]) -> None:
        self.looks = list(looks)
        self.asked: list[list[str]] = []

    async def read(self, accounts: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(list(accounts))
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


async def test_it_looks_at_one_account_until_that_is_right_and_then_at_all() -> None:
    done = {"a": 2, "b": 1, "c": 3}
    store = Store({"a": 1}, {"a": 2}, {"b": 1, "c": 2}, done)
    await until_stored(store.read, done, look_every_s=0)
    assert store.asked == [["a"], ["a"], ["b", "c"], ["c"]]


async def test_an_account_that_is_not_there_has_nothing() -> None:
    store = Store({}, {"a": 1})
    await until_stored(store.read, {"a": 1}, look_every_s=0)
    assert len(store.asked) == 2


async def test_more_than_was_asked_for_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="wrong result: a has 3, not 2"):
        await until_stored(Store({"a": 3}).read, {"a": 2}, look_every_s=0)


async def test_effects_that_do_not_come_end_the_run() -> None:
    clock = iter([0.0, 1.0, *[effects.STALLED_S * turn for turn in range(1, 9)]])
    store = Store({"a": 1})
    with pytest.raises(SystemExit, match="wrong result: 1 accounts have less"):
        await until_stored(store.read, {"a": 2}, now_s=lambda: next(clock), look_every_s=0)


class MemoryBank:
    """A bank whose effects are there at once, so many times."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self.stored: dict[str, int] = {}
        self.numbers: list[int] = []
        self.requests = 0

    async def transfer(self, account: str, to: str, amount: int) -> None:
        self._add(account, amount)
        self._add(to, amount * self.times)

    async def add_at(self, account: str, amount: int, due_s: float, number: int) -> None:
        self.numbers.append(number)
        self._add(account, amount * self.times)

    async def run_task(self, account: str, amount: int, number: int) -> None:
        self.numbers.append(number)
        self._add(account, amount * self.times)

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, int]:
        return {account: self.stored.get(account, 0) for account in accounts}

    def _add(self, account: str, amount: int) -> None:
        self.requests += 1
        self.stored[account] = self.stored.get(account, 0) + amount


@pytest.mark.parametrize("load", [TELLS, TASKS])
async def test_a_load_makes_its_requests_and_is_told_by_name(load: str) -> None:
    bank = MemoryBank()
    measured = await measure(load, bank, count=30, in_flight=4, seed=1, lead_s=0, processes={})
    assert list(measured) == [load]
    assert (measured[load].per_s or 0) > 0
    assert bank.requests == (effects.ACCOUNTS + 30) * (2 if load == TELLS else 1)
    assert len(set(bank.numbers)) == len(bank.numbers)


@pytest.mark.parametrize("load", [TELLS, TASKS])
async def test_an_effect_that_happens_twice_ends_the_run(load: str) -> None:
    with pytest.raises(SystemExit, match="wrong result"):
        await measure(load, MemoryBank(times=2), count=30, in_flight=4, seed=1, lead_s=0, processes={})


async def test_a_call_that_is_run_before_its_time_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="wrong result: a delayed call was run before its time"):
        await measure(DELAYED, MemoryBank(), count=5, in_flight=1, seed=1, lead_s=60, processes={})


class PunctualBank(MemoryBank):
    """A bank that runs what is due, at the next look."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[float, str, int]] = []

    async def add_at(self, account: str, amount: int, due_s: float, number: int) -> None:
        self.waiting.append((due_s, account, amount))

    async def balances(self, accounts: Sequence[str]) -> Mapping[str, int]:
        now_s = time.time()
        for due_s, account, amount in self.waiting:
            if due_s <= now_s:
                self._add(account, amount)
        self.waiting = [call for call in self.waiting if call[0] > now_s]
        return await super().balances(accounts)


async def test_delayed_calls_are_due_together_and_measured_from_then() -> None:
    bank = PunctualBank()
    measured = await measure(DELAYED, bank, count=5, in_flight=1, seed=1, lead_s=2.0, processes={})
    assert list(measured) == [SET, DUE]
    took_s = measured[DUE].figures["last effect after, s"]
    assert took_s > 0
    assert measured[DUE].per_s == 5 / took_s
    assert bank.requests == effects.ACCOUNTS + 5


async def test_a_closed_loop_goes_on_until_its_effects_are_there() -> None:
    looked: list[int] = []
    made: list[str] = []

    async def request(account: str, amount: int) -> int:
        made.append(account)
        return amount

    async def until() -> None:
        looked.append(len(made))

    await closed_loop(request, each_once(0, 7), 3, until=until)
    assert looked == [7]


def test_every_load_has_a_plan() -> None:
    assert all(len(plan_of(load, 3, seed=0)) == 3 for load in LOADS)


def test_the_ratio_to_each_contestant_is_taken_round_by_round() -> None:
    runs = {
        "aether": [Measured(per_s=100), Measured(per_s=300), Measured(per_s=200)],
        "restate": [Measured(per_s=100), Measured(per_s=100), Measured(per_s=100)],
        "dbos": [Measured(per_s=10), Measured(per_s=60), Measured(per_s=100)],
    }
    line = against_each(Point(name="tells", in_flight=100, runs=runs))
    assert line == "- 100 in flight, aether over: restate 2.00 (1.00-3.00), dbos 5.00 (2.00-10.00)"
