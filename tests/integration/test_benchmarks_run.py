"""The suite runs and writes points. Sizes are tiny and nothing is timed: its figures mean nothing here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

KEYS = {
    "name", "in_flight", "sync", "workers", "aether_per_s", "floor_per_s", "ratio", "p50_ms", "p99_ms", "floor_p50_ms",
    "floor_p99_ms",
}  # fmt: skip


@pytest.mark.parametrize(
    ("sync", "floors"), [("always", {"floor single", "floor batch"}), ("barrier", {"floor barrier"})]
)
def test_throughput_writes_valid_points(tmp_path: Path, sync: str, floors: set[str]) -> None:
    points_file = tmp_path / "points.json"
    sizes = ["--sync", sync, "--in-flight", "20", "--workers", "2", "--deposits", "200", "--accounts", "20"]
    point, printed = run_one_point(points_file, "throughput", *sizes)
    assert point.keys() >= KEYS
    assert (point["name"], point["sync"], point["in_flight"], point["workers"]) == ("throughput", sync, 20, 2)
    assert all(point[key] > 0 for key in KEYS - {"name", "sync"})
    assert point["runs"].keys() == {"aether", *floors}
    assert point["floor"] in printed


@pytest.mark.parametrize("sync", ["default", "barrier"])
def test_a_tell_is_compared_with_one_by_hand(tmp_path: Path, sync: str) -> None:
    sizes = ["--sync", sync, "--in-flight", "10", "--deposits", "100"]
    point, printed = run_one_point(tmp_path / "points.json", "tells", *sizes)
    assert point.keys() >= KEYS
    assert (point["name"], point["sync"], point["in_flight"], point["floor"]) == ("tells", sync, 10, "floor tell")
    assert all(point[key] > 0 for key in KEYS - {"name", "sync"})
    calls = {name: told.get("calls per pair") for name, told in point["figures"].items()}
    assert {name for name, told in calls.items() if told} == {"aether", "ask", "two calls", "floor tell"}
    assert {name for name, told in calls.items() if not told} == {"one call", "floor one call"}
    assert {"server", "worker", "load"} <= point["cpu_s_per_1000"]["floor tell"].keys()
    assert "aether / floor tell" in printed


def run_one_point(points_file: Path, name: str, *sizes: str) -> tuple[dict[str, Any], str]:
    """One round of a benchmark's only point, as it was written and as it was printed."""
    command = [sys.executable, "-m", "benchmarks", name, "--quick", "--rounds", "1", "--json", str(points_file)]
    done = subprocess.run(
        [*command, *sizes], check=False, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    (point,) = json.loads(points_file.read_text())
    return point, done.stdout


def test_the_gateway_is_compared_with_a_bare_endpoint() -> None:
    command = [sys.executable, "-m", "benchmarks.gateway", "--pairs", "1", "--seconds", "0.2", "--streams", "20"]
    done = subprocess.run(
        command, check=False, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[:2]] == ["1 in flight", "32 in flight"]
    assert done.stdout.count("20 streams") == 2
