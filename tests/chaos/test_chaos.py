"""A short run of every fault against real processes, and a harm that the checker must see.

Nightly the seeds that once failed too; `scripts/chaos` runs longer.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import ClassVar

import nats
import pytest

from tests.chaos.faults import (
    CutConnection,
    FreezeServer,
    FreezeWorker,
    HostDies,
    HostJoins,
    HostLeaves,
    KillServer,
    KillSupervisor,
    KillWorker,
    MuteConnection,
    Reload,
    Scale,
)
from tests.chaos.needs import Needs
from tests.chaos.report import Violation
from tests.chaos.scenario import Scenario, Step, drawn, run, setting_of
from tests.chaos.seeds import Seed, kept_seeds
from tests.chaos.world import MEMBER_TTL_S, Setting, World
from tests.support.nightly import NIGHTLY

pytestmark = pytest.mark.timeout(240)

PROCESSES = [
    Step(KillWorker(0.9)), Step(FreezeWorker(0.0, MEMBER_TTL_S + 1.5)), Step(Scale(0.0), heal=False), Step(Reload(0.0)),
    Step(KillSupervisor(0.0)),
]  # fmt: skip
CONNECTIONS = [
    Step(CutConnection(1.0)), Step(MuteConnection(2.0)), Step(CutConnection(MEMBER_TTL_S + 1.5)),
    Step(FreezeServer(0.0, 2.0), heal=False), Step(KillServer(0.0)), Step(KillServer(MEMBER_TTL_S + 1.0)),
]  # fmt: skip
HOSTS = [
    Step(HostJoins(1)), Step(HostJoins(2), heal=False), Step(KillWorker(0.9)), Step(HostDies(0.9)),
    Step(HostLeaves(0.0)),
]  # fmt: skip


async def passes(scenario: Scenario) -> None:
    result = await run(scenario)
    assert result.ok, f"{result.text()}\nlog and stream are in {result.directory}"


@pytest.mark.parametrize("steps", [PROCESSES, CONNECTIONS, HOSTS], ids=["processes", "connections", "hosts"])
async def test_nothing_is_lost_or_contradicted(steps: list[Step]) -> None:
    await passes(Scenario(setting=setting_of(cluster=False), steps=steps))


@pytest.mark.skipif(not NIGHTLY, reason="takes half a minute for each seed")
@pytest.mark.parametrize("seed", kept_seeds(), ids=str)
async def test_a_seed_that_once_failed(seed: Seed) -> None:
    await passes(drawn(seed.number, cluster=seed.cluster, faults=seed.faults, bank=seed.bank))


@dataclass(frozen=True)
class LoseCommit:
    """No fault that Aether outlives: the server forgets the first commit that it acknowledged."""

    needs: ClassVar[frozenset[Needs]] = frozenset()

    @classmethod
    def drawn(cls, chance: Random) -> "LoseCommit":
        return cls()

    async def strike(self, world: World) -> None:
        connection = await nats.connect(world.servers.url)
        api = f"$JS.API.STREAM.MSG.%s.{world.stream}"
        first = {"seq": 1, "next_by_subj": f"aether.{world.namespace}.evt.>"}
        found = json.loads((await connection.request(api % "GET", json.dumps(first).encode())).data)["message"]
        assert json.loads(base64.b64decode(found["data"]))
        gone = await connection.request(api % "DELETE", json.dumps({"seq": found["seq"]}).encode())
        assert json.loads(gone.data)["success"]
        await connection.close()


async def test_a_lost_commit_is_seen(tmp_path: Path) -> None:
    scenario = Scenario(setting=Setting(ledgers=4), steps=[Step(LoseCommit())])
    result = await run(scenario, tmp_path)
    lost = {Violation.MISSING_PREFIX, Violation.MISSING_MIDDLE, Violation.MISSING_SUFFIX}
    assert lost & result.report.counts.keys(), result.text()
    assert not result.ok
    assert (result.directory / "stream.jsonl").exists()
