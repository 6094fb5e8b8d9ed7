"""`/metrics`: what the workers of all hosts have measured, added, for Prometheus.

The workers are asked when a scraper asks; one question is under way at a time, and its answer is kept a moment.
Counters are accumulated, so that they do not fall when a worker goes.
"""

import asyncio
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as Shown

from aether.core.metrics.catalogue import METRICS, MetricType
from aether.core.metrics.catalogue import Metric as Declared
from aether.core.metrics.histogram import BOUNDS_S, Exemplar, Histogram
from aether.core.metrics.pool_metrics import Accumulated
from aether.core.metrics.readings import Readings
from aether.gateway.routes import Exchange
from aether.untyped_client import UntypedClient

KEPT_S = 0.5
DEADLINE_S = 2.0
"""How long the table of members may take; the workers have a second."""

_BOUNDS = [*(repr(bound_s) for bound_s in BOUNDS_S), "+Inf"]
"""The label `le` of each bucket."""


class Metrics:
    """The numbers of one pool, since this gateway has begun, and of its workers' time before."""

    def __init__(self, client: UntypedClient) -> None:
        self._client = client
        self._accumulated = Accumulated()
        self._asking = asyncio.Lock()
        self._found = Readings()
        self._until_s = float("-inf")

    async def answer(self, exchange: Exchange) -> None:
        """200 with the metrics, in the format that `Accept` wants. Raises `Unavailable` when the pool has no server."""
        readings = await self._read()
        encode, media_type = choose_encoder(exchange.headers.get(b"accept", b"").decode("latin-1"))
        await exchange.answer(encode(_registry(readings)), media_type)

    async def _read(self) -> Readings:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._until_s:
            async with self._asking:
                if loop.time() >= self._until_s:
                    self._found = self._accumulated.take(await self._client.metrics(deadline_s=DEADLINE_S))
                    self._until_s = loop.time() + KEPT_S
        return self._found


class _Readings(Collector):
    """Readings as prometheus-client collects them."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Every family, also one without samples: what it means is there before anything was counted."""
        for declared in METRICS:
            if declared.type is MetricType.HISTOGRAM:
                yield _histograms(declared, self._readings.histograms.get(declared.name, {}))
            else:
                yield _values(declared, self._readings.values.get(declared.name, {}))


def _registry(readings: Readings) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Readings(readings))
    return registry


def _values(declared: Declared, values: dict[tuple[str, ...], float]) -> Metric:
    make = CounterMetricFamily if declared.type is MetricType.COUNTER else GaugeMetricFamily
    family = make(declared.name, declared.about, labels=declared.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _histograms(declared: Declared, histograms: dict[tuple[str, ...], Histogram]) -> Metric:
    family = HistogramMetricFamily(declared.name, declared.about, labels=declared.labels)
    for labels, one in sorted(histograms.items(), key=lambda item: item[0]):
        counts = zip(_BOUNDS, map(float, accumulate(one.counts)), strict=True)
        buckets = [
            (bound, count, _exemplar(one.exemplars[bucket])) if bucket in one.exemplars else (bound, count)
            for bucket, (bound, count) in enumerate(counts)
        ]
        family.add_metric(labels, buckets, one.sum_s)
    return family


def _exemplar(one: Exemplar) -> Shown:
    """Only the OpenMetrics format has it."""
    return Shown({"trace_id": one.trace_id}, one.seconds, one.time_s)
