"""Processes of a benchmark: starting them, ending them by their id, and what they use of the machine."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TICKS_PER_SECOND = 100
"""Linux's USER_HZ, the unit of /proc/<pid>/stat."""

EXIT_TIMEOUT_S = 10.0


@contextlib.contextmanager
def running(arguments: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python program that has said `ready`; ended on the way out."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"{' '.join(arguments)} did not get ready")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds that the processes have used so far, user and system."""
    ticks = 0
    for pid in pids:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])
    return ticks / TICKS_PER_SECOND


def cpu_by_name(processes: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The same for each name of some processes."""
    return {name: cpu_of(pids) for name, pids in processes.items()}


def resident_bytes(pid: int) -> int:
    """Memory that is resident in a process and its own: what is shared with its siblings counts in part (Pss)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"process {pid} does not tell its memory")


def children_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found
