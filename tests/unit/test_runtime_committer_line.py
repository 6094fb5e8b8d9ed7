"""A long line of commits when the connection breaks: each one has its outcome, however long the line."""

import asyncio
from dataclasses import replace
from typing import Any

from aether import ActorId
from aether.memory.faults import FaultPoint, Faults, Late
from tests.support.nodes import QUIET, command, node, send, until


async def test_each_commit_of_a_long_line_has_its_outcome_when_the_connection_breaks() -> None:
    actors = [ActorId("account", f"a{n}") for n in range(1_500)]
    faults = Faults.script([(FaultPoint.APPEND, Late(60))])
    async with node(config=replace(QUIET, commits_in_flight_max=1, drain_timeout_s=5), faults=faults) as runtime:
        connection: Any = runtime.connection
        sent = [asyncio.ensure_future(send(runtime, one, command("deposit", amount=1))) for one in actors]
        await until(lambda: runtime.counters.commits == len(actors))
        connection.disconnect()
        connection.reconnect()
        answers = await asyncio.wait_for(asyncio.gather(*sent), 20)
        assert {bytes(answer.value) for answer in answers} == {b"1"}
