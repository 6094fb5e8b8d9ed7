"""Every block with news is synced, and every name; an error of a sync is final."""

import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from aether.system import block_files
from aether.system.block_files import (
    BlockFiles,
    SyncFailed,
    directories_of,
    file_system_of,
    forget_cached,
    sync_all,
    why_not_lasting,
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
    for one in (directory, directory.parent):
        os.utime(one, ns=(1_000_000_000, 1_000_000_007 + one.stat().st_mtime_ns // 2))


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


def test_a_block_that_was_rewritten_twice_and_has_its_old_number_again_is_another_file(
    directory: Path, disk: Disk
) -> None:
    """A file system gives the number of a file that is gone to the next new one."""
    write(directory, 1)
    write(directory, 2)
    blocks = BlockFiles(directory)
    blocks.sync()
    for entry in directory.iterdir():
        os.utime(entry, ns=(0, 0))
    made_old(directory)
    blocks.sync()
    (directory / "1.blk").write_bytes(b"rewritten")  # as if twice by a new file that was renamed
    (directory / "index.db").touch()
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
    made_old(directory)
    blocks = BlockFiles(directory)
    blocks.sync()
    blocks.sync()
    assert disk.lost() == []


def test_a_stream_that_was_made_anew_is_synced_from_the_ground(directory: Path, disk: Disk) -> None:
    write(directory, 7)
    blocks = BlockFiles(directory)
    made_old(directory)
    before = blocks.sync()
    assert before == blocks.identity()
    told = directory.stat()
    shutil.rmtree(directory)
    assert blocks.identity() == (0, 0)
    directory.mkdir()
    write(directory, 1)
    os.utime(directory, ns=(told.st_atime_ns, told.st_mtime_ns))
    disk.calls.clear()
    made_anew = blocks.identity()
    assert made_anew != before
    assert blocks.sync() == made_anew
    assert disk.lost() == []
    assert disk.calls[0] == "all"
    assert blocks.sync() == made_anew


def test_a_stream_that_is_made_anew_while_a_sync_begins_is_told_as_another_one(
    directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, 7)
    blocks = BlockFiles(directory)
    made_old(directory)
    before = blocks.sync()
    (directory.parent / "meta.inf").write_text("{}")  # so that it is opened anew
    open_, remade = os.open, [True]

    def meanwhile(path: str | Path, flags: int) -> int:
        if path == directory and remade and remade.pop():
            directory.rename(directory.parent / "away")
            directory.mkdir()
            write(directory, 1)
        return open_(path, flags)

    monkeypatch.setattr(os, "open", meanwhile)
    assert blocks.sync() == blocks.identity() != before
    assert disk.lost() == []


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


def test_a_directory_that_was_changed_in_the_future_is_not_looked_at_again_and_again(
    directory: Path, disk: Disk
) -> None:
    """The clock was set back since."""
    write(directory, 1)
    ahead_ns = time.time_ns() + 3_600_000_000_007
    for one in (directory, directory.parent):
        os.utime(one, ns=(ahead_ns, ahead_ns))
    blocks = BlockFiles(directory)
    blocks.sync()
    disk.calls.clear()
    write(directory, 1)
    blocks.sync()
    assert disk.calls == ["data"]
    write(directory, 2)
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


def test_a_store_that_is_linked_to_another_disk_is_synced_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store.mkdir()
    synced: list[int] = []
    monkeypatch.setattr(block_files, "_syncfs", lambda fd: synced.append(os.fstat(fd).st_ino))
    sync_all(store)
    assert synced == [store.stat().st_ino]
    elsewhere.mkdir()
    (store / "jetstream").symlink_to(elsewhere)
    sync_all(store)
    assert elsewhere.stat().st_ino in synced


@pytest.mark.parametrize("code", [errno.EIO, errno.EUCLEAN])
@pytest.mark.parametrize("call", ["stat", "open", "scandir"])
def test_a_disk_that_cannot_be_read_is_one_that_fails(
    directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """XFS says so at every call once it could not write its log."""
    write(directory, 1)
    blocks = BlockFiles(directory)
    blocks.sync()
    write(directory, 2)

    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(OSError, match=os.strerror(code)) as told:
            blocks.sync()
    assert isinstance(told.value, SyncFailed)


def test_text_is_found_in_what_was_written_since_a_mark(directory: Path) -> None:
    blocks = BlockFiles(directory)
    nothing = blocks.mark()
    assert not blocks.holds(b"token", nothing)
    write(directory, 1, b"token one")
    assert blocks.holds(b"token one", nothing)
    mark = blocks.mark()
    write(directory, 1, bytes(1_000_000) + b"token two")
    write(directory, 2, b"token three" + bytes(1_000_000))
    assert not blocks.holds(b"token one", mark)
    assert blocks.holds(b"token two", mark)
    assert blocks.holds(b"token three", mark)


def test_new_settings_of_the_stream_are_synced_with_all_there_is(directory: Path, disk: Disk) -> None:
    write(directory, 1)
    blocks = BlockFiles(directory)
    made_old(directory)
    blocks.sync()
    disk.calls.clear()
    (directory.parent / "meta.tmp").write_text("{}")
    (directory.parent / "meta.tmp").rename(directory.parent / "meta.inf")
    assert blocks.sync() == blocks.identity()
    assert disk.calls[0] == "all"


def test_a_file_system_whose_times_are_whole_seconds_is_looked_at_for_longer(directory: Path, disk: Disk) -> None:
    write(directory, 1)
    blocks = BlockFiles(directory)
    made_old(directory)
    second_ns = (time.time_ns() // 1_000_000_000) * 1_000_000_000
    os.utime(directory, ns=(second_ns, second_ns))
    time.sleep(max(0.0, (second_ns + 100_000_000 - time.time_ns()) / 1e9))
    blocks.sync()
    write(directory, 2)
    os.utime(directory, ns=(second_ns, second_ns))  # in the same second
    blocks.sync()
    assert disk.lost() == []


def test_the_directories_of_a_stream_are_found_in_every_account(tmp_path: Path, directory: Path) -> None:
    other = tmp_path / "jetstream" / "APP" / "streams" / "AETHER_bank" / "msgs"
    other.mkdir(parents=True)
    assert directories_of(tmp_path, "AETHER_bank") == [directory, other]
    assert directories_of(tmp_path / "jetstream", "AETHER_bank") == [directory, other]
    nested = tmp_path / "jetstream" / "jetstream" / "$G" / "streams" / "AETHER_bank" / "msgs"
    nested.mkdir(parents=True)
    assert nested in directories_of(tmp_path / "jetstream", "AETHER_bank")
    assert directories_of(tmp_path, "AETHER_other") == []


def test_a_file_system_that_is_not_known_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "d\u00e4t en"
    odd.mkdir()
    assert file_system_of(Path("/proc/self")) == "proc"
    assert file_system_of(odd) == file_system_of(tmp_path) != ""
    assert file_system_of(tmp_path / "nowhere") == ""
    for kind in ("nfs4", "fuse.sshfs", ""):
        monkeypatch.setattr(block_files, "file_system_of", lambda _, kind=kind: kind)
        assert kind in why_not_synced(tmp_path) != ""
    monkeypatch.setattr(block_files, "file_system_of", lambda _: "ext4")
    assert why_not_synced(tmp_path) == ""


@pytest.mark.parametrize(
    ("described", "why"),
    [
        ("ext4 /dev/vda rw,relatime", ""),
        ("ext4 /dev/vda rw,nobarrier", "nobarrier"),
        ("overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w,uuid=on", ""),
        ("overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w,volatile", "volatile"),
        ("overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w,uuid=on,fsync=volatile", "fsync=volatile"),
        ("overlay  rw,volatile", "volatile"),  # a mount may have an empty source
        ("tmpfs tmpfs rw,size=65536k", "in memory"),
    ],
)
def test_what_a_power_cut_takes_although_it_was_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: str, why: str
) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    about = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    here = next(line.split()[1] for line in about if line.startswith("mnt_id"))
    os.close(fd)
    table = f"1 1 0:1 / / rw - proc proc rw\n{here} 1 0:2 / /x rw,nobarrier shared:1 - {described}\n"
    monkeypatch.setattr(Path, "read_bytes", lambda _: table.encode())
    told = why_not_lasting(tmp_path)
    assert (why in told) if why else told == ""


def test_what_the_kernel_keeps_of_blocks_is_dropped(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, 1)
    dropped: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *_: dropped.append(os.fstat(fd).st_ino))
    forget_cached(tmp_path)
    assert dropped == [(directory / "1.blk").stat().st_ino]
