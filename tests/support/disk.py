"""A disk that remembers what was synced, under files that are real: what a power cut now would leave of a directory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aether.system import block_files


class Disk:
    """What has reached the disk of each inode, and which names of the directory.

    It stands in for the calls that sync (of data, of names, of all there is) and lets one kind of them fail.
    """

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.synced: dict[int, int] = {}
        self.names: dict[str, int] = {}
        self.calls: list[str] = []
        self.failing = ""
        patch.setattr(os, "fdatasync", self._wrapped("data", self._sync_file))
        patch.setattr(os, "fsync", self._wrapped("names", self._sync_names))
        patch.setattr(block_files, "_syncfs", self._wrapped("all", self._sync_all))

    def lost(self) -> list[str]:
        """The blocks of which a power cut now would leave less than is written, or nothing."""
        return [
            entry.name
            for entry in os.scandir(self.directory)
            if self.names.get(entry.name) != entry.inode() or self.synced.get(entry.inode(), 0) < entry.stat().st_size
        ]

    def _wrapped(self, what: str, act: Callable[[int], None]) -> Callable[[int], None]:
        def call(fd: int) -> None:
            self.calls.append(what)
            if self.failing == what:
                raise OSError(5, "Input/output error")
            act(fd)

        return call

    def _sync_file(self, fd: int) -> None:
        found = os.fstat(fd)
        self.synced[found.st_ino] = found.st_size

    def _sync_names(self, _: int) -> None:
        self.names = {entry.name: entry.inode() for entry in os.scandir(self.directory)}

    def _sync_all(self, fd: int) -> None:
        self._sync_names(fd)
        for entry in os.scandir(self.directory):
            self.synced[entry.inode()] = entry.stat().st_size
