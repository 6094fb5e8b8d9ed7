"""The client for code without asyncio: the same answers, from any thread, and no wait without an end."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import aether
from aether.blocking import READ_AT_ONCE
from tests.support.actors import Account, Deposited, Withdrawn, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer, free_port
from tests.support.pool import Pool

MODEL = "tests.support.actors:model"


@pytest.fixture(scope="module")
def connect() -> Iterator[Callable[[], aether.BlockingClient]]:
    """What makes clients of a pool that runs."""
    namespace = fresh_namespace()
    with NatsServer() as server, Pool(MODEL, "--workers", "1", "--nats", server.url, "--namespace", namespace):
        yield lambda: aether.connect_blocking(server.url, model=model, namespace=namespace)


@pytest.fixture
def client(connect: Callable[[], aether.BlockingClient]) -> Iterator[aether.BlockingClient]:
    with connect() as client:
        yield client


def test_it_answers_as_the_other_client_does(client: aether.BlockingClient) -> None:
    alice = client.actor(Account, "alice")
    assert alice.deposit(10) == 10
    assert alice.deposit(amount=5) == 15
    assert alice.statement() == 15
    with pytest.raises(aether.Rejected) as refused:
        client.actor("account", "alice").withdraw(100)
    assert refused.value.details == {"balance": 15, "asked": 100}
    with pytest.raises(aether.InvalidCommand):
        alice.deposit(-1)
    with pytest.raises(aether.UnknownCommand):
        alice.desposit(1)
    with pytest.raises(aether.UnknownActor):
        client.actor("nobody", "alice").deposit(1)
    state = client.state(Account, "alice", version=1)
    assert (state.version, state.state.balance) == (1, 10)
    assert client.metrics().sum().value("aether_commands_total", "account", "deposit", "ok") >= 2
    assert client.namespace


def test_it_tells(client: aether.BlockingClient) -> None:
    receipt = client.tell(Account.deposit, "told", 10)
    assert (receipt.actor_id.key, receipt.sequence > 0) == ("told", True)
    while not (events := list(client.history(Account, "told"))):
        threading.Event().wait(0.01)
    assert [one.event for one in events] == [Deposited(10)]


def test_it_has_dead_letters(client: aether.BlockingClient) -> None:
    assert list(client.dead_letters()) == []
    for act in (client.retry_dead_letter, client.drop_dead_letter):
        with pytest.raises(aether.InvalidCommand, match="there is no dead letter 7"):
            act(7, by="test")


def test_it_has_other_options(client: aether.BlockingClient) -> None:
    other = client.using(correlation_id="order 7").using(deadline_s=5)
    assert other.actor(Account, "options").deposit(10) == 10
    other.tell(Account.deposit, "options", 5)
    client.actor(Account, "options").deposit(1)
    while len(events := list(other.history(Account, "options"))) < 3:
        threading.Event().wait(0.01)
    assert {one.event for one in events if one.correlation_id == "order 7"} == {Deposited(10), Deposited(5)}


def test_a_command_id_is_for_one_command(client: aether.BlockingClient) -> None:
    for _ in range(2):
        assert client.actor(Account, "ids", command_id="c-1").deposit(10) == 10


@pytest.mark.parametrize("count", [0, 1, READ_AT_ONCE - 1, READ_AT_ONCE, READ_AT_ONCE + 1, 3 * READ_AT_ONCE])
def test_histories_and_keys_are_iterated_to_their_end(client: aether.BlockingClient, count: int) -> None:
    key = f"history {count}"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: client.actor(Account, key).deposit(1), range(count)))
    assert [event.version for event in client.history(Account, key)] == list(range(1, count + 1))
    assert (key in client.keys(Account)) is (count > 0)
    assert [event.version for event in client.history(Account, key, after_version=1)] == list(range(2, count + 1))


def test_a_history_that_is_left_half_way_harms_nothing(client: aether.BlockingClient) -> None:
    for _ in range(3):
        client.actor(Account, "half").deposit(1)
    assert next(client.history(Account, "half")).version == 1
    gc.collect()
    assert client.actor(Account, "half").statement() == 3


def test_an_error_comes_after_the_events_before_it(connect: Callable[[], aether.BlockingClient]) -> None:
    class Other(aether.Actor, kind="account"):
        balance: int = 0

        @aether.command
        def deposit(self, amount: int) -> int:
            self.emit(Deposited(amount))
            return self.balance

        @aether.event
        def deposited(self, e: Deposited) -> None:
            self.balance += e.amount

    with connect() as client:
        client.actor(Account, "unreadable").deposit(3)
        client.actor(Account, "unreadable").withdraw(1)
        namespace = client.namespace
        url = client._thread.client._untyped.server
    with aether.connect_blocking(url, model=aether.Model("tests", actors=[Other]), namespace=namespace) as other:
        events = other.history(Other, "unreadable")
        assert next(events).event == Deposited(3)
        with pytest.raises(aether.UnreadableEvent):
            next(events)


def test_events_are_iterated_as_they_are_stored(client: aether.BlockingClient) -> None:
    with client.subscribe(Withdrawn) as events:
        client.actor(Account, "subscribed").deposit(10)
        for amount in (1, 2, 3):
            client.actor(Account, "subscribed").withdraw(amount)
        taken = [next(events) for _ in range(3)]
    assert [(one.actor_id.key, one.event) for one in taken] == [("subscribed", Withdrawn(n)) for n in (1, 2, 3)]


def test_a_field_of_an_actor_is_read_from_its_state(client: aether.BlockingClient) -> None:
    with pytest.raises(AttributeError, match=r"a field of Account.*`client\.state"):
        client.actor(Account, "alice").balance  # noqa: B018


def test_a_state_is_followed(client: aether.BlockingClient) -> None:
    followed = client.actor(Account, "followed")
    followed.deposit(10)
    with client.follow(Account, "followed") as states:
        for amount in (1, 2, 3):
            followed.withdraw(amount)
        assert [next(states).state.balance for _ in range(4)] == [10, 9, 7, 4]


def test_many_threads_use_one_client(client: aether.BlockingClient) -> None:
    with ThreadPoolExecutor(16) as threads:
        balances = list(threads.map(lambda n: client.actor(Account, f"shared {n % 3}").deposit(1), range(300)))
    assert sorted(balances) == sorted([*range(1, 101)] * 3)


async def test_where_an_event_loop_runs_it_says_what_to_use(connect: Callable[[], aether.BlockingClient]) -> None:
    with pytest.raises(aether.ClientUnusable, match=r"async with aether\.connect"):
        connect().__enter__()
    client = await asyncio.to_thread(connect().__enter__)
    uses: list[Callable[[], Any]] = [
        lambda: client.actor(Account, "a").deposit(1),
        lambda: client.state(Account, "a"),
        lambda: list(client.history(Account, "a")),
        lambda: list(client.keys(Account)),
        client.subscribe,
    ]
    for use in uses:
        with pytest.raises(aether.ClientUnusable, match=r"async with aether\.connect"):
            use()
    assert await asyncio.to_thread(client.actor(Account, "elsewhere").deposit, 1) == 1
    await asyncio.to_thread(client.close)


def test_closing_ends_the_waits_of_other_threads(connect: Callable[[], aether.BlockingClient]) -> None:
    with connect() as client:
        events = client.subscribe().__enter__()
        with ThreadPoolExecutor(4) as threads:
            waits: list[Future[Any]] = [threads.submit(_until_closed, lambda: next(events))]
            waits += [threads.submit(_until_closed, client.actor(Account, f"closing {n}").deposit, 1) for n in range(3)]
            client.actor(Account, "closing").deposit(1)
            client.close()
            assert [type(one.exception()) for one in waits] == [aether.ClientUnusable] * 4
    client.close()
    with pytest.raises(aether.ClientUnusable, match="closed"):
        client.actor(Account, "closing").deposit(1)
    assert not [thread for thread in threading.enumerate() if thread.name == "aether client"]


def _until_closed(use: Callable[..., Any], *arguments: Any) -> None:
    while True:
        use(*arguments)


def test_a_child_process_connects_anew(client: aether.BlockingClient) -> None:
    client.actor(Account, "forked").deposit(1)
    pid = os.fork()
    if pid == 0:
        try:
            client.actor(Account, "forked").deposit(1)
        except aether.ClientUnusable as told:
            os._exit(42 if "after a fork" in str(told) else 1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
    assert client.actor(Account, "forked").deposit(1) == 2


class Interrupted(Exception):
    """Raised by the signal, as an interrupt is."""


def test_an_interrupt_ends_the_wait_and_leaves_the_client_whole(client: aether.BlockingClient) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with client.subscribe(Deposited) as events:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                next(events)
            client.actor(Account, "interrupted").deposit(1)
            assert next(events).actor_id.key == "interrupted"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_client_that_is_dropped_closes_its_connection(connect: Callable[[], aether.BlockingClient]) -> None:
    client = connect().__enter__()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "aether client"]
    actor = client.actor(Account, "dropped")
    del client
    gc.collect()
    assert actor.deposit(1) == 1, "what it gave still has it"
    kept = [actor]
    del actor
    with pytest.warns(ResourceWarning, match="dropped while it was open"):
        kept.clear()
    thread.join()


def test_what_cannot_be_connected_says_so_and_leaves_no_thread() -> None:
    client = aether.connect_blocking(f"nats://127.0.0.1:{free_port()}", model=model)
    with pytest.raises(aether.Unavailable):
        client.__enter__()
    for use in (lambda: client.actor(Account, "a"), lambda: client.namespace):
        with pytest.raises(aether.ClientUnusable, match="no client yet"):
            use()
    with pytest.raises(aether.ClientUnusable, match="entered once"):
        client.__enter__()
    assert not [thread for thread in threading.enumerate() if thread.name == "aether client"]
