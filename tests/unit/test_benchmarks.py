"""The pure parts of the benchmarks: percentiles, points and their table, open loops, and what the floor stores."""

import asyncio
from collections import deque
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether.ids import ActorId, Position
from aether.names import Names
from aether.wire import decode_commit
from benchmarks.__main__ import parser, settings_of
from benchmarks.bank import Account, Deposited, model
from benchmarks.figures import Measured, Point, percentile, table, timed
from benchmarks.floor_plan import EXPECTED, Wanted, batch_sequences, last_sequence, next_batch, part_of, whole_turn
from benchmarks.history import Spread, body_of, mixed, run_of
from benchmarks.load import arrivals_s, closed_loop, each_once, open_loop, random_deposits, sum_of
from benchmarks.peers.report import tell, told
from benchmarks.suite import by_case
from benchmarks.summary import summary
from benchmarks.takeover import SHARDS, TELLS_PER_SHARD, Watch
from benchmarks.tasks import PLAIN_CALLS, TWO_CALLS, in_plain_calls
from benchmarks.tells import CALLS, CALLS_BY_CPU, CONTESTANTS, in_calls

# ---------------------------------------------------------------------------------------------------- figures


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_value_that_enough_values_do_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) * (1 - 1e-9)
    assert sum(value < found for value in ordered) <= max(0.0, share * len(ordered))


def test_percentiles_of_a_hundred() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.99, 0.999, 1.0)] == [50, 99, 100, 100]
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_latencies_are_told_in_milliseconds() -> None:
    measured = timed([0.001, 0.003, 0.002], 3.0)
    assert (measured.p50_ms, measured.p99_ms, measured.per_s) == (2.0, 3.0, 3.0)


def a_point(aether: list[float], single: list[float], batch: list[float]) -> Point:
    runs = {"aether": aether, "floor single": single, "floor batch": batch}
    return Point(
        name="throughput",
        in_flight=100,
        runs={name: [Measured(per_s=x, p50_ms=1 / x, p99_ms=2 / x) for x in rounds] for name, rounds in runs.items()},
        more={"accounts": 7},
    )


def test_the_floor_is_the_variant_with_the_better_median() -> None:
    point = a_point([50, 60, 70], [100, 90, 500], [200, 210, 1])
    assert point.floor == "floor batch"
    told = point.to_json()
    assert (told["aether_per_s"], told["floor_per_s"]) == (60, 200)
    assert told["ratio"] == 60 / 210
    assert (told["p50_ms"], told["floor_p99_ms"]) == (1 / 60, 2 / 200)
    assert (told["accounts"], told["rounds"], told["in_flight"]) == (7, 3, 100)
    assert len(told["runs"]["floor single"]) == 3
    orjson.dumps(told)


def test_a_faster_contestant_that_does_less_is_not_the_floor() -> None:
    point = replace(a_point([50, 60, 70], [100, 90, 500], [200, 210, 1]), beside="floor single")
    assert (point.floor, point.ratios) == ("floor single", [0.5, 60 / 90, 0.14])
    assert point.to_json()["floor_per_s"] == 100


def test_a_point_without_a_floor_or_a_speed_says_so_with_nothing() -> None:
    alone = Point(name="memory", runs={"aether": [Measured(figures={"bytes": 9.0})]})
    told = alone.to_json()
    assert told["floor"] is told["ratio"] is told["aether_per_s"] is told["floor_p99_ms"] is None
    assert told["runs"]["aether"] == [{"figures": {"bytes": 9.0}}]


def test_a_table_has_a_row_for_each_contestant_and_one_for_the_ratio() -> None:
    lines = list(table([a_point([50, 60], [100, 90], [20, 21])]))
    assert len(lines) == 2 + 3 + 1
    assert len({line.count("|") for line in lines}) == 1
    assert "aether / floor single" in lines[-1]


def test_a_summary_has_a_row_for_each_point() -> None:
    told = a_point([50, 60], [100, 90], [20, 21]).to_json()
    header, _, row = summary([told])
    assert row.count("|") == header.count("|")
    assert "| 95.0 (single) |" in row
    assert "| 0.58 (0.50-0.67) |" in row


def test_rounds_of_several_cases_are_told_apart() -> None:
    one, two = Measured(per_s=1), Measured(per_s=2)
    assert by_case({"aether": [{"a": one, "b": two}], "floor": [{"a": two}]}) == {
        "a": {"aether": [one], "floor": [two]},
        "b": {"aether": [two], "floor": []},
    }


