"""The laws of asks: each happens once, in whatever graph; what closes a circle is an error that names the chain.

A plan says who asks whom, one after the other. A function of a few lines says what has to come of it. The same plan
then runs on workers in memory, with appends that fail, and once more under the same command id.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aether import ActorFailed, ActorId, Client
from aether.config import CallConfig, RuntimeConfig
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Fault, FaultPoint, Faults, Late, Lost, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.runtime import asks
from aether.untyped_client import UntypedClient
from aether.wire import Event
from tests.support.asking import Node, model
from tests.support.nodes import history, node

Plan: TypeAlias = list[tuple[str, "Plan"]]

KEYS = st.sampled_from("abcde")
PLANS: st.SearchStrategy[Plan] = st.recursive(
    st.builds(list), lambda inner: st.lists(st.tuples(KEYS, inner), min_size=1, max_size=3), max_leaves=8
)
FAULTS = st.lists(st.sampled_from([None, Lost(), StoredUnknown(), Late(0.001)]), min_size=2, max_size=12)
CONFIG = RuntimeConfig(append_timeout_s=0.01, idle_passivation_s=0, replay_retry_first_s=0.001, replay_retry_max_s=0.01)


class CircleError(Exception):
    """Whoever is asked here waits already."""


def follow(key: str, plan: Plan, chain: tuple[str, ...], visits: Counter[str]) -> None:
    """What comes of a plan, counted in `visits`. Raises `CircleError` with the chain."""
    waiting = (*chain, key)
    for child, then in plan:
        if child in waiting:
            raise CircleError(" asks ".join(f"node/{one}" for one in (*waiting, child)))
        follow(child, then, waiting, visits)
    visits[key] += 1


@given(PLANS, FAULTS)
def test_a_plan_of_asks_comes_to_what_it_says(plan: Plan, faults: list[Fault | None]) -> None:
    visits: Counter[str] = Counter()
    circle = ""
    try:
        follow("a", plan, (), visits)
    except CircleError as error:
        circle = str(error)

    async def check() -> None:
        server = InMemoryServer()
        script = Faults.script((FaultPoint.APPEND, fault) for fault in faults)
        evens, odds = (range(first, 256, 2) for first in (0, 1))
        async with (
            node(server, model=model, config=CONFIG, faults=script, shards=evens) as one,
            node(server, model=model, config=CONFIG, faults=script, shards=odds),
            client_of(server) as client,
        ):
            for _ in range(2):
                failed = ""
                try:
                    await client.actor(Node, "a", command_id="c-1", deadline_s=30).follow(json.dumps(plan))
                except ActorFailed as error:
                    failed = error.message
                assert bool(failed) == bool(circle), failed
                assert f"{circle}: " in failed or not circle
            stored = {key: visited(await history(one, ActorId("node", key))) for key in "abcde"}
            assert stored == {key: visits[key] for key in "abcde"}

    asyncio.run(check())


@given(st.lists(st.tuples(KEYS, PLANS), min_size=2, max_size=4), FAULTS)
def test_plans_that_run_at_once_all_end_although_they_cross(
    plans: list[tuple[str, Plan]], faults: list[Fault | None]
) -> None:
    """Each handler asks for all of its plan at once, and several commands run. None has a circle in its own chain."""
    visits: Counter[str] = Counter()
    for key, plan in plans:
        try:
            follow(key, plan, (), visits)
        except CircleError:
            assume(False)

    async def check() -> None:
        server = InMemoryServer()
        script = Faults.script((FaultPoint.APPEND, fault) for fault in faults)
        evens, odds = (range(first, 256, 2) for first in (0, 1))
        async with (
            node(server, model=model, config=CONFIG, faults=script, shards=evens) as one,
            node(server, model=model, config=CONFIG, faults=script, shards=odds),
            client_of(server) as client,
            asyncio.timeout(30),
        ):
            await asyncio.gather(
                *(
                    client.actor(Node, key, command_id=f"c-{n}", deadline_s=60).follow_at_once(json.dumps(plan))
                    for n, (key, plan) in enumerate(plans)
                )
            )
            stored = {key: visited(await history(one, ActorId("node", key))) for key in "abcde"}
            assert stored == {key: visits[key] for key in "abcde"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asks, "LOOK_AFTER_S", 0.004)
        asyncio.run(check())


@asynccontextmanager
async def client_of(server: InMemoryServer) -> AsyncIterator[Client]:
    """A client of the nodes on a server."""
    async with InMemoryConnection(server, "tests") as connection:
        untyped = UntypedClient(connection, CallConfig())
        yield Client(untyped, model)
        untyped.close()


def visited(events: list[Event]) -> int:
    return sum(event.type == "Visited" for event in events)
