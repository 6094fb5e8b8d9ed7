"""Many cuts of one recording, each examined."""

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.powercut import examine_bank
from tests.powercut.disk import FileSystem
from tests.powercut.examine import Verdict, by_pool, by_reader
from tests.powercut.recording import Before, Recording, write_image


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One cut and what came of it. `acknowledged`: calls whose end a client knew; `left`: what a run may go on with."""

    seed: str
    at: int
    acknowledged: int
    whole_pool: bool
    verdict: Verdict
    left: Before

    def __str__(self) -> str:
        how = "pool" if self.whole_pool else "reader"
        told = "\n    ".join(("", *self.verdict.faults))
        return (
            f"cut {self.seed} at {self.at}, by {how}: {self.acknowledged} calls answered, "
            f"{self.verdict.commits} commits stored{told or ', all well'}"
        )


def cuts(
    recording: Recording, file_system: FileSystem, seed: str, *, by_readers: int, by_pools: int = 0
) -> Iterator[Cut]:
    """Cut at as many instants, and examine each; a whole pool is started on the disks of the first `by_pools`."""
    for number, at in enumerate(recording.instants(by_pools + by_readers, seed)):
        of_cut = f"{seed}/{number}"
        image = recording.disk.cut(at, of_cut, file_system)
        heard, asked = recording.heard(at), recording.asked(at)
        with tempfile.TemporaryDirectory(prefix="aether-powercut-") as name:
            directory = Path(name)
            write_image(image, directory)
            whole_pool = number < by_pools
            if recording.bank:
                examine = examine_bank.by_pool if whole_pool else examine_bank.by_reader
                examined = examine(directory, heard, asked)
            else:
                examined = by_pool(directory, heard) if whole_pool else by_reader(directory, heard)
            verdict = asyncio.run(examined)
        acknowledged = sum(instant < at for instant, _ in recording.calls)
        yield Cut(seed=of_cut, at=at, acknowledged=acknowledged, whole_pool=whole_pool, verdict=verdict,
                  left=Before(image, heard, asked))  # fmt: skip
