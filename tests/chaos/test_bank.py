"""Transfers, schedules and tasks while workers and the server die: short here, nightly longer and on three servers.

`scripts/chaos --bank` runs longer.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.bank.findings import Wrong
from tests.chaos.bank.shortened import WITHOUT
from tests.chaos.faults import (
    CutConnection,
    FreezeWorker,
    HostDies,
    HostLeaves,
    KillInboxLeader,
    KillLeader,
    KillNode,
    KillServer,
    KillSupervisor,
    KillWorker,
    Reload,
)
from tests.chaos.partitions import TABLE, Isolate, Way
from tests.chaos.scenario import Scenario, Step, run, setting_of
from tests.chaos.world import MEMBER_TTL_S, Setting
from tests.support.nightly import NIGHTLY

SMALL = Setting(bank=True, ledgers=6, clients=2)
SHORT = [Step(KillWorker(0.0), heal=False), Step(KillServer(0.0))]

WORKERS = [
    Step(KillWorker(0.9)), Step(FreezeWorker(0.0, MEMBER_TTL_S + 1.5)), Step(Reload(0.0), heal=False),
    Step(KillWorker(0.1)), Step(KillSupervisor(0.0)), Step(HostDies(0.9)), Step(HostLeaves(0.0)),
]  # fmt: skip
SERVER = [
    Step(KillServer(0.0)), Step(KillWorker(0.5), heal=False), Step(KillServer(MEMBER_TTL_S + 1.0)),
    Step(CutConnection(MEMBER_TTL_S + 1.5)),
]  # fmt: skip
SERVERS = [
    Step(KillNode(0.0)), Step(KillInboxLeader()), Step(KillLeader(of_table=False)), Step(KillNode(0.8)),
    Step(KillLeader(of_table=True)),
]  # fmt: skip
PARTITIONS = [
    Step(Isolate("", Way.SYSTEM, 15.0)), Step(Isolate("_INBOX", Way.BOTH, 40.0)), Step(Isolate("", Way.FROM, 5.0)),
    Step(Isolate(TABLE, Way.TO, 15.0, cut=True)), Step(Isolate("_TIMERS", Way.BOTH, 15.0, cut=True)),
]  # fmt: skip


LONG = replace(setting_of(cluster=False, bank=True), shorten=True)
SCENARIOS = {"short": Scenario(setting=SMALL, steps=SHORT)}
if NIGHTLY:
    SCENARIOS |= {
        "workers": Scenario(setting=LONG, steps=WORKERS),
        "server": Scenario(setting=LONG, steps=SERVER),
        "three servers": Scenario(setting=replace(LONG, cluster=True), steps=SERVERS),
        "partitions": Scenario(
            setting=replace(LONG, cluster=True, apart=True, hosts={"a": 1, "b": 1, "c": 1}, proxied=None),
            steps=PARTITIONS,
        ),
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
async def test_what_is_told_due_and_started_has_its_effect_once(scenario: Scenario) -> None:
    result = await run(scenario)
    assert result.ok, f"{result.text()}\nlog and stream are in {result.directory}"


@pytest.mark.skipif(not NIGHTLY, reason="each harm alone is in tests/unit/test_chaos_bank_checker.py")
@pytest.mark.timeout(240)
async def test_without_safeguards_it_has_not(tmp_path: Path) -> None:
    setting = replace(SMALL, model="tests.chaos.bank.without:both")
    result = await run(Scenario(setting=setting, steps=[]), tmp_path)
    assert {Wrong.STRAY, Wrong.KEY_CHANGED, Wrong.WRONG_RESULT} <= result.report.counts.keys(), result.text()


@pytest.mark.skipif(not NIGHTLY, reason="tests/property/test_inbox_purge_laws.py leaves out each need")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("need", WITHOUT)
async def test_without_a_need_of_the_inbox_it_has_not(tmp_path: Path, need: str) -> None:
    setting = replace(LONG, model=f"tests.chaos.bank.shortened:{need}", proxied=None)
    result = await run(
        Scenario(setting=setting, steps=[Step(KillWorker(n / 4), heal=False) for n in range(4)]), tmp_path
    )
    assert not result.ok, result.text()
