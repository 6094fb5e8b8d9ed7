"""`aether repair`, workers that are not ready in `aether ps`, and calls while two versions of the model serve."""

import copy
import json
from typing import Any

import pytest

from aether.jetstream.stream_settings import SettingDifference
from tests.support.command_line import DEPOSIT, SCHEMA, Pool, Run, runner

CHANGEABLE = SettingDifference("KV_X", "max_age", 5, "0", 0)
FIXED = SettingDifference("KV_X", "storage", "memory", "'file'", "file")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def older() -> dict[str, Any]:
    """The schema of a version that has no deposits yet."""
    schema = copy.deepcopy(SCHEMA)
    del schema["actors"]["account"]["commands"]["deposit"]
    return schema


def test_repair_says_what_it_changed_and_only_looks_in_a_dry_run(run: Run) -> None:
    pool = Pool(differences=[CHANGEABLE])
    dry, done = run("repair", "--dry-run", pool=pool), run("repair", pool=pool)
    assert pool.asked == [("repair", False), ("repair", True)]
    assert (dry.code, done.code) == (0, 0)
    row = {"stream": "KV_X", "setting": "max_age", "found": 5, "needed": "0"}
    assert json.loads(dry.out) == {**row, "outcome": "can be changed"}
    assert json.loads(done.out) == {**row, "outcome": "changed"}


def test_repair_fails_when_something_cannot_be_changed(run: Run) -> None:
    ran = run("repair", pool=Pool(differences=[CHANGEABLE, FIXED]))
    assert ran.code == 1
    assert [json.loads(line)["outcome"] for line in ran.out.splitlines()] == ["changed", "cannot be changed"]
    assert run("repair", pool=Pool()).out == ""


def test_a_command_that_only_another_worker_knows_is_looked_for_while_a_deployment_is_under_way(run: Run) -> None:
    pool = Pool(deploying=True, schemas=[older(), older()])
    assert run(*DEPOSIT, "amount=10", pool=pool).code == 0
    assert pool.schemas == []


def test_and_is_refused_at_once_otherwise(run: Run) -> None:
    pool = Pool(schemas=[older(), older()])
    ran = run(*DEPOSIT, "amount=10", pool=pool)
    assert ran.code == 2
    assert "has no command 'deposit'" in ran.err or "unknown command" in ran.err
    assert len(pool.schemas) == 1