def test_options_that_are_not_given_are_left_to_the_benchmark() -> None:
    settings = settings_of(parser().parse_args(["hot", "--quick", "--in-flight", "1", "10"]))
    assert (settings.rounds, settings.quick, settings.in_flight, settings.sync) == (5, True, [1, 10], ())
    assert settings.deposits_or(100, 10) == 10
    assert settings_of(parser().parse_args(["--rounds", "2", "--deposits", "3"])).deposits_or(100, 10) == 3


# ---------------------------------------------------------------------------------------------------- loads


def test_a_plan_is_the_same_for_a_seed() -> None:
    plan = random_deposits(10, 100, seed=1)
    assert plan == random_deposits(10, 100, seed=1) != random_deposits(10, 100, seed=2)
    assert {account for account, _ in plan} <= {account for account, _ in each_once(0, 10)}
    assert sum_of(each_once(5, 15)) == 10


@given(st.integers(1, 50), st.integers(1, 8))
@settings(max_examples=5)  # each collects the garbage of the whole suite
async def test_a_closed_loop_makes_every_deposit_with_so_many_in_flight(deposits: int, in_flight: int) -> None:
    now = most = total = 0

    async def deposit(_: str, amount: int) -> int:
        nonlocal now, most, total
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        total += amount
        return total

    plan = random_deposits(3, deposits, seed=0)
    await closed_loop(deposit, plan, in_flight)
    assert total == sum_of(plan)
    assert most == min(in_flight, deposits)


def test_arrivals_come_in_order_and_at_the_rate() -> None:
    due_s = arrivals_s(1_000, 10_000, seed=3)
    assert due_s == sorted(due_s)
    assert 9 < due_s[-1] < 11


async def test_an_open_loop_counts_from_the_time_at_which_it_should_have_sent() -> None:
    now_s = 100.0

    async def deposit(_: str, amount: int) -> int:
        nonlocal now_s
        now_s += 1.0  # everything is busy for a second, the sender too
        return amount

    measured = await open_loop(deposit, each_once(0, 4), [0.0, 0.0, 0.0, 0.0], now_s=lambda: now_s)
    assert (measured.p50_ms, measured.p99_ms) == (2_000.0, 4_000.0)
    assert measured.figures == {"sent late at most, ms": 3_000.0}


# ---------------------------------------------------------------------------------------------------- histories


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), max_size=3))
def test_mixed_histories_have_every_event_of_every_actor_in_order(sizes: list[tuple[int, int]]) -> None:
    histories = [Spread(f"p{place}x", actors, events) for place, (actors, events) in enumerate(sizes)]
    seen: dict[str, int] = {}
    for commit in mixed(histories):
        assert commit.version == seen.get(commit.key, 0) + 1
        seen[commit.key] = commit.version
    assert seen == {f"{h.prefix}{number}": h.events for h in histories for number in range(h.actors)}


@given(st.integers(1, 30), st.integers(1, 10))
def test_a_run_is_one_history_that_aether_reads(events: int, commit_events: int) -> None:
    read = [
        event
        for commit in run_of("a", events, commit_events)
        for event in decode_commit(body_of(commit), ActorId("account", "a"), Position(1))
    ]
    assert [event.version for event in read] == list(range(1, events + 1))
    deposited = model.actor_type(Account).events["Deposited"]
    assert all(deposited.decode(bytes(event.data), event.schemaversion) == Deposited(1) for event in read)


def test_what_a_peer_measured_arrives_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    measured = timed([0.1, 0.2], 3.0, {"server": 0.5}, {"late": 1.0})
    tell({"set": measured, "due": Measured(per_s=2.0)})
    assert told(capsys.readouterr().out.encode()) == {"set": measured, "due": Measured(per_s=2.0)}


# ---------------------------------------------------------------------------------------------------- the floor


WANTED = st.lists(
    st.builds(Wanted, st.sampled_from("abc"), st.integers(1, 9), st.uuids().map(str), st.just("r")), max_size=20
)


