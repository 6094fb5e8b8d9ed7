"""Every block with news is synced, and every name; an error of a sync is final."""

import os
import shutil
from pathlib import Path

import pytest

from aether.system import block_files
from aether.system.block_files import (
    TAIL_BYTES,
    BlockFiles,
    SyncFailed,
    directories_of,
    file_system_of,
    forget_cached,
    why_not_synced,
)
from tests.support.disk import Disk


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "jetstream" / "$G" / "streams" / "AETHER_bank" / "msgs"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(directory, monkeypatch)


def write(directory: Path, number: int, text: bytes = b"x") -> None:
    with (directory / f"{number}.blk").open("ab") as block:
        block.write(text)


def made_old(directory: Path) -> None:
    """The directory was changed long ago, as far as its clock tells."""
    os.utime(directory, ns=(1_000_000_000, 1_000_000_000 + directory.stat().st_mtime_ns // 2))


def test_the_first_sync_takes_in_all_there_is(directory: Path, disk: Disk) -> None:
    write(directory, 1)
    write(directory, 2)
    BlockFiles(directory).sync()
    assert disk.lost() == []
    assert disk.calls[0] == "all"


def test_a_stream_without_a_block_is_synced(directory: Path, disk: Disk) -> None:
    blocks = BlockFiles(directory)
    blocks.sync()
    made_old(directory)
    blocks.sync()
    blocks.sync()
    assert "data" not in disk.calls


def test_while_no_name_changes_one_file_is_synced_and_nothing_else(directory: Path, disk: Disk) -> None:
    write(directory, 1)
    blocks = BlockFiles(directory)
    made_old(directory)
    blocks.sync()
    disk.calls.clear()
    for _ in range(3):
        write(directory, 1)
        blocks.sync()
        assert disk.lost() == []
    assert disk.calls == ["data"] * 3


def test_with_a_new_block_the_one_before_is_synced_too_and_the_name(directory: Path, disk: Disk) -> None:
    write(directory, 1)
    blocks = BlockFiles(directory)
    made_old(directory)
    blocks.sync()
    write(directory, 1, b"the last of the first")
    write(directory, 2)
    blocks.sync()
    assert disk.lost() == []


def test_blocks_that_came_and_went_unseen_leave_none_unsynced(directory: Path, disk: Disk) -> None:
    """Another worker wrote them; the second has been emptied and removed since."""
    write(directory, 1)
    blocks = BlockFiles(directory)
    made_old(directory)
    blocks.sync()
    for number in (2, 3, 4):
        write(directory, number)
    (directory / "2.blk").unlink()
    blocks.sync()
    assert disk.lost() == []
    made_old(directory)
    blocks.sync()
    write(directory, 4, b"more")
    blocks.sync()
    assert disk.lost() == []


@pytest.mark.parametrize("number", [1, 2])
def test_a_block_that_was_rewritten_is_another_file(directory: Path, disk: Disk, number: int) -> None:
    write(directory, 1)
    write(directory, 2)
    blocks = BlockFiles(directory)
    made_old(directory)
    blocks.sync()
    (directory / "new.tmp").write_bytes(b"less")
    (directory / "new.tmp").rename(directory / f"{number}.blk")
    blocks.sync()
    assert disk.lost() == []
    made_old(directory)
    blocks.sync()
    write(directory, 2, b"more")
    blocks.sync()
    assert disk.lost() == []


def test_blocks_that_begin_during_the_first_sync_are_new_to_the_next(
    directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, 1)
    sync_all = block_files._syncfs

    def meanwhile(fd: int) -> None:
        sync_all(fd)
        write(directory, 1, b"more")
        write(directory, 2)
        write(directory, 3)

    monkeypatch.setattr(block_files, "_syncfs", meanwhile)
    blocks = BlockFiles(directory)
    blocks.sync()
    blocks.sync()
    assert disk.lost() == []


def test_a_stream_that_was_made_anew_is_synced_from_the_ground(directory: Path, disk: Disk) -> None:
    write(directory, 7)
    blocks = BlockFiles(directory)
    made_old(directory)
    blocks.sync()
    told = directory.stat()
    shutil.rmtree(directory)
    directory.mkdir()
    write(directory, 1)
    os.utime(directory, ns=(told.st_atime_ns, told.st_mtime_ns))
    disk.calls.clear()
    assert not blocks.sync()
    assert disk.lost() == []
    assert disk.calls[0] == "all"
    assert blocks.sync()


def test_a_change_in_the_same_tick_of_the_clock_is_seen(
    directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, 1)
    blocks = BlockFiles(directory)
    blocks.sync()
    told = directory.stat()
    write(directory, 2)
    os.utime(directory, ns=(told.st_atime_ns, told.st_mtime_ns))  # as if the clock had not moved
    blocks.sync()
    assert disk.lost() == []


def test_a_stream_that_is_gone_is_told_and_may_come_back(directory: Path, disk: Disk) -> None:
    write(directory, 1)
    blocks = BlockFiles(directory)
    blocks.sync()
    away = directory.rename(directory.parent / "away")
    with pytest.raises(FileNotFoundError):
        blocks.sync()
    away.rename(directory)
    write(directory, 1)
    blocks.sync()
    assert disk.lost() == []


@pytest.mark.parametrize("fails", ["all", "data", "names"])
def test_an_error_of_a_sync_is_told_as_one(directory: Path, disk: Disk, fails: str) -> None:
    write(directory, 1)
    blocks = BlockFiles(directory)
    if fails != "all":
        blocks.sync()
    write(directory, 2)
    disk.failing = fails
    with pytest.raises(SyncFailed, match="Input/output error"):
        blocks.sync()


def test_text_is_found_at_the_end_of_the_newest_blocks_only(directory: Path) -> None:
    blocks = BlockFiles(directory)
    assert not blocks.holds(b"token")
    write(directory, 1, b"token one" + bytes(TAIL_BYTES))
    assert not blocks.holds(b"token one")
    write(directory, 1, b"token two")
    write(directory, 2, b"token three")
    assert blocks.holds(b"token two")
    assert blocks.holds(b"token three")
    write(directory, 3)
    assert not blocks.holds(b"token two")


def test_the_directories_of_a_stream_are_found_in_every_account(tmp_path: Path, directory: Path) -> None:
    other = tmp_path / "jetstream" / "APP" / "streams" / "AETHER_bank" / "msgs"
    other.mkdir(parents=True)
    assert directories_of(tmp_path, "AETHER_bank") == [directory, other]
    assert directories_of(tmp_path / "jetstream", "AETHER_bank") == [directory, other]
    assert directories_of(tmp_path, "AETHER_other") == []


def test_a_file_system_is_known_by_its_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
    assert why_not_synced(Path("/proc/self")) == ""
    monkeypatch.setattr(block_files, "file_system_of", lambda _: "nfs4")
    assert "nfs4" in why_not_synced(tmp_path)
    monkeypatch.setattr(block_files, "file_system_of", lambda _: "fuse.sshfs")
    assert "fuse.sshfs" in why_not_synced(tmp_path)


def test_what_the_kernel_keeps_of_blocks_is_dropped(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, 1)
    dropped: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *_: dropped.append(os.fstat(fd).st_ino))
    forget_cached(tmp_path)
    assert dropped == [(directory / "1.blk").stat().st_ino]
