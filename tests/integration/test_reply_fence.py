"""The reply fence on a real server: of two workers that both take a shard's commands only the owner answers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import orjson
import pytest

from aether import ActorId, Runtime, Unavailable
from aether.cluster.cluster import Cluster
from aether.config import ClusterConfig
from aether.core.cluster.membership import MemberRow
from aether.jetstream.adapters import JetStreamConnection
from aether.names import shard_of
from aether.ports import NotSent
from aether.wire import STORED_FORMAT, Command, decode_answer, encode_command
from tests.support.actors import model
from tests.support.jetstream import SHARDS, node
from tests.support.members import soon
from tests.support.nats_server import NatsServer
from tests.support.nodes import QUIET, command

ALICE = ActorId("account", "alice")
SHARD = shard_of(ALICE, SHARDS)
PATIENT_S = 60.0
BLIND = replace(QUIET, follow_stored=False)
CONFIG = ClusterConfig(ttl_s=1, gather_s=0, regather_s=0)


class SettableLease:
    """A lease that the test gives and takes."""

    stored_format = STORED_FORMAT

    def __init__(self, *, held: bool) -> None:
        self.held = held

    def valid(self, shard: int, boot_s: float) -> bool:
        """As the test has set it."""
        return self.held


@asynccontextmanager
async def runtime_on(one: JetStreamConnection, lease: SettableLease) -> AsyncIterator[Runtime]:
    runtime = Runtime(one, one.event_store, BLIND, shards=[SHARD], lease=lease)
    runtime.load_model(model)
    async with runtime:
        yield runtime


async def reply(client: JetStreamConnection, made: Command) -> int:
    """What the owner answers, asked once."""
    answer = decode_answer(await client.transport.request(ALICE, encode_command(made), PATIENT_S))
    assert answer.error is None, answer.error
    value = orjson.loads(bytes(answer.value))
    assert isinstance(value, int)
    return value


async def test_a_worker_whose_lease_ended_never_answers_while_the_new_owner_does(
    nats_server: NatsServer, namespace: str
) -> None:
    old, new = SettableLease(held=True), SettableLease(held=False)
    async with (
        node(nats_server.url, namespace) as client,
        node(nats_server.url, namespace) as first,
        node(nats_server.url, namespace) as second,
        runtime_on(first, old) as zombie,
        runtime_on(second, new) as owner,
    ):
        assert await reply(client, command("deposit", amount=1)) == 1
        await soon(lambda: owner.counters.answers_fenced == 1)
        old.held, new.held = False, True
        answered = zombie.counters.answers
        balance = 1
        for _ in range(30):
            balance += 1
            assert await reply(client, command("deposit", amount=1)) == balance
            assert await reply(client, command("statement")) == balance, "the zombie's state is never told"
        # Both have taken every command; whose commit was stored first does not matter.
        await soon(lambda: zombie.counters.commands == owner.counters.commands == 61)
        await soon(lambda: zombie.counters.answers_fenced == 60)
        assert zombie.counters.answers == answered
        assert owner.counters.answers == 60
        assert owner.counters.answers_fenced == 1
        last = await owner.create_vm(ALICE)
        assert last.version == 31, "each command has its effect once, though two workers ran it"


@dataclass(frozen=True, slots=True)
class Worker:
    """A member of a real cluster."""

    connection: JetStreamConnection
    cluster: Cluster
    runtime: Runtime

    def answers(self) -> bool:
        """Whether it would answer for the shard at this instant."""
        return self.cluster.valid(SHARD, self.connection.clock.boot_s())


async def worker(stack: AsyncExitStack, url: str, namespace: str, name: str) -> Worker:
    connection = await stack.enter_async_context(node(url, namespace))
    cluster = Cluster(connection, MemberRow(node=name, slot=0, incarnation=f"{name}-1"), CONFIG)
    runtime = Runtime(connection, connection.event_store, BLIND, shards=(), lease=cluster)
    runtime.load_model(model)
    cluster.set_vm_provider(runtime)
    await stack.enter_async_context(runtime)
    await stack.enter_async_context(cluster)
    return Worker(connection, cluster, runtime)


async def served(stack: AsyncExitStack, client: JetStreamConnection, url: str, namespace: str) -> Worker:
    """A member that holds the shard and has carried out one command of Alice's."""
    await client.transport.follow_owners()
    old = await worker(stack, url, namespace, "a")
    await soon(lambda: old.answers() and old.cluster.moves().held == SHARDS)
    assert await reply_again(client, command("deposit", amount=1)) == 1
    return old


async def deaf(one: Worker) -> None:
    """Have it hear of the table no more."""
    watch = one.cluster._watch
    assert watch is not None
    await watch.stop()


async def succeeded(stack: AsyncExitStack, old: Worker, url: str, namespace: str) -> Worker:
    """The next owner. At no instant do both answer."""
    new = await worker(stack, url, namespace, "b")

    def one_at_most() -> bool:
        assert not (old.answers() and new.answers())
        return new.answers() and new.cluster.moves().held == SHARDS

    await soon(one_at_most)
    return new


async def only_the_next_owner_answers(client: JetStreamConnection, old: Worker) -> None:
    """Alice's next commands; the old owner, subscribed or not, neither answers nor carries out any of them."""
    before = (old.runtime.counters.answers, old.runtime.counters.commits)
    for balance in range(2, 22):
        assert await reply_again(client, command("deposit", amount=1)) == balance
        assert await reply_again(client, command("statement")) == balance
    assert (old.runtime.counters.answers, old.runtime.counters.commits) == before
    assert not old.answers()


async def test_a_member_that_cannot_renew_has_withdrawn_when_the_next_owner_answers(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(node(nats_server.url, namespace))
        old = await served(stack, client, nats_server.url, namespace)
        await deaf(old)

        async def refuse(key: str, value: bytes, revision: int, ttl_s: float | None = None) -> int | None:
            raise Unavailable("no renewal leaves")

        monkeypatch.setattr(old.connection.table, "update", refuse)
        await succeeded(stack, old, nats_server.url, namespace)
        await soon(lambda: old.cluster.moves().held == 0 and not old.runtime.get_active_vms())
        taken = old.runtime.counters.commands
        await only_the_next_owner_answers(client, old)
        assert old.runtime.counters.commands == taken, "it is subscribed no more"


async def test_a_member_that_stood_still_is_handed_commands_and_carries_out_none(
    nats_server: NatsServer, namespace: str
) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(node(nats_server.url, namespace))
        old = await served(stack, client, nats_server.url, namespace)
        # As in a process that was stopped: what renews the row and would withdraw does not run. Its shards stay open.
        await deaf(old)
        await old.cluster._stop_beating()
        await succeeded(stack, old, nats_server.url, namespace)
        counters = old.runtime.counters
        answered, taken, fenced = counters.answers, counters.commands, counters.answers_fenced
        await only_the_next_owner_answers(client, old)
        assert old.cluster.moves().held > 0, "it has not withdrawn"
        await soon(lambda: counters.commands - taken >= 40)
        await soon(lambda: counters.answers_fenced - fenced >= 40)
        assert counters.answers == answered
        assert counters.commits == 1, "only what it did as the owner"
        assert [machine.version for machine in old.runtime.get_active_vms()] == [1]


async def reply_again(client: JetStreamConnection, made: Command) -> int:
    """What the owner answers, asked until somebody does."""
    while True:
        try:
            return await reply(client, made)
        except NotSent:
            raise
        except Unavailable:
            continue  # the announcement of the new owner interrupted it
