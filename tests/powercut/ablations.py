"""The sync barrier with one of its steps left out: a test of power cuts must find what is lost then."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from aether.system.block_files import BlockFiles

_files: Any = BlockFiles


def _without_barrier() -> None:
    """No sync but the first one, which takes in all there is."""
    sync = _files.sync

    def first_only(files: Any) -> None:
        if files._directory_inode == 0:
            sync(files)

    _files.sync = first_only


def _without_directory() -> None:
    """Blocks are synced, and not the directory that a new one is in."""
    sync_directory = _files._sync_directory

    def other_syncs_only(files: Any, sync: Callable[[int], object]) -> None:
        if sync is not os.fsync:
            sync_directory(files, sync)

    _files._sync_directory = other_syncs_only


def _without_previous() -> None:
    """When a new block has begun, the one before is not synced once more."""
    sync_blocks = _files._sync_blocks

    def new_only(files: Any) -> None:
        if files._newest_fd >= 0:
            os.close(files._newest_fd)
            files._newest_fd = -1
        sync_blocks(files)

    _files._sync_blocks = new_only


def _without_ground() -> None:
    """What was there before the first barrier is not synced, with its directories."""
    _files._sync_file_system = _files._sync_blocks


WITHOUT: Mapping[str, Callable[[], None]] = {
    "barrier": _without_barrier,
    "directory": _without_directory,
    "previous": _without_previous,
    "ground": _without_ground,
}
