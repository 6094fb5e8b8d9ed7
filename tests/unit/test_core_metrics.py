"""Metrics: what a worker says can be read by other versions, and what a pool's counters do when workers come and go."""

import json
import re
from typing import Any

import pytest

from aether.core.metrics.catalogue import BY_NAME, METRICS, MetricType
from aether.core.metrics.histogram import BOUNDS_S, Exemplar, Histogram, histogram_of
from aether.core.metrics.pool_metrics import WORKERS_KEPT, Accumulated, PoolMetrics, ask_workers
from aether.core.metrics.readings import Readings
from aether.core.metrics.worker_metrics import WorkerMetrics, decode_metrics, encode_metrics
from aether.runtime.counters import COUNTS, Counters
from aether.runtime.metrics import count_metric, read

DEPOSIT = ("account", "deposit")


def measured(ok: int = 0, active: int = 0, *seconds: float) -> Readings:
    counters = Counters()
    counters.of(*DEPOSIT).ok = ok
    counters.of_task("charge", "ok")
    counters.of_attempt("charge", "failed")
    for one in seconds:
        counters.of(*DEPOSIT).seconds.observe(one)
    return read(counters, active={"account": active}, waiting=0, shards=2)


def worker(name: str, readings: Readings, incarnation: str = "i") -> WorkerMetrics:
    return WorkerMetrics(name, incarnation, readings)


def pool(*workers: WorkerMetrics, missing: tuple[str, ...] = ()) -> PoolMetrics:
    return PoolMetrics(workers, missing, shards=8)


def as_dict(readings: Readings) -> dict[str, Any]:
    histograms = {
        name: {labels: (one.counts, one.sum_s) for labels, one in found.items()}
        for name, found in readings.histograms.items()
    }
    return {"values": readings.values, "histograms": histograms}


# ------------------------------------------------------------------------------------------------ the catalogue


def test_names_are_prometheus_names_and_say_their_type_and_unit() -> None:
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch("aether_[a-z][a-z_]*", metric.name), metric.name
        assert metric.name.endswith("_total") is (metric.type is MetricType.COUNTER), metric.name
        assert metric.name.endswith("_seconds") is (metric.type is MetricType.HISTOGRAM), metric.name
        assert metric.about.endswith("."), metric.name


def test_a_runtime_reads_every_metric_but_those_of_the_pool() -> None:
    readings = measured()
    of_the_pool = {"aether_shards", "aether_workers", "aether_workers_missing"}
    assert {*readings.values, *readings.histograms} == set(BY_NAME) - of_the_pool
    assert all(count_metric(name) in readings.values for name in COUNTS)


def test_each_count_is_read() -> None:
    counters = Counters()
    for number, name in enumerate(COUNTS, start=1):
        setattr(counters, name, number)
    readings = read(counters, active={}, waiting=0, shards=0)
    assert [readings.value(count_metric(name)) for name in COUNTS] == list(range(1, len(COUNTS) + 1))


def test_what_is_no_metric_is_refused() -> None:
    readings = Readings()
    with pytest.raises(KeyError):
        readings.put("aether_nothing", 1)
    with pytest.raises(ValueError, match="labels"):
        readings.put("aether_commands_total", 1, "account")
    with pytest.raises(ValueError, match="histogram"):
        readings.put("aether_commit_seconds", 1)
    with pytest.raises(ValueError, match="gauge"):
        readings.put_histogram("aether_waiting_commands", Histogram())


def test_a_reading_does_not_change_when_the_counting_goes_on() -> None:
    counters = Counters()
    counters.commit_seconds.observe(0.1)
    readings = read(counters, active={}, waiting=0, shards=0)
    counters.commit_seconds.observe(0.1)
    assert readings.histograms["aether_commit_seconds"][()].count == 1


# ------------------------------------------------------------------------------------------------ the message


def test_what_a_worker_says_is_read_as_it_was_measured() -> None:
    said = worker("a-0", measured(3, 7, 0.001, 0.02, 100.0))
    heard = decode_metrics(encode_metrics(said))
    assert heard is not None
    assert (heard.member, heard.incarnation) == ("a-0", "i")
    assert as_dict(heard.readings) == as_dict(said.readings)


def test_the_longest_durations_are_said_with_their_traces() -> None:
    histogram = Histogram()
    for number, seconds in enumerate((0.0002, 0.001, 0.02, 0.3, 7.0, 7.5)):
        histogram.note(Exemplar(f"{number:032x}", seconds, 1000.0 + number))
    histogram.note(Exemplar("e" * 32, 8.0, 1000.0))
    readings = Readings()
    readings.put_histogram("aether_command_seconds", histogram, *DEPOSIT)
    heard = decode_metrics(encode_metrics(worker("a-0", readings)))
    assert heard is not None
    found = heard.readings.histograms["aether_command_seconds"][DEPOSIT].exemplars
    assert [(one.trace_id[-1], one.seconds, one.time_s) for one in found.values()] == [
        ("1", 0.001, 1001.0), ("2", 0.02, 1002.0), ("3", 0.3, 1003.0), ("5", 7.5, 1005.0),
    ]  # fmt: skip
    accumulated = Accumulated()
    for _ in range(2):  # also when nothing was counted between
        kept = accumulated.take(pool(heard)).histograms["aether_command_seconds"][DEPOSIT]
        assert kept.exemplars == found


