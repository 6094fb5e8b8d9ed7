"""`/metrics`: what Prometheus reads is what the workers counted, summed, in a format that its own parser takes."""

import asyncio
import time
from contextlib import nullcontext
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from aether.core.metrics.catalogue import METRICS
from aether.core.metrics.histogram import BOUNDS_S
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.errors import Unavailable
from aether.gateway import metrics as gateway_metrics
from aether.gateway.access import ByToken, Role
from tests.support.actors import Account
from tests.support.gateway import Served, served
from tests.support.traces import tracer_provider

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_metrics, "KEPT_S", 0.0)


async def scraped(one: Served, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples by name and labels."""
    answer = await one.http.get("/metrics", headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200, answer.text
    parse: Any = parse_openmetrics if accept else parse_text
    families = list(parse(answer.text))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
async def test_what_the_workers_counted_is_there_summed(accept: str) -> None:
    async with served() as one:
        for number in range(5):
            await one.pool.client.actor(Account, f"a{number}").deposit(1)
        await one.http.post("/actors/account/a0/withdraw", json={"amount": 100})
        found = await scraped(one, accept)
        done = {"kind": "account", "command": "deposit"}
        assert found["aether_commands_total", labels(**done, outcome="ok")] == 5
        assert found["aether_commands_total", labels(**done, outcome="failed")] == 0
        refused = labels(kind="account", command="withdraw", outcome="rejected")
        assert found["aether_commands_total", refused] == 1
        assert found["aether_active_actors", labels(kind="account")] == 5
        assert found["aether_commits_total", labels()] == 5
        assert found["aether_workers", labels()] == 2
        assert found["aether_workers_missing", labels()] == 0
        assert found["aether_shards_owned", labels()] == found["aether_shards", labels()] == 32
        assert found["aether_command_seconds_count", labels(**done)] == 5
        assert found["aether_command_seconds_bucket", labels(**done, le="+Inf")] == 5
        below = [found["aether_command_seconds_bucket", labels(**done, le=f"{bound_s!r}")] for bound_s in BOUNDS_S]
        assert below == sorted(below)


async def exemplars(one: Served, accept: str = OPENMETRICS) -> dict[str, str]:
    """Trace ids of the histogram of commands, by command."""
    answer = await one.http.get("/metrics", headers={"Accept": accept})
    parse: Any = parse_openmetrics if accept else parse_text
    samples = [sample for family in parse(answer.text) for sample in family.samples if sample.exemplar is not None]
    for sample in samples:
        assert sample.name == "aether_command_seconds_bucket"
        assert sample.exemplar.value <= float(sample.labels["le"])
        assert abs(float(sample.exemplar.timestamp) - time.time()) < 600
    return {sample.labels["command"]: sample.exemplar.labels["trace_id"] for sample in samples}


async def test_how_long_a_traced_command_took_leads_to_its_trace() -> None:
    with tracer_provider() as exporter:
        async with served() as one:
            await one.pool.client.actor(Account, "a").deposit(1)
            found = await exemplars(one)
            assert await exemplars(one, "") == {}
    traces = {
        span.name: f"{span.context.trace_id:032x}" for span in exporter.get_finished_spans() if span.context is not None
    }
    assert found == {"deposit": traces["turn account.deposit"]}


@pytest.mark.parametrize("sampled", [True, False], ids=["not-configured", "not-sampled"])
async def test_what_is_not_traced_has_no_exemplar(sampled: bool) -> None:
    with nullcontext() if sampled else tracer_provider(ALWAYS_OFF):
        async with served() as one:
            await one.pool.client.actor(Account, "a").deposit(1)
            assert await exemplars(one) == {}


async def test_every_metric_of_the_catalogue_is_there_with_its_type_and_meaning() -> None:
    async with served() as one:
        families = {family.name: family for family in parse_text((await one.http.get("/metrics")).text)}
        names = {metric.name.removesuffix("_total"): metric for metric in METRICS}
        assert set(families) == set(names)
        for name, metric in names.items():
            assert (families[name].type, families[name].documentation) == (metric.type.value, metric.about)
            for sample in families[name].samples:
                assert set(sample.labels) == {*metric.labels, *(["le"] if sample.name.endswith("_bucket") else [])}


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html, */*", "text/plain; version=0.0.4; charset=utf-8"),
        (f"{OPENMETRICS},text/plain;version=0.0.4;q=0.5", OPENMETRICS),
    ],
)
async def test_the_format_is_the_one_that_was_asked_for(accept: str, media_type: str) -> None:
    async with served() as one:
        answer = await one.http.get("/metrics", headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.text.endswith("# EOF\n") is media_type.startswith("application/openmetrics-text")
        assert answer.headers["cache-control"] == "no-store"


async def test_counters_do_not_fall_when_a_worker_crashes() -> None:
    async with served() as one:
        for number in range(6):
            await one.pool.client.actor(Account, f"a{number}").deposit(1)
        done = ("aether_commands_total", labels(kind="account", command="deposit", outcome="ok"))
        assert (await scraped(one))[done] == 6
        await one.pool.crash(0)
        found = await scraped(one)
        assert found[done] == 6
        assert found["aether_command_seconds_count", labels(kind="account", command="deposit")] == 6
        assert found["aether_active_actors", labels(kind="account")] < 6
        await one.pool.client.actor(Account, "a0").deposit(1)
        assert (await scraped(one))[done] == 7


async def test_a_worker_that_says_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as one:
        untyped = one.pool.client.untyped
        whole = await untyped.metrics()

        async def metrics(deadline_s: float | None = None) -> PoolMetrics:
            return PoolMetrics(whole.workers[:1], ("local-1",), whole.shards)

        monkeypatch.setattr(untyped, "metrics", metrics)
        found = await scraped(one)
        assert (found["aether_workers", labels()], found["aether_workers_missing", labels()]) == (1, 1)


async def test_many_who_ask_at_once_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_metrics, "KEPT_S", 60.0)
    async with served() as one:
        untyped, asked = one.pool.client.untyped, 0
        ask = untyped.metrics

        async def metrics(deadline_s: float | None = None) -> PoolMetrics:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.01)
            return await ask(deadline_s=deadline_s)

        monkeypatch.setattr(untyped, "metrics", metrics)
        answers = await asyncio.gather(*(one.http.get("/metrics") for _ in range(10)))
        assert ({answer.status_code for answer in answers}, asked) == ({200}, 1)


async def test_a_pool_that_cannot_be_asked_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as one:

        async def metrics(deadline_s: float | None = None) -> PoolMetrics:
            raise Unavailable("the server is away")

        monkeypatch.setattr(one.pool.client.untyped, "metrics", metrics)
        answer = await one.http.get("/metrics")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_who_may_read_may_scrape() -> None:
    token = "reader-reader-reader"
    async with served(access=ByToken({token: (Role.READ, "prometheus")})) as one:
        assert (await one.http.get("/metrics")).status_code == 401
        answer = await one.http.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
