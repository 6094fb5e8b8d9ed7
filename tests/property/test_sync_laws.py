"""After a sync a power cut leaves all that was written before, whatever the server did to its blocks meanwhile."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.system.block_files import BlockFiles
from tests.support.disk import Disk

steps = st.lists(
    st.tuples(st.sampled_from(["append", "roll", "rewrite", "remove", "index", "sync"]), st.integers(0, 5)), max_size=40
)


class Server:
    """What a nats-server does to the blocks of a stream."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = [1]
        self.append(1)

    def act(self, step: str, choice: int) -> None:
        """One step; an old block is chosen by number, if there is one."""
        old = self._numbers[:-1]
        number = old[choice % len(old)] if old else None
        if step == "append":
            self.append(choice)
        elif step == "roll":
            self._numbers.append(self._numbers[-1] + 1)
            self.append(1)
        elif step == "index":
            self._replace("index.db")
        elif step == "rewrite" and number is not None:
            self._replace(f"{number}.blk")
        elif step == "remove" and number is not None:
            self._numbers.remove(number)
            (self._directory / f"{number}.blk").unlink()

    def append(self, count: int) -> None:
        """Write to the newest block."""
        with (self._directory / f"{self._numbers[-1]}.blk").open("ab") as block:
            block.write(b"x" * count)

    def _replace(self, name: str) -> None:
        (self._directory / f"{name}.tmp").write_bytes(b"y")
        (self._directory / f"{name}.tmp").rename(self._directory / name)


@given(steps)
def test_after_a_sync_no_block_has_anything_to_lose(history: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        directory = Path(folder) / "stream" / "msgs"
        directory.mkdir(parents=True)
        for one in (directory.parent, directory):  # else all there is would be synced, or looked at, each time
            os.utime(one, ns=(1, 1_000_000_007))
        disk, server, blocks = Disk(directory, patch), Server(directory), BlockFiles(directory)
        for step, choice in [*history, ("sync", 0)]:
            if step == "sync":
                blocks.sync()
                if choice % 2:  # the clock of the directory has moved on, and its last change is believed
                    os.utime(directory, ns=(1, directory.stat().st_mtime_ns - 60_000_000_001))
                    blocks.sync()
                assert [name for name in disk.lost() if name.endswith(".blk")] == []
            else:
                server.act(step, choice)
        blocks.close()
