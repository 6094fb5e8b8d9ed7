"""How a program of a peer, which runs in a Python of its own, tells what it measured: one line of JSON."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.figures import AETHER, Measured, Point

DEPOSITS = "deposits"
"""The load that is answered when its effect is stored."""

DEPOSIT_ACCOUNTS = 1_000


def tell(cases: Mapping[str, Measured]) -> None:
    """Print it, by case."""
    print(json.dumps({case: asdict(measured) for case, measured in cases.items()}), flush=True)


def told(line: bytes) -> dict[str, Measured]:
    """What was printed."""
    found: dict[str, Any] = json.loads(line)
    return {case: Measured(**measured) for case, measured in found.items()}


def against_each(point: Point) -> str:
    """Aether's speed over that of each other contestant: the median of the rounds' ratios, the least and the most."""
    told_of = []
    for name in point.runs:
        if name != AETHER:
            pairs = zip(point.values(AETHER, "per_s"), point.values(name, "per_s"), strict=True)
            ratios = [ours / theirs for ours, theirs in pairs]
            told_of.append(f"{name} {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    return f"- {point.in_flight} in flight, aether over: {', '.join(told_of)}"
