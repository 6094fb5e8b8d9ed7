"""The block files of one stream of a nats-server on this machine, and how what it wrote there gets on the disk.

A server with one replica and default persistence has written a message to its stream's newest block file when it
acknowledges it; only the sync is left out when `sync_interval` is not `always` (`flushPendingMsgsLocked` in the
server's filestore.go). A sync of a file makes all durable that was written to it, by any process. Blocks are numbered
and only the newest one grows; a block that begins, is rewritten or is removed changes the directory, and new settings
of the stream change the one above, which are looked at before each sync. Synchronous; one thread at a time.
"""

import ctypes
import errno
import os
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

_BLOCK = re.compile(r"(\d+)\.blk")
_libc = ctypes.CDLL(None, use_errno=True)

CHANGE_SEEN_NS = 50_000_000
COARSE_CHANGE_SEEN_NS = 2_000_000_000
"""A change of a directory this long ago hides none that came in the same tick of the clock of its file system, which is
10 ms at most, or a second where times are whole seconds."""

DISK_FAILS = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO})
"""What a file system says to any call when its disk fails, or when it has given up because of that."""

Identity: TypeAlias = tuple[int, int]
"""Device and inode of a stream's directory: others once the stream was deleted and made anew."""

Ground: TypeAlias = tuple[int, int, int]
"""A stream's directory, and when its settings were changed: others once it was made anew, or is set otherwise."""

KNOWN = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "overlay", "tmpfs"})
"""Kinds of local file systems, where a sync of a file takes in what another process has written to it."""

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
UNSAFE = frozenset({"nobarrier", "barrier=0", "fsync_mode=nobarrier", "volatile", "fsync=volatile"})
"""Options of a mount with which a sync does nothing, or leaves what was written in the memory of the disk."""


def directories_of(store: Path, stream: str) -> list[Path]:
    """Where a server whose `store_dir` is `store` keeps the blocks of a stream: in one account's directory or more."""
    return sorted(path for root in _roots(store) for path in root.glob(f"*/streams/{stream}/msgs"))


def why_not_synced(directory: Path) -> str:
    """Why a sync here may not bring to the disk what a server has written to a directory; "" when it does."""
    kind = file_system_of(directory)
    return "" if kind in KNOWN else f"{directory} is on a file system of the kind {kind or 'unknown'}"


def why_not_lasting(directory: Path) -> str:
    """Why a power cut takes what was synced here; "" where nothing tells that it does."""
    kind, options = _mount_of(directory)
    if kind in IN_MEMORY:
        return f"{directory} is in memory ({kind})"
    unsafe = sorted(options & UNSAFE)
    return f"{directory} is on {kind} that is mounted with {unsafe[0]}" if unsafe else ""


def file_system_of(directory: Path) -> str:
    """The kind of the file system that a directory is on, as the kernel calls it; "" when that cannot be read."""
    return _mount_of(directory)[0]


