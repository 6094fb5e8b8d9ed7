"""The sync barrier with one of its steps left out: a test of power cuts must find what is lost then."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aether import inbox_needs
from aether.core.inbox_floor import InboxNeed
from aether.system import block_files
from aether.system.block_files import BlockFiles

_files: Any = BlockFiles

INBOX_ENDS = "_INBOX/"


def _without_barrier() -> None:
    """No sync but the first one, which takes in all there is."""
    sync = _files.sync

    def first_only(files: Any) -> Any:
        return sync(files) if files._directory_fd < 0 else files._identity

    _files.sync = first_only


def _without_directory() -> None:
    """Blocks are synced, and not the directory that a new one is in."""
    sync_by: Any = vars(block_files)["_sync"]

    def others_only(sync: Callable[[int], object], fd: int) -> None:
        if sync is not os.fsync:
            sync_by(sync, fd)

    vars(block_files)["_sync"] = others_only


def _without_previous() -> None:
    """When a new block has begun, the one before is not synced once more: neither as such, nor as a changed file."""
    sync_blocks, files_in = _files._sync_blocks, block_files._files

    def new_only(files: Any) -> None:
        if files._newest_fd >= 0:
            os.close(files._newest_fd)
            files._newest_fd = -1
        sync_blocks(files)

    def by_inode(directory: Path) -> dict[int, tuple[int, int]]:
        return {number: (inode, 0) for number, (inode, _) in files_in(directory).items()}

    _files._sync_blocks, vars(block_files)["_files"] = new_only, by_inode


def _without_ground() -> None:
    """What was there before the first barrier is not synced, with its directories."""
    vars(block_files)["_syncfs"] = lambda fd: None


def _without_inbox() -> None:
    """The stream of tells, of ticks that are due and of starts of tasks is not synced."""
    sync = _files.sync

    def others_only(files: Any) -> Any:
        return files.identity() if INBOX_ENDS in str(files.directory) else sync(files)

    _files.sync = others_only


def _without_need() -> None:
    """With `--shorten`, tells are removed from the inbox that are not applied."""
    vars(inbox_needs)["tell_need"] = lambda shard, first: InboxNeed(sys.maxsize, "")


WITHOUT: Mapping[str, Callable[[], None]] = {
    "barrier": _without_barrier,
    "directory": _without_directory,
    "previous": _without_previous,
    "ground": _without_ground,
    "inbox": _without_inbox,
    "need": _without_need,
}
