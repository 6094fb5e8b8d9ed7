"""A pool on three servers with three replicas: it boots while they elect, and outlives each of them in turn."""

import pytest

from tests.chaos.faults import KillLeader, KillNode
from tests.chaos.scenario import Scenario, Step, run
from tests.chaos.world import Setting


@pytest.mark.timeout(240)
async def test_a_pool_outlives_every_server_in_turn_and_the_leader() -> None:
    each = [Step(KillNode(dice)) for dice in (0.0, 0.4, 0.8)]
    steps = [*each, Step(KillLeader(of_table=False)), Step(KillLeader(of_table=True))]
    result = await run(Scenario(setting=Setting(cluster=True), steps=steps))
    assert result.ok, f"{result.text()}\nlog and stream are in {result.directory}"
