"""A pool on three servers with three replicas: it boots while they elect, and outlives each of them in turn.

Nightly: tests/integration/test_tells_pool.py kills a leader under a pool each time.
"""

import pytest

from tests.chaos.faults import KillLeader, KillNode
from tests.chaos.scenario import Scenario, Step, run
from tests.chaos.world import Setting
from tests.support.nightly import NIGHTLY


@pytest.mark.skipif(not NIGHTLY, reason="takes a minute")
@pytest.mark.timeout(240)
async def test_a_pool_outlives_every_server_in_turn_and_the_leader() -> None:
    each = [Step(KillNode(dice)) for dice in (0.0, 0.4, 0.8)]
    leaders = [Step(KillLeader(of_table=of_table)) for of_table in (False, True)]
    steps = [*each, *leaders]
    result = await run(Scenario(setting=Setting(cluster=True), steps=steps))
    assert result.ok, f"{result.text()}\nlog and stream are in {result.directory}"