@given(WANTED, st.integers(1, 10), st.dictionaries(st.sampled_from("abc"), st.integers(1, 100)))
def test_a_batch_is_what_the_server_takes(wanted: list[Wanted], most: int, known: dict[str, int]) -> None:
    waiting = deque(wanted)
    batch = next_batch(waiting, balances=known, positions=known, batch_id="x", most=most)
    assert [one.wanted for one in batch] + list(waiting) == wanted
    assert len(batch) == min(most, len(wanted))
    if len(batch) > 1:
        assert [one.headers["Nats-Batch-Sequence"] for one in batch] == [str(n + 1) for n in range(len(batch))]
        assert {one.headers["Nats-Batch-Id"] for one in batch} == {"x"}
        assert ["Nats-Batch-Commit" in one.headers for one in batch] == [False] * (len(batch) - 1) + [True]
    seen: dict[str, int] = {}
    for one in batch:
        account = one.wanted.account
        expected = None if account in seen else str(known.get(account, 0))
        assert one.headers.get(EXPECTED) == expected
        seen[account] = seen.get(account, known.get(account, 0)) + one.wanted.amount
        assert one.balance == seen[account]
        assert orjson.loads(one.body)["data"] == {"amount": one.wanted.amount}


def test_a_batch_of_one_is_an_ordinary_publish() -> None:
    (only,) = next_batch(deque([Wanted("a", 5, "1", "r")]), {"a": 2}, {"a": 9}, "x")
    assert (only.headers, only.balance) == ({EXPECTED: "9"}, 7)


def test_sequences_of_a_batch_end_at_its_acknowledgement() -> None:
    assert list(batch_sequences(12, 3)) == [10, 11, 12]
    assert last_sequence(b'{"stream":"S","seq":12,"batch":"x","count":3}') == 12
    with pytest.raises(RuntimeError, match="wrong last sequence"):
        last_sequence(b'{"error":{"description":"wrong last sequence: 3"},"seq":0}')


def test_a_turn_is_one_message_of_all_that_waits() -> None:
    assert [event["id"] for event in orjson.loads(whole_turn([Wanted("a", n, str(n), "r") for n in (1, 2)]))] == [
        "1",
        "2",
    ]


@given(st.text("abc", min_size=1), st.integers(1, 4))
def test_an_account_has_one_part(account: str, parts: int) -> None:
    assert part_of(account, parts) == part_of(account, parts) in range(parts)


# ---------------------------------------------------------------------------------------------------- tasks, takeovers


def test_a_pair_is_told_in_calls_of_its_own_side_and_round() -> None:
    def rounds(*speeds: float, server: float) -> list[Measured]:
        return [Measured(per_s=speed, cpu_s={"server": server, "load": 9.0}) for speed in speeds]

    measured = {name: rounds(100, 50, server=0.4) for name, contestant in CONTESTANTS.items() if contestant.call}
    measured |= {"one call": rounds(200, 200, server=0.1), "floor one call": rounds(500, 300, server=0.2)}
    told = in_calls(measured)
    assert told.keys() == measured.keys()
    assert [one.figures[CALLS] for one in told["aether"]] == [2, 4]
    assert [one.figures[CALLS] for one in told["floor tell"]] == [5, 6]
    assert [told[name][0].figures[CALLS_BY_CPU] for name in ("aether", "floor tell")] == [4, 2]
    assert told["one call"] == measured["one call"]


def test_the_cpu_of_a_task_is_told_in_calls_of_the_same_round() -> None:
    task = Measured(cpu_s={"server": 0.2, "worker": 0.4, "load": 9.0})
    calls = Measured(cpu_s={"server": 0.1, "worker": 0.3, "load": 9.0})
    told = in_plain_calls({"aether": [task, task], TWO_CALLS: [calls, Measured()]})
    assert [one.figures for one in told["aether"]] == [{PLAIN_CALLS: pytest.approx(3.0)}, {}]
    assert told[TWO_CALLS] == [calls, Measured()]


def test_a_takeover_is_told_from_each_shards_own_lease() -> None:
    watch = Watch(Names("bench", SHARDS), frozenset({3, 5}), {3: "a", 5: "b"})
    watch.owned_s = {3: 10.0, 5: 10.5}
    watch.applied.update({3: TELLS_PER_SHARD, 5: TELLS_PER_SHARD - 1})
    assert not watch.is_over()
    watch.applied[5] += 1
    assert watch.is_over()
    watch.answered_s = {3: 10.2, 5: 10.6}
    watch.applied_s = {3: 10.1, 5: 10.4}  # 5: by the owner before
    figures = {name: round(value) for name, value in watch.figures().items()}
    assert figures == {
        "leases written in, ms": 500,
        "answers: p50 ms": 100,
        "answers: last ms": 200,
        "tells applied: p50 ms": 0,
        "tells applied: last ms": 100,
    }
