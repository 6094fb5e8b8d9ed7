"""A few cuts of recorded runs: nothing that a client was told is lost, and without the syncs the test finds it lost.

`scripts/powercut` makes many more.
"""

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.processes import MODEL
from tests.powercut.ablations import WITHOUT
from tests.powercut.cuts import Cut, cuts
from tests.powercut.disk import FileSystem, Names
from tests.powercut.recorded import LOG, NAMESPACE, WORKERS
from tests.powercut.recording import Recording, Scene, record
from tests.support.nightly import NIGHTLY
from tests.support.pool import READY, Pool

pytestmark = pytest.mark.timeout(240)

BY_SERVER = ("--sync", "server")
OFTEN = ("--sync-interval", "1s")
"""How often the server rewrites blocks that are mostly dead, and writes its index files."""

POSIX = FileSystem(names=Names.POSIX)
FILE_NAMES = FileSystem(names=Names.FILE)
"""With `sync_interval: always` the server syncs each block and never the directory that a new one is in."""


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[Scene], Recording]:
    return lambda scene: record(scene, tmp_path)


def lost(found: Iterator[Cut]) -> bool:
    """Whether a cut lost what had been acknowledged."""
    return any("acknowledged, missing" in fault for cut in found for fault in cut.verdict.faults)


@pytest.mark.parametrize(
    ("scene", "file_system"),
    [
        (Scene(arguments=OFTEN, steps=("fill", "worker", "clear", "purge", "server"), calls=400), POSIX),
        (Scene(arguments=BY_SERVER, steps=("worker", "purge", "server"), calls=400), FILE_NAMES),
    ],
    ids=["synced by the workers", "synced by the server"],
)
def test_what_was_acknowledged_outlives_a_power_cut(
    recorded: Callable[[Scene], Recording], scene: Scene, file_system: FileSystem
) -> None:
    recording = recorded(scene)
    found = list(cuts(recording, file_system, "ci", by_readers=8, by_pools=2))
    assert all(not cut.verdict.faults for cut in found), "\n".join(map(str, found))
    assert max(cut.acknowledged for cut in found) > 500


@pytest.mark.parametrize("step", [step for step in WITHOUT if step not in ("inbox", "need")])
def test_each_step_of_the_barrier_is_needed(recorded: Callable[[Scene], Recording], step: str) -> None:
    recording = recorded(Scene(arguments=("--without", step), steps=(), calls=500))
    assert lost(cuts(recording, POSIX, "ci", by_readers=20))


SHORTENED = ("--shorten", "--sync-interval", "1s")
BANK = Scene(bank=True, steps=("worker", "server"), calls=500 if NIGHTLY else 150)


def test_what_was_told_due_and_started_outlives_a_power_cut(recorded: Callable[[Scene], Recording]) -> None:
    by_readers, by_pools = (60, 20) if NIGHTLY else (4, 1)
    found = list(cuts(recorded(BANK), POSIX, "bank", by_readers=by_readers, by_pools=by_pools))
    assert all(not cut.verdict.faults for cut in found), "\n".join(map(str, found))
    assert max(cut.acknowledged for cut in found) > 150


@pytest.mark.skipif(not NIGHTLY, reason="takes two minutes")
def test_a_power_cut_takes_nothing_while_the_inbox_is_shortened(recorded: Callable[[Scene], Recording]) -> None:
    recording = recorded(Scene(bank=True, arguments=SHORTENED, steps=("worker",), calls=1_200))
    found = list(cuts(recording, POSIX, "bank", by_readers=60, by_pools=20))
    assert all(not cut.verdict.faults for cut in found), "\n".join(map(str, found))


@pytest.mark.skipif(not NIGHTLY, reason="takes three minutes")
@pytest.mark.timeout(480)
def test_a_power_cut_takes_nothing_while_the_inbox_is_shortened_by_bytes(
    recorded: Callable[[Scene], Recording], tmp_path: Path
) -> None:
    """Where the server syncs, workers do not see its blocks, and keep more than a block before what is needed."""
    recording = recorded(Scene(bank=True, arguments=("--shorten", *BY_SERVER), steps=("worker",), calls=1_200))
    assert "the inbox was shortened" in (tmp_path / LOG).read_text()
    found = list(cuts(recording, FILE_NAMES, "bank", by_readers=20, by_pools=5))
    assert all(not cut.verdict.faults for cut in found), "\n".join(map(str, found))


@pytest.mark.skipif(not NIGHTLY, reason="takes half a minute")
def test_without_a_sync_of_the_inbox_receipts_are_lost(recorded: Callable[[Scene], Recording]) -> None:
    recording = recorded(Scene(bank=True, arguments=("--without", "inbox"), steps=(), calls=200))
    found = cuts(recording, POSIX, "bank", by_readers=30)
    assert any("has a receipt and is nowhere" in fault for cut in found for fault in cut.verdict.faults)


def test_a_server_that_does_not_sync_loses_what_it_acknowledged(recorded: Callable[[Scene], Recording]) -> None:
    recording = recorded(Scene(arguments=(*BY_SERVER, "--sync-interval", "none"), steps=(), calls=200))
    assert lost(cuts(recording, FILE_NAMES, "ci", by_readers=10))


def test_the_disk_of_a_recording_is_the_disk_that_the_run_left(tmp_path: Path) -> None:
    recording = record(Scene(arguments=OFTEN, steps=("fill", "clear", "purge", "server"), calls=150), tmp_path)
    left = {
        str(path.relative_to(tmp_path)): None if path.is_dir() else path.read_bytes()
        for path in (tmp_path / "data").rglob("*")
    }
    assert recording.disk.now() == {"data": None, **left}


def test_a_pool_gets_ready_though_its_server_has_forgotten_when_rows_end(tmp_path: Path) -> None:
    """The server's index of times to live may be newer than the rows that a power cut has left, and then skips them."""
    options = (f"--workers={WORKERS}", f"--namespace={NAMESPACE}")
    pool = Pool(MODEL, *options, data=tmp_path)
    pool.wait_for(READY)
    pool.process.kill()
    pool.process.wait()
    pool.close()
    (index,) = tmp_path.glob(f"jetstream/*/streams/KV_AETHER_{NAMESPACE}_TABLE/msgs")
    no_rows, up_to = 0, 1_000_000
    (index / "thw.db").write_bytes(struct.pack("<BQQ", 1, no_rows, up_to))
    shutil.rmtree(tmp_path / "nodes")  # a lock of another boot proves nothing
    with Pool(MODEL, *options, data=tmp_path) as again:
        assert again.process.poll() is None