def test_a_message_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    message = {
        "member": "a-0",
        "later": [1],
        "values": {
            "aether_waiting_commands": [[[], 4, "more"]],
            "aether_of_a_later_version": [[[], 1]],
            "aether_commit_seconds": [[[], 1]],
            "aether_active_actors": [[["account", "another label"], 2]],
        },
        "histograms": {"aether_waiting_commands": [[[], [1], 0.5]]},
    }
    heard = decode_metrics(json.dumps(message).encode())
    assert heard is not None
    assert as_dict(heard.readings) == {"values": {"aether_waiting_commands": {(): 4}}, "histograms": {}}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"member": 1}',
        b'{"member": "a", "histograms": {"aether_commit_seconds": [[[], [-1], 0]]}}',
        b'{"member": "a", "histograms": {"aether_commit_seconds": [[[], [1], 0, [["x", 1, 1]]]]}}',
        b'{"error": {"code": "unavailable", "message": "too large"}}',
    ],
)
def test_what_is_no_message_is_none(raw: bytes) -> None:
    assert decode_metrics(raw) is None


def test_counts_by_other_bounds_go_where_their_bound_belongs() -> None:
    found = histogram_of([1, 2, 4, 8], [0.0002, 0.05, 70.0], 3.5)
    assert {bound_s: count for bound_s, count in zip((*BOUNDS_S, "more"), found.counts, strict=True) if count} == {
        0.00025: 1,
        0.05: 2,
        "more": 12,
    }
    assert found.sum_s == 3.5


# ------------------------------------------------------------------------------------------------ a pool


def test_a_pool_is_the_sum_of_its_workers() -> None:
    sums = pool(worker("a-0", measured(3, 7, 0.02)), worker("a-1", measured(4, 1, 0.02, 9.0)), missing=("b-0",)).sum()
    assert sums.value("aether_commands_total", *DEPOSIT, "ok") == sums.total("aether_commands_total") == 7
    assert sums.value("aether_active_actors", "account") == 8
    assert sums.value("aether_shards_owned") == 4
    assert (sums.value("aether_shards"), sums.value("aether_workers"), sums.value("aether_workers_missing")) == (
        8,
        2,
        1,
    )
    took = sums.histograms["aether_command_seconds"][DEPOSIT]
    assert (took.count, took.sum_s) == (3, 9.04)


def test_counters_never_fall_when_a_worker_goes_and_another_comes() -> None:
    counted = Accumulated()

    def total(*workers: WorkerMetrics) -> tuple[float, float, float]:
        found = counted.take(pool(*workers))
        took = found.histograms["aether_command_seconds"][DEPOSIT]
        return (found.total("aether_commands_total"), took.count, found.value("aether_active_actors", "account"))

    a, b = worker("a-0", measured(10, 1, 0.1)), worker("a-1", measured(20, 2, 0.1))
    assert total(a, b) == (30, 2, 3)
    assert total(a, b) == (30, 2, 3)
    assert total(b) == (30, 2, 2)
    assert total(b, worker("a-0", measured(5, 4, 0.1, 0.1), "next")) == (35, 4, 6)
    assert total(a, b, worker("a-0", measured(6, 4, 0.1, 0.1), "next")) == (36, 4, 7), "it was only silent for a while"


def test_a_worker_of_the_same_name_that_has_counted_less_has_begun_anew() -> None:
    counted = Accumulated()
    counted.take(pool(worker("a-0", measured(10, 1, 0.1, 0.1))))
    found = counted.take(pool(worker("a-0", measured(4, 1, 0.5))))
    assert found.total("aether_commands_total") == 14
    assert found.histograms["aether_command_seconds"][DEPOSIT].count == 3


def test_what_is_kept_of_workers_that_are_gone_is_bounded() -> None:
    counted, one = Accumulated(), measured(1)
    for number in range(WORKERS_KEPT + 9):
        counted.take(pool(worker("a-0", one, str(number))))
    found = counted.take(pool(worker("a-0", one, "the last")))
    assert found.total("aether_commands_total") == WORKERS_KEPT + 10
    assert len(counted._last) == WORKERS_KEPT


# ------------------------------------------------------------------------------------------------ asking


async def test_the_asking_ends_when_those_expected_have_answered() -> None:
    said = [encode_metrics(worker(name, measured(), "i")) for name in ("a-0", "stranger", "a-1", "a-2")]
    heard: list[bytes] = []

    async def ask(enough: Any, timeout_s: float) -> None:
        assert timeout_s == 1.5
        for one in [b"nonsense", *said]:
            heard.append(one)
            if enough(one):
                return

    found = await ask_workers(ask, {("a-0", "i"), ("a-1", "i")}, 8, 1.5)
    assert [one.member for one in found.workers] == ["a-0", "a-1", "stranger"]
    assert (found.missing, found.shards, len(heard)) == ((), 8, 4)


async def test_who_says_nothing_and_who_says_it_of_another_incarnation_is_missing() -> None:
    async def ask(enough: Any, timeout_s: float) -> None:
        assert not enough(encode_metrics(worker("a-0", measured(), "the one before")))

    found = await ask_workers(ask, {("a-0", "i"), ("a-1", "i")}, 8, 1.0)
    assert found.missing == ("a-0", "a-1")


async def test_where_no_worker_is_expected_all_that_answer_count() -> None:
    async def ask(enough: Any, timeout_s: float) -> None:
        assert not enough(encode_metrics(worker("a-0", measured())))
        assert not enough(encode_metrics(worker("a-1", measured())))

    assert len((await ask_workers(ask, (), 8, 1.0)).workers) == 2
