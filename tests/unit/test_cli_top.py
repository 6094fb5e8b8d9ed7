"""`aether top` over a stand-in for the pool: what it computes of two readings, and how it ends."""

import io
import json
import re
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console

from aether.cli.top import COMMANDS_SHOWN, drawn
from aether.core.cluster.overview import Overview, ShardOverview, ShardState
from aether.core.metrics.activity import PoolActivity, pool_activity
from aether.core.metrics.failures import FailedActor, FailureGroup
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.core.metrics.worker_metrics import WorkerMetrics
from aether.errors import Unavailable
from aether.runtime.counters import Counters
from aether.runtime.metrics import read
from tests.support.command_line import Pool, Run, runner

OVERVIEW = Overview(
    [
        {"node": "a", "slot": 0, "state": "serving", "shards": 2},
        {"node": "a", "slot": 1, "state": "no answer", "shards": 1},
    ],
    [
        ShardOverview(0, ShardState.HELD, "a-0", "a-0", 1),
        ShardOverview(1, ShardState.HELD, "a-0", "a-0", 1),
        ShardOverview(2, ShardState.MOVING, "a-1", "a-0", 1),
    ],
)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def worker(counters: Counters, name: str = "a-0", incarnation: str = "i", active: int = 5) -> WorkerMetrics:
    return WorkerMetrics(name, incarnation, read(counters, active={"account": active}, waiting=3, shards=2))


def pool(*workers: WorkerMetrics, missing: tuple[str, ...] = ()) -> PoolMetrics:
    return PoolMetrics(workers, missing, 3)


def deposits(ok: int = 0, rejected: int = 0, failed: int = 0, *seconds: float) -> Counters:
    counters = Counters()
    found = counters.of("account", "deposit")
    found.ok, found.rejected, found.failed = ok, rejected, failed
    for one in seconds:
        found.seconds.observe(one)
    return counters


def text(activity: PoolActivity, width: int = 120, height: int | None = None) -> str:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(drawn("bank", activity, None if height is None else (width, height)))
    found = screen.file
    assert isinstance(found, io.StringIO)
    return found.getvalue()


def test_activity_is_what_came_between_two_readings() -> None:
    before = pool(worker(deposits(100, 10, 1, 9.0)), missing=("a-1",))
    now = pool(worker(deposits(120, 14, 2, 9.0, *[0.002] * 20, 0.4)), missing=("a-1",))
    found = pool_activity(OVERVIEW, before, now, 2.0)
    assert (found.per_s, found.rejected_per_s, found.failed_per_s) == (12.5, 2.0, 0.5)
    assert (found.active, found.waiting, found.missing) == (5, 3, ["a-1"])
    assert found.shards == {"held": 2, "moving": 1}
    assert found.p50_s is not None
    assert 0.001 < found.p50_s <= 0.0025, "what came before the first reading is left out"
    (command,) = found.commands
    assert (command.kind, command.command, command.per_s, command.p95_s) == ("account", "deposit", 12.5, found.p95_s)
    told, silent = found.workers
    assert (told.member, told.told, told.per_s, told.active, told.waiting) == ("a-0", True, 12.5, 5, 3)
    assert (silent.member, silent.told, silent.state, silent.per_s) == ("a-1", False, "no answer", 0)


def test_a_worker_that_was_not_there_before_has_done_nothing_yet() -> None:
    before = pool(worker(deposits(100)))
    for other in (worker(deposits(5_000), incarnation="next"), worker(deposits(5_000), name="a-1")):
        assert pool_activity(OVERVIEW, before, pool(other), 1.0).per_s == 0


def test_the_busiest_command_is_first() -> None:
    counters = Counters()
    counters.of("b", "seldom").ok = 1
    counters.of("c", "often").ok = 9
    counters.of("a", "never")
    found = pool_activity(OVERVIEW, pool(worker(Counters())), pool(worker(counters)), 1.0)
    assert [one.command for one in found.commands] == ["often", "seldom", "never"]


def test_the_screen_shows_all_of_it() -> None:
    before = pool(worker(deposits()))
    now = pool(worker(deposits(20, 4, 1, *[0.002] * 20)), missing=("a-1",))
    shown = text(pool_activity(OVERVIEW, before, now, 1.0))
    for line in (
        r"namespace bank: 2 workers, shards: 2 held, 1 moving",
        "25.0 commands/s",
        "told no numbers: a-1",
        "account  deposit",
        "serving",
        "no answer",
    ):
        assert line in shown, line


def test_a_long_list_of_commands_is_cut_and_says_so() -> None:
    counters = Counters()
    for number in range(COMMANDS_SHOWN + 2):
        counters.of("account", f"do-{number:02}").ok = 1
    shown = text(pool_activity(OVERVIEW, pool(worker(Counters())), pool(worker(counters)), 1.0))
    assert "and 2 more" in shown
    assert f"do-{COMMANDS_SHOWN - 1}" in shown
    assert f"do-{COMMANDS_SHOWN}" not in shown


