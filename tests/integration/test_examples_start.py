"""`scripts/start`, the whole product in one command: fed, checked, once, again, and nothing left behind."""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from aether import connect
from examples.flights.airport import Airport
from examples.flights.model import model
from examples.flights.source import flight_of, read_rows

CLONE = Path(__file__).parents[2]
ROWS = 400


class Starts:
    """Runs of the start script over one data directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, rows: int = ROWS) -> "subprocess.Popen[str]":
        """Start it and let it run."""
        process = subprocess.Popen(
            ["scripts/start", f"--limit={rows}", "--workers=1", *arguments],
            cwd=CLONE,
            env={**os.environ, "AETHER_DATA_DIR": str(self.directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running.append(process)
        return process

    def once(self) -> tuple[int, str]:
        """Exit status and output of a run to its end."""
        process = self.start("--once")
        output, _ = process.communicate()
        return process.returncode, output

    def end(self) -> None:
        """Stop what a failed test left, and wait for it."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate()

    def living(self) -> list[str]:
        """The command lines of all processes whose environment or command line names the directory."""
        needle = os.fsencode(self.directory)
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command_line = (process / "cmdline").read_bytes()
                if needle in command_line or needle in (process / "environ").read_bytes():
                    found.append(command_line.replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
        return found


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Starts]:
    """Runs whose processes are all gone at the end."""
    starts = Starts(tmp_path / "data")
    try:
        yield starts
    finally:
        starts.end()
    assert starts.living() == []


def test_a_second_start_finds_everything_and_changes_nothing(starts: Starts) -> None:
    status, output = starts.once()
    assert status == 0, output
    assert re.search(r"^start: aether \S+ \((compiled|plain Python)\)$", output, re.MULTILINE)
    assert f"{ROWS} rows are new to the pool, 0 it already had" in output
    assert "are equal to a direct pass over the file" in output
    assert starts.living() == []
    status, output = starts.once()
    assert status == 0, output
    assert f"0 rows are new to the pool, {ROWS} it already had" in output
    assert "are equal to a direct pass over the file" in output


def test_it_stays_up_until_interrupted_and_a_wrong_total_fails_the_next_start(starts: Starts) -> None:
    process = starts.start()
    wait_for_the_verdict(process)
    status, output = starts.once()
    assert status == 4, output
    assert "runs in" in output
    asyncio.run(record_a_flight_that_never_was((starts.directory / "nats.url").read_text().strip()))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert starts.living() == []
    status, output = starts.once()
    assert status == 1, output
    assert "airport/JFK departures" in output


def test_the_totals_are_exact_though_the_worker_is_killed_while_it_counts(starts: Starts) -> None:
    process = starts.start("--once", rows=2_000)
    assert process.stdout is not None
    shown, worker_pid, killed = [], 0, 0
    for line in process.stdout:
        shown.append(line)
        serving = re.search(r"-0\[(\d+)\] INFO aether.worker: serving", line)
        if serving:
            worker_pid = int(serving[1])
        elif "rows fed:" in line and worker_pid and killed < 3:
            os.kill(worker_pid, signal.SIGKILL)
            worker_pid, killed = 0, killed + 1
    assert process.wait() == 0, "".join(shown)
    assert killed
    assert any("are equal to a direct pass over the file (2,000 rows fed)" in line for line in shown)


def test_a_closed_terminal_leaves_nothing_behind(starts: Starts) -> None:
    process = starts.start()
    wait_for_the_verdict(process)
    process.send_signal(signal.SIGHUP)
    process.communicate()
    assert process.returncode == 143
    assert starts.living() == []


def test_the_dashboard_is_where_the_start_says(starts: Starts) -> None:
    process = starts.start()
    wait_for_the_verdict(process)
    assert process.stdout is not None
    said = next(line for line in process.stdout if "dashboard" in line)
    url = re.search(r"http://127\.0\.0\.1:\d+/ui/", said)
    assert url is not None
    assert "flights" in httpx2.get(url[0], timeout=30).raise_for_status().text


def wait_for_the_verdict(process: "subprocess.Popen[str]") -> None:
    """Read until the last of the commands to try; fail when the output ends before."""
    assert process.stdout is not None
    shown = []
    for line in process.stdout:
        shown.append(line)
        if "aether ps" in line:
            return
    pytest.fail("".join(shown))


async def record_a_flight_that_never_was(url: str) -> None:
    """Have JFK count a departure that is not in the file."""
    row = next(row for row in read_rows(ROWS) if row["origin"] == "JFK" and row["dep_time"] != "NA")
    async with connect(url, model=model) as client:
        assert await client.actor(Airport, "JFK").record(replace(flight_of(row), carrier="ZZ"))
