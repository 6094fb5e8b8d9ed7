"""A seed is a scenario, always the same one; the seeds file keeps what failed."""

from pathlib import Path

import pytest

from tests.chaos.calls import Act, Call, CallLog, Outcome, Receipt, write_call
from tests.chaos.faults import FAULTS
from tests.chaos.needs import Needs
from tests.chaos.scenario import drawn, possible_faults, setting_of
from tests.chaos.seeds import Seed, keep_seed, kept_seeds
from tests.chaos.world import Setting


@pytest.mark.parametrize("cluster", [False, True])
def test_a_seed_gives_the_same_faults_again(cluster: bool) -> None:
    for seed in range(50):
        first, again = (drawn(seed, cluster=cluster) for _ in range(2))
        assert first == again
        assert len({type(step.fault) for step in first.steps}) == 4
    assert drawn(1, cluster=cluster) != drawn(2, cluster=cluster)


def test_every_fault_is_possible_somewhere_and_none_without_what_it_needs() -> None:
    found = set()
    for cluster in (False, True):
        possible = possible_faults(setting_of(cluster=cluster))
        assert not any((Needs.SINGLE if cluster else Needs.CLUSTER) in kind.needs for kind in possible)
        assert not any(Needs.BANK in kind.needs for kind in possible)
        assert not any(Needs.PROXY in kind.needs for kind in possible_faults(Setting(cluster=cluster)))
        found |= set(possible) | set(possible_faults(setting_of(cluster=cluster, bank=True)))
    assert found == set(FAULTS)


def test_a_failing_seed_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "seeds.txt"
    path.write_text("# why\n7 4  # nothing yet\n")
    keep_seed(Seed(8, 6, cluster=True), "stored twice", path)
    keep_seed(Seed(8, 6, cluster=True), "again", path)
    assert kept_seeds(path) == [Seed(7, 4, cluster=False), Seed(8, 6, cluster=True)]


def test_a_log_is_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    calls = [
        Call(client="c0", actor="käse", act=Act.APPEND, number=1, amount=2, command_id="x", started_s=1.0, ended_s=2.0,
             outcome=Outcome.REPLY, receipt=Receipt(1, 2, 3)),
        Call(client="c0", actor="käse", act=Act.READ, command_id="y", started_s=2.0, ended_s=2.5,
             outcome=Outcome.UNKNOWN),
    ]  # fmt: skip
    log = CallLog(path)
    with path.open("w") as file:
        write_call(calls[0], file)
        file.write('{"client": "c')
        file.flush()
        assert log.refresh() == calls[:1]
        file.seek(file.tell() - len('{"client": "c'))
        write_call(calls[1], file)
        file.flush()
        assert log.refresh() == calls[1:]
    assert log.calls == calls