def _mount_of(directory: Path) -> tuple[str, frozenset[str]]:
    """The kind of the file system, and the options of the file system itself."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            text = Path(f"/proc/self/fdinfo/{fd}").read_text()
        finally:
            os.close(fd)
        mount = next(line.split()[1] for line in text.splitlines() if line.startswith("mnt_id:"))
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
        described = next(line for line in mounts if line.split()[0] == mount.encode())
        kind, _, options = described.partition(b" - ")[2].split(b" ")
        return kind.decode(), frozenset(options.decode(errors="replace").split(","))
    except (OSError, StopIteration, ValueError, IndexError):
        return "", frozenset()


def sync_all(store: Path) -> None:
    """Bring to the disk all that any process has written to the file systems of a store. Raises `SyncFailed`."""
    for directory in (store, *_roots(store)):  # one below may be a link to another disk
        with suppress(FileNotFoundError):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sync(_syncfs, fd)
            finally:
                os.close(fd)


def forget_cached(store: Path) -> None:
    """Have the kernel drop what it keeps of the blocks in a store that is on the disk.

    After a failed sync it may keep, as if it were clean, what the disk has not. Errors are none of ours.
    """
    for block in (path for root in _roots(store) for path in root.glob("*/streams/*/msgs/*.blk")):
        with suppress(OSError):
            fd = os.open(block, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def _roots(store: Path) -> list[Path]:
    """The server adds a directory to its `store_dir`, which may itself be what is named."""
    return [store / "jetstream", *([store] if store.name == "jetstream" else [])]


def block_starts(directory: Path, subjects: str) -> list[int]:
    """The first sequence of each block file of a stream, in order; only of those that begin with a stored message.

    `subjects`: how the subject of every message of the stream begins. A file does not begin with one where its first
    bytes are not what the server's filestore.go writes (`writeMsgRecordLocked`: length, sequence, time, length of the
    subject, subject). Where sequences do not grow from file to file there is none. Raises `OSError`.
    """
    starts: list[int] = []
    for number in sorted(_blocks(directory)):
        with suppress(FileNotFoundError), (directory / f"{number}.blk").open("rb") as block:
            start = _first_sequence(block.read(RECORD_HEAD.size + len(subjects.encode())), subjects.encode())
            if start and starts and start <= starts[-1]:
                return []
            if start:
                starts.append(start)
    return starts


RECORD_HEAD = struct.Struct("<IQqH")
SEQUENCE_MAX = 1 << 62
"""A record whose number has a bit from here on is none of a message: something was removed."""


def _first_sequence(head: bytes, subjects: bytes) -> int:
    if len(head) < RECORD_HEAD.size:
        return 0
    _, sequence, _, subject_bytes = RECORD_HEAD.unpack_from(head)
    is_message = sequence < SEQUENCE_MAX and subject_bytes > len(subjects)
    return sequence if is_message and head[RECORD_HEAD.size :] == subjects else 0


class SyncFailed(OSError):
    """A sync failed, or the disk: what was to be made durable may be lost, and a second sync would not report it."""


class BlockFiles:
    """The blocks in one directory, `<store>/jetstream/<account>/streams/<stream>/msgs`.

    `ground` is what the last sync was of.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._paths = (str(directory), str(directory.parent))
        self._directory_fd = -1  # kept open, so that no other directory gets its number
        self._identity = (0, 0)
        self.ground: Ground = (0, 0, 0)
        self._changed_ns = (0, 0)
        self._files: dict[int, tuple[int, int]] = {}
        self._newest_fd = -1

    def identity(self) -> Identity:
        """Which stream is there now; (0, 0) when there is none, or it cannot be seen. For any thread."""
        try:
            found = os.stat(self._paths[0])  # noqa: PTH116 - as in `sync`
        except OSError:
            return 0, 0
        return found.st_dev, found.st_ino

    def ground_now(self) -> Ground:
        """Which stream is there now, with which settings. Raises `OSError`. For any thread."""
        found = self.directory.stat()
        return found.st_dev, found.st_ino, self.directory.parent.stat().st_mtime_ns

    def sync(self) -> Identity:
        """Return when all that was written before the call is on the disk and will be found there; in which stream.

        Raises `SyncFailed`, which is final, where the disk fails any call. Another `OSError` (no directory there,
        no permission) says that nothing is known to be synced, and may be tried again.
        """
        try:
            return self._synced()
        except SyncFailed:
            raise
        except OSError as error:
            if error.errno in DISK_FAILS:
                raise SyncFailed(error.errno, f"the store cannot be read: {error.strerror}") from error
            raise

    def _synced(self) -> Identity:
        directory, stream = self._paths
        found = os.stat(directory)  # noqa: PTH116 - before each answer, and a Path's takes twice as long
        changed_ns = (found.st_mtime_ns, os.stat(stream).st_mtime_ns)  # noqa: PTH116 - likewise
        same = self._directory_fd >= 0 and (found.st_dev, found.st_ino) == self._identity
        if same and changed_ns == self._changed_ns:
            if self._newest_fd >= 0:
                _sync(os.fdatasync, self._newest_fd)
            return self._identity
        now_ns = time.time_ns()
        if same and changed_ns[1] == self._changed_ns[1]:
            self._sync_blocks()
        else:
            self._sync_file_system()
            self.ground = (*self._identity, changed_ns[1])
        self._changed_ns = (_seen(changed_ns[0], now_ns), _seen(changed_ns[1], now_ns))
        return self._identity

    def mark(self) -> tuple[int, int]:
        """The newest block and its size now: what is written later comes after it. Raises `OSError`.

        A sync of a file of an overlay's lower layer does nothing. So it is made one of the upper layer, if it is not.
        """
        newest = max(_blocks(self.directory), default=0)
        try:
            if file_system_of(self.directory) == "overlay":
                self._path(newest).open("r+b").close()  # what the server writes below an overlay is no more seen then
            return newest, self._path(newest).stat().st_size
        except FileNotFoundError:
            return newest, 0

    def holds(self, text: bytes, since: tuple[int, int]) -> bool:
        """Whether this text stands, as it is, in what was written after a mark."""
        first, offset = since
        for number in sorted(number for number in _blocks(self.directory) if number >= first):
            with suppress(FileNotFoundError), self._path(number).open("rb") as block:
                block.seek(offset if number == first else 0)
                if text in block.read():
                    return True
        return False

    def close(self) -> None:
        """Close what is open. Idempotent."""
        for fd in (self._newest_fd, self._directory_fd):
            if fd >= 0:
                os.close(fd)
        self._newest_fd = self._directory_fd = -1

    def _sync_blocks(self) -> None:
        """Sync each block that is new, changed or another file than before, and then the names.

        The one that was the newest by the open file, too: that is told of each error since it was opened.
        """
        now_ns = time.time_ns()
        blocks = _files(self.directory)
        if self._newest_fd >= 0:
            _sync(os.fdatasync, self._newest_fd)
        changed = {number for number, file in blocks.items() if self._files.get(number) != file}
        for number in sorted(changed.union([max(blocks)] if blocks else [])):  # the last one stays open
            with suppress(FileNotFoundError):  # removed meanwhile, and what it held with it
                self._sync_block(number)
        _sync(os.fsync, self._directory_fd)
        self._files = _seen_files(blocks, now_ns)

    def _sync_file_system(self) -> None:
        """Sync everything: a stream that was made just now has directories and files that nothing else syncs."""
        directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.close()  # only now, so that the new one has not the number of the one before
        try:
            opened = os.fstat(directory_fd)
            now_ns = time.time_ns()
            blocks = _files(self.directory)  # before the sync: what comes after it is new to the next one
            _sync(_syncfs, directory_fd)
            if blocks:
                self._sync_block(max(blocks))
                _sync(os.fsync, directory_fd)
        except BaseException:
            os.close(directory_fd)
            raise
        self._files, self._directory_fd = _seen_files(blocks, now_ns), directory_fd
        self._identity = opened.st_dev, opened.st_ino

    def _sync_block(self, number: int) -> None:
        """Sync a block and keep it open as the newest: a process that has a file open gets an error in writing it."""
        fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        if self._newest_fd >= 0:
            os.close(self._newest_fd)
        self._newest_fd = fd
        _sync(os.fdatasync, fd)

    def _path(self, number: int) -> Path:
        return self.directory / f"{number}.blk"


