"""What a worker answers when it is asked for its numbers: one message, which other versions can read.

A reader leaves out what it does not know: further fields, metrics of a newer catalogue, metrics whose labels are others
there. A histogram says its bounds, so a version that has others can add it to its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import DecodeError, Meta, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from aether.core.metrics.failures import FailureGroup
from aether.core.metrics.histogram import BOUNDS_S, Exemplar, Histogram, histogram_of
from aether.core.metrics.readings import Labels, Readings

EXEMPLARS_SENT_MAX = 4
"""Exemplars of a histogram in a message, those of the longest durations: a message has to stay small."""


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The readings of one worker: `member` is its name, `incarnation` says which process of that name.

    `failures` and `rejections`: what it remembers of commands that ended so, the latest first.
    """

    member: str
    incarnation: str
    readings: Readings
    failures: tuple[FailureGroup, ...] = ()
    rejections: tuple[FailureGroup, ...] = ()


class _Value(Struct, array_like=True):
    labels: list[str]
    value: float


class _Exemplar(Struct, array_like=True):
    trace_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    seconds: float
    time_s: float


class _Histogram(Struct, array_like=True):
    labels: list[str]
    counts: list[Annotated[int, Meta(ge=0)]]
    """Without the zeros at the end."""
    sum_s: float
    exemplars: list[_Exemplar] = []


class _Message(Struct, kw_only=True):
    member: str
    incarnation: str = ""
    bounds_s: list[float] = []
    values: dict[str, list[_Value]] = {}
    histograms: dict[str, list[_Histogram]] = {}
    failures: tuple[FailureGroup, ...] = ()
    rejections: tuple[FailureGroup, ...] = ()


_encoder = Encoder()
_decoder = Decoder(_Message)


def encode_metrics(metrics: WorkerMetrics) -> bytes:
    """The readings as JSON."""
    readings = metrics.readings
    return _encoder.encode(
        _Message(
            member=metrics.member,
            incarnation=metrics.incarnation,
            bounds_s=list(BOUNDS_S),
            values={
                name: [_Value(list(labels), value) for labels, value in values.items()]
                for name, values in readings.values.items()
            },
            histograms={
                name: [_histogram(labels, one) for labels, one in found.items()]
                for name, found in readings.histograms.items()
            },
            failures=metrics.failures,
            rejections=metrics.rejections,
        )
    )


def decode_metrics(raw: bytes) -> WorkerMetrics | None:
    """A worker's readings, or None for bytes that are none."""
    try:
        message = _decoder.decode(raw)
    except (DecodeError, ValidationError):
        return None
    readings = Readings()
    for name, labels, value in _values(message):
        _put_known(readings, name, labels, value)
    for name, labels, histogram in _histograms(message):
        _put_known(readings, name, labels, histogram)
    return WorkerMetrics(message.member, message.incarnation, readings, message.failures, message.rejections)


def _values(message: _Message) -> Iterator[tuple[str, Labels, float]]:
    for name, values in message.values.items():
        for one in values:
            yield name, tuple(one.labels), one.value


def _histograms(message: _Message) -> Iterator[tuple[str, Labels, Histogram]]:
    for name, histograms in message.histograms.items():
        for one in histograms:
            found = histogram_of(one.counts, message.bounds_s, one.sum_s)
            for exemplar in one.exemplars[:EXEMPLARS_SENT_MAX]:
                found.note(Exemplar(exemplar.trace_id, exemplar.seconds, exemplar.time_s))
            yield name, tuple(one.labels), found


def _put_known(readings: Readings, name: str, labels: Labels, found: float | Histogram) -> None:
    """Take what this version knows, in the shape that it knows."""
    try:
        if isinstance(found, Histogram):
            readings.put_histogram(name, found, *labels)
        else:
            readings.put(name, found, *labels)
    except (KeyError, ValueError):
        return


def _histogram(labels: Labels, one: Histogram) -> _Histogram:
    exemplars = [_Exemplar(*one.exemplars[bucket]) for bucket in sorted(one.exemplars)[-EXEMPLARS_SENT_MAX:]]
    return _Histogram(list(labels), _without_zeros(one.counts), one.sum_s, exemplars)


def _without_zeros(counts: list[int]) -> list[int]:
    last = len(counts)
    while last and not counts[last - 1]:
        last -= 1
    return counts[:last]
