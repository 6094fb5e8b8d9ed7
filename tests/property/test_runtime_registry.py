"""Which machines stay when there is no room, against an ordered dictionary."""

import asyncio
from collections import OrderedDict
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from aether import ActorId
from tests.support.actors import Account
from tests.support.nodes import QUIET, node

ROOM = 4
STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=40)
"""Use an actor, or end its machine."""


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_least_recently_used_goes_first_whatever_ended_meanwhile(steps: list[tuple[bool, int]]) -> None:
    asyncio.run(stays_as_in_an_ordered_dictionary(steps))


async def stays_as_in_an_ordered_dictionary(steps: list[tuple[bool, int]]) -> None:
    stays: OrderedDict[str, None] = OrderedDict()
    async with node(config=replace(QUIET, active_vms_max=ROOM)) as runtime:
        for used, number in steps:
            key = str(number)
            if used:
                await runtime.actor(Account, key).deposit(1)
                stays[key] = None
                stays.move_to_end(key)
                if len(stays) > ROOM:
                    stays.popitem(last=False)
            elif key in stays:
                await runtime.stop_vm(ActorId("account", key))
                del stays[key]
            assert {vm.actor_id.key for vm in runtime.get_active_vms()} == set(stays)
