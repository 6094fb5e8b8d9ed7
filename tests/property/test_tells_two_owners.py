"""Tells from end to end in memory, with two runtimes that both serve every shard, faults everywhere, and crashes.

The histories are the judge, as in the tests on a real server: each transfer that was sent is received once, in its
sender's order.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from aether.config import RuntimeConfig
from aether.errors import AetherError
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import (
    Disconnected,
    Dropped,
    Fault,
    FaultPoint,
    Faults,
    Late,
    Lost,
    Stale,
    StoredLater,
    StoredUnknown,
)
from aether.memory.server import InMemoryServer
from aether.runtime.runtime import Runtime
from aether.wire import decode_commit
from tests.support.transfers import Till, model

SHARDS = 4
TILLS = 5
TRANSFERS = 40
CONFIG = RuntimeConfig(snapshot_every_events=3, replay_retry_first_s=0.005, tell_retry_first_s=0.005)

FAULTY = 0.06
"""The share of the steps that go wrong."""

FAULTS: dict[FaultPoint, list[Fault]] = {
    FaultPoint.APPEND: [Late(0.01), Lost(), StoredUnknown(), StoredLater(0.03), Disconnected(0.01)],
    FaultPoint.TELL: [Late(0.01), Lost(), StoredUnknown(), StoredLater(0.03), Disconnected(0.01)],
    FaultPoint.TELL_READ: [Late(0.01), Lost()],
    FaultPoint.LAST: [Late(0.01), Lost()],
    FaultPoint.READ: [Late(0.01), Stale()],
    FaultPoint.SNAPSHOT_READ: [Late(0.01), Stale()],
    FaultPoint.NOTICE: [Late(0.01), Dropped()],
}


class Pair:
    """Two runtimes that know nothing of each other."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.healed = False
        self.server = InMemoryServer(faults=Faults(self._fault))
        self.runtimes: list[Runtime] = []

    def _fault(self, step: FaultPoint) -> Fault | None:
        kinds = FAULTS.get(step)
        return self.chance.choice(kinds) if kinds and not self.healed and self.chance.random() < FAULTY else None

    async def another(self) -> Runtime:
        connection = InMemoryConnection(self.server, "pair", shards=SHARDS)
        runtime = Runtime(connection, connection.event_store, CONFIG, inbox=connection.inbox)
        runtime.load_model(model)
        await runtime.start()
        return runtime

    async def replace_one(self) -> None:
        slot = self.chance.randrange(2)
        await self.runtimes[slot].abort()
        self.runtimes[slot] = await self.another()

    async def send(self, payer: int, number: int) -> None:
        """One payment, asked for under the same id until it is answered."""
        to, command_id = f"till {self.chance.randrange(TILLS)}", f"{payer}-{number}"
        while True:
            runtime = self.chance.choice(self.runtimes)
            with suppress(AetherError):
                await runtime.actor(Till, f"till {payer}", deadline_s=0.5, command_id=command_id).send(
                    command_id, to, 1
                )
                return
            await asyncio.sleep(0.002)

    async def pay(self, payer: int) -> None:
        for number in range(TRANSFERS // TILLS):
            await self.send(payer, number)


def events(pair: Pair) -> list[tuple[str, str, dict[str, str]]]:
    """Actor, type and data of each event, in the order of the stream."""
    commits = pair.server.space("pair", SHARDS).commits
    found = [(one.actor_id, decode_commit(one.payload, one.actor_id, one.position)) for one in commits]
    return [(str(actor), event.type, orjson.loads(bytes(event.data))) for actor, commit in found for event in commit]


def wrong(pair: Pair) -> str:
    """What is wrong with the histories as they are now, or ""."""
    stored = events(pair)
    sent = [data["number"] for _, type_, data in stored if type_ == "Sent"]
    received = [(actor, data["number"]) for actor, type_, data in stored if type_ == "Received"]
    counted = Counter(number for _, number in received)
    if twice := [number for number, count in counted.items() if count > 1]:
        return f"twice: {twice}"
    for actor, payer in {(actor, number.partition("-")[0]) for actor, number in received}:
        order = [int(n.partition("-")[2]) for a, n in received if a == actor and n.partition("-")[0] == payer]
        if order != sorted(order):
            return f"out of order: {actor} from {payer}: {order}"
    lost = set(sent) - set(counted)
    return f"lost: {sorted(lost)}" if lost else ""


async def simulate(seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311 - no secret
    pair = Pair(chance)
    pair.healed = True
    pair.runtimes = [await pair.another(), await pair.another()]
    for n in range(TILLS):
        await pair.runtimes[0].actor(Till, f"till {n}").open(1_000)
    pair.healed = False
    paying = [asyncio.ensure_future(pair.pay(n)) for n in range(TILLS)]
    for _ in range(3):
        await asyncio.sleep(0.02)
        await pair.replace_one()
    await asyncio.gather(*paying)
    pair.healed = True
    for runtime in pair.runtimes:  # what is late is found by looking, which they do now and then
        telling = runtime._telling
        assert telling is not None
        telling.look()
    ends_s = asyncio.get_running_loop().time() + 20
    while (  # noqa: ASYNC110 - the runtimes make progress
        found := wrong(pair)
    ).startswith("lost") and asyncio.get_running_loop().time() < ends_s:
        await asyncio.sleep(0.02)
    for runtime in pair.runtimes:
        await runtime.abort()
    return found or wrong(pair)


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_each_transfer_is_received_once_and_in_order(seed: int) -> None:
    assert asyncio.run(simulate(seed)) == ""
