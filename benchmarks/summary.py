"""Points that were written to files, as short tables: a row a point, in the form that docs/performance.md has them.

python -m benchmarks.summary points.json ...
"""

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.figures import AETHER

_Told = dict[str, Any]
"""A point as `Point.to_json` tells it."""


def summary(points: Sequence[_Told]) -> Iterator[str]:
    """The lines of a table of one benchmark's points."""
    unit = points[0]["unit"]
    speed = any(point["aether_per_s"] for point in points)
    timed = any(point["p50_ms"] for point in points)
    tail = any(point["name"] == "open" for point in points)
    header = ["", *([f"{unit}/s", "floor's", "ratio (min-max)"] if speed and not tail else [])]
    header += ["p50 / p99 ms", "floor's"] if timed and not tail else []
    header += ["p50 / p99 / p99.9 ms", "floor's"] if tail else []
    header += ["server + worker CPU s per 1,000", "floor's"] if points[0]["cpu_s_per_1000"][AETHER] else []
    settings = [_setting(point) for point in points]
    common = [part for part in settings[0] if len(points) > 1 and all(part in setting for setting in settings)]
    if common:
        yield f"{', '.join(common)}:\n"
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for point, setting in zip(points, settings, strict=True):
        cells = [", ".join(part for part in setting if part not in common)]
        if speed and not tail:
            floor = f"{_number(point['floor_per_s'])} ({_variant(point)})"
            cells += [_number(point["aether_per_s"]), floor, _ratio(point)]
        if timed:
            shares = ["p50_ms", "p99_ms", *(["p999_ms"] if tail else [])]
            variant = f" ({_variant(point)})" if tail else ""
            cells += [_slashed(point, shares), _slashed(point, [f"floor_{share}" for share in shares]) + variant]
        if points[0]["cpu_s_per_1000"][AETHER]:
            cells += [_cpu(point, AETHER), _cpu(point, point["floor"])]
        yield f"| {' | '.join(cells)} |"


def _setting(point: _Told) -> list[str]:
    workers = f"{point['workers']} worker{'s' * (point['workers'] > 1)}"
    in_flight = [] if point["in_flight"] is None else [f"{point['in_flight']} in flight"]
    return [*([point["case"]] if point["case"] else []), f"sync {point['sync']}", workers, *in_flight]


def _variant(point: _Told) -> str:
    return str(point["floor"]).removeprefix("floor ")


def _ratio(point: _Told) -> str:
    """The ratio, and its least and most of all rounds."""
    ours, theirs = ([run["per_s"] for run in point["runs"][name]] for name in (AETHER, point["floor"]))
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    return f"{point['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _time(value_ms: float | None) -> str:
    return "-" if value_ms is None else f"{value_ms:,.0f}" if value_ms >= 100 else f"{value_ms:.3g}"


def _slashed(point: _Told, names: Sequence[str]) -> str:
    return " / ".join(_time(point[name]) for name in names)


def _cpu(point: _Told, contestant: str) -> str:
    used = point["cpu_s_per_1000"][contestant]
    return " + ".join(f"{used[name]:.3f}" for name in ("server", "worker") if name in used)


def main() -> None:
    """Print the tables of all files, one for each name that is told in speed or latency."""
    points = [point for path in sys.argv[1:] for point in json.loads(Path(path).read_text())]
    for name, group in groupby(points, key=lambda point: point["name"]):
        found = [point for point in group if point["p50_ms"] or point["aether_per_s"]]
        if found:
            print(f"\n### {name}\n\n" + "\n".join(summary(found)))


if __name__ == "__main__":
    main()