def test_a_screen_says_what_it_has_no_room_for() -> None:
    counters = Counters()
    for number in range(20):
        counters.of("account", f"do-{number:02}").ok = 1
    members = [{"node": "a", "slot": slot, "state": "serving", "shards": 1} for slot in range(20)]
    many = Overview(members, OVERVIEW.shards)
    for height, workers, commands in ((24, 7, 7), (50, 20, 20), (10, 3, 3)):
        for overview in (OVERVIEW, many):
            found = pool_activity(overview, pool(worker(Counters())), pool(worker(counters)), 1.0)
            shown = text(found, height=height)
            lines = shown.splitlines()
            rows = {name: sum(line.startswith(name) for line in lines) for name in ("a-", "account")}
            assert rows["a-"] == min(workers, len(overview.members))
            assert rows["account"] >= commands
            assert shown.count(" more") == (rows["a-"] < len(overview.members)) + (rows["account"] < 20)
            assert len(lines) < max(height, 18), "an error has a line above"


def test_failures_that_take_several_lines_leave_room_for_workers_and_commands() -> None:
    failures = [
        FailureGroup("account", f"do-{n}", "failed", "ValueError", 3, 1.0, (FailedActor("a", 1.0, 1, "wrong " * 30),))
        for n in range(3)
    ]
    activity = structs.replace(pool_activity(OVERVIEW, pool(), pool(worker(deposits(1))), 1.0), failures=failures)
    for size, shown, lines in (((80, 40), 3, 30), ((80, 24), 2, 23), ((50, 20), 1, 19)):
        drawn_lines = text(activity, *size).splitlines()
        assert sum("ValueError" in line for line in drawn_lines) == shown
        assert any(line.startswith("account") for line in drawn_lines)
        assert len(drawn_lines) <= lines


def test_a_table_fits_on_80_columns_and_long_names_leave_numbers_whole() -> None:
    counters = deposits(9_999)
    counters.of("customer-subscription", "change_billing_address").ok = 123
    wide = Overview([{**OVERVIEW.members[0], "node": "payments-host-17"}], OVERVIEW.shards)
    for overview, name in ((OVERVIEW, "a-0"), (wide, "payments-host-17-0")):
        found = pool_activity(overview, pool(worker(Counters(), name)), pool(worker(counters, name)), 1.0)
        shown = text(found, 80)
        assert "…" not in shown
        for whole in ("lag p95", "123.0", "9999.0", "10122.0 commands/s"):
            assert whole in shown, whole
        assert re.search(rf"{name} +serving +2 +5 +3 +10122.0 ", shown)


def test_what_comes_from_workers_cannot_move_the_cursor() -> None:
    counters = Counters()
    counters.of("account", "evil\x1b[2J").ok = 1
    shown = text(pool_activity(OVERVIEW, pool(worker(Counters())), pool(worker(counters)), 1.0))
    assert "\x1b" not in shown
    assert "evil" in shown


# ------------------------------------------------------------------------------------------------ the command


def readings(*numbers: int) -> list[PoolMetrics | BaseException]:
    return [pool(worker(deposits(number, 0, 0, 0.002))) for number in numbers]


@pytest.mark.parametrize("arguments", [("--once",), ("--json",), ("--json", "--once")])
def test_one_reading_is_one_line_of_json_in_a_pipe(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("top", "--interval", "0.1", *arguments, pool=Pool(measured=readings(0, 5, 7)))
    (line,) = ran.out.splitlines()
    found = json.loads(line)
    assert (ran.code, ran.err, found["namespace"]) == (0, "", "bank")
    assert found["commands"][0]["per_s"] * found["over_s"] == pytest.approx(5)
    assert len(found["workers"]) == 3


def test_json_is_for_terminals_too_and_once_is_a_table_there(run: Run) -> None:
    measured = readings(0, 5)
    ran = run("top", "--interval", "0.1", "--json", pool=Pool(measured=list(measured)), terminal=True)
    assert json.loads(ran.out)["namespace"] == "bank"
    ran = run("top", "--interval", "0.1", "--once", pool=Pool(measured=list(measured)), terminal=True)
    assert ran.code == 0
    assert "namespace bank: 3 workers" in ran.out
    assert "deposit" in ran.out


@pytest.mark.parametrize("terminal", [True, False])
def test_it_goes_on_until_it_is_interrupted_and_says_what_is_wrong_meanwhile(run: Run, terminal: bool) -> None:
    measured = [*readings(0, 5, 7), Unavailable("the server is away"), *readings(9), KeyboardInterrupt()]
    ran = run("top", "--interval", "0.1", pool=Pool(measured=measured), terminal=terminal)
    assert ran.code == 0
    if terminal:
        assert "the server is away" in ran.out
        assert "deposit" in ran.out
    else:
        done = [round(one["commands"][0]["per_s"] * one["over_s"], 6) for one in map(json.loads, ran.out.splitlines())]
        assert done == [5, 2, 2]
        assert ran.err == "unavailable: the server is away\n"


@pytest.mark.parametrize("before", [(), (0,)])
def test_a_pool_that_cannot_be_read_at_first_is_an_error(run: Run, before: tuple[int, ...]) -> None:
    measured: list[Any] = [*readings(*before), Unavailable("the server is away")]
    ran = run("top", "--interval", "0.1", pool=Pool(measured=measured))
    assert (ran.code, ran.out, ran.err) == (3, "", "unavailable: the server is away\n")


@pytest.mark.parametrize("interval", ["0", "61", "nan", "often"])
def test_an_interval_that_is_none_is_refused(run: Run, interval: str) -> None:
    assert run("top", "--interval", interval).code == 2