def _seen(changed_ns: int, now_ns: int) -> int:
    """A time of change that differs after the next change; 0 while one could still come in the same tick.

    One that lies ahead, because the clock was set back, does not come again; a whole second does.
    """
    if changed_ns % 1_000_000_000:
        return changed_ns if abs(now_ns - changed_ns) > CHANGE_SEEN_NS else 0
    return changed_ns if now_ns - changed_ns > COARSE_CHANGE_SEEN_NS else 0


def _seen_files(files: dict[int, tuple[int, int]], now_ns: int) -> dict[int, tuple[int, int]]:
    return {number: (inode, _seen(changed_ns, now_ns)) for number, (inode, changed_ns) in files.items()}


def _blocks(directory: Path) -> list[int]:
    """The numbers of the block files."""
    with os.scandir(directory) as entries:
        return [int(match[1]) for entry in entries if (match := _BLOCK.fullmatch(entry.name))]


def _files(directory: Path) -> dict[int, tuple[int, int]]:
    """The inode of each block file and when it was changed, by its number: the next file may get a freed inode."""
    files = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if match := _BLOCK.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # removed meanwhile
                    files[int(match[1])] = entry.inode(), entry.stat(follow_symlinks=False).st_ctime_ns
    return files


def _sync(sync: Callable[[int], object], fd: int) -> None:
    try:
        sync(fd)
    except OSError as error:
        raise SyncFailed(error.errno, f"a sync of the store failed: {error.strerror}") from error


def _syncfs(fd: int) -> None:
    if _libc.syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
