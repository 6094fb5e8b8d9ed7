"""Many power cuts: `python -m tests.powercut [--cuts N] [--seed TEXT] ...`; see `scripts/powercut`."""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.calls import write_call
from tests.powercut.cuts import Cut, cuts
from tests.powercut.disk import FileSystem, Names
from tests.powercut.recorded import DATA
from tests.powercut.recording import Before, Recording, Scene, record, write_image
from tests.powercut.trace import NotUnderstood

LEFT_MIN = 100
"""Commits on a disk with which another run goes on."""

ATTEMPTS = 3
"""A server that is killed while it writes makes a trace that says not whether it has written."""


@dataclass
class _Count:
    cuts: int = 0
    failed: int = 0


def recorded(scene: Scene, before: Before | None = None) -> Recording:
    """One run; another one when its trace cannot be understood."""
    for attempt in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="aether-recorded-") as directory:
            try:
                return record(scene, Path(directory), before)
            except NotUnderstood:
                if attempt == ATTEMPTS - 1:
                    raise
    raise AssertionError("unreachable")


def main() -> int:
    """Run the command line of this process; 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other options are those of tests.powercut.pool.")
    parser.add_argument("--cuts", type=int, default=300, help="in all (default: 300)")
    parser.add_argument("--pools", type=int, default=30, help="of them with a whole pool afterwards (default: 30)")
    parser.add_argument("--runs", type=int, default=3, help="recorded runs that they are of (default: 3)")
    parser.add_argument("--calls", type=int, default=1_500, help="answers before each step of a run")
    parser.add_argument("--seed", default="by hand")
    parser.add_argument("--steps", default="worker,purge,server", help="what befalls a run, in this order: worker, "
                        "server, crash (of the server), purge (snapshots), fill and clear (of the stream)")  # fmt: skip
    parser.add_argument("--names", type=Names, default=Names.POSIX, help="when names are durable: " + ", ".join(Names))
    parser.add_argument("--empty-renames", action="store_true", help="a renamed file may be empty")
    parser.add_argument("--again", action="store_true", help="every other run goes on with the disk of a cut before it")
    parser.add_argument("--bank", action="store_true", help="transfers, schedules and tasks instead of ledgers")
    own, pool = parser.parse_known_args()
    steps = tuple(own.steps.split(",")) if own.steps else ()
    scene = Scene(arguments=tuple(pool), steps=steps, calls=own.calls, bank=own.bank)
    count = _Count()
    began_s = time.monotonic()
    before: Before | None = None
    for run in range(own.runs):
        recording = recorded(scene, before)
        print(f"run {run}: {len(recording.calls)} calls{' after a cut' if before else ''}", flush=True)
        left = _cut(recording, own, f"{own.seed}/{run}", count)
        before = left if own.again and before is None else None
    print(f"{count.cuts} cuts in {time.monotonic() - began_s:.0f} s, {count.failed} of them with faults")
    return int(count.failed > 0)


def _cut(recording: Recording, own: argparse.Namespace, seed: str, count: _Count) -> Before | None:
    """The cuts of one run; what one of them left that had kept something."""
    file_system = FileSystem(names=own.names, rename_writes=not own.empty_renames)
    by_pools = own.pools // own.runs
    left = None
    for cut in cuts(recording, file_system, seed, by_readers=own.cuts // own.runs - by_pools, by_pools=by_pools):
        count.cuts += 1
        if cut.verdict.faults:
            count.failed += 1
            print(f"{cut}\n    the disk and the calls are in {_kept(cut)}", flush=True)
        elif left is None and cut.verdict.commits > LEFT_MIN:
            left = cut.left
    return left


def _kept(cut: Cut) -> Path:
    """Where the disk that a cut left is kept, with what clients had heard."""
    directory = Path(tempfile.mkdtemp(prefix="aether-powercut-kept-"))
    (directory / DATA).mkdir()
    write_image(cut.left.image, directory / DATA)
    with (directory / "calls.jsonl").open("w") as lines:
        for call in cut.left.heard:
            write_call(call, lines)
    return directory


if __name__ == "__main__":
    sys.exit(main())
