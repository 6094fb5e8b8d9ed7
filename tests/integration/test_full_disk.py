"""A disk that is full under the embedded server: nothing is said to be stored that is not, and room is all it takes."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import aether
from aether.connecting import connect_untyped
from tests.support.actors import Account, model
from tests.support.pool import Pool

SIZE_MB = 96
SERVER = re.compile(r" at (nats://127\.0\.0\.1:\d+)")
GUARD_S = 90.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(path: Path) -> None:
    """Take all room that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65_536)
        except OSError:
            return


async def test_a_full_disk_stops_the_pool_and_room_starts_it_again(disk: Path, namespace: str) -> None:
    filler = disk / "filler"
    options = ("--workers", "2", "--namespace", namespace, "--data-dir", str(disk))
    with Pool("tests.support.actors:model", *options) as pool:
        url = (await asyncio.to_thread(pool.wait_for, SERVER))[0][1]
        async with aether.connect(url, model=model, namespace=namespace) as client:
            account = client.actor(Account, "a", deadline_s=2)
            acknowledged = await account.deposit(1)
            await asyncio.to_thread(fill, filler)
            notes = [client.actor("notebook", f"n{n}", deadline_s=4).note("x" * 200_000) for n in range(8)]
            ends = await asyncio.gather(*notes, return_exceptions=True)
            assert all(isinstance(end, aether.AetherError) for end in ends), "there is no room for any of them"
            async with connect_untyped(url, namespace=namespace) as untyped, asyncio.timeout(GUARD_S):
                while "serving" in {  # noqa: ASYNC110 - `ps` has no event of its own
                    member["state"] for member in (await untyped.overview()).members
                }:
                    await asyncio.sleep(0)
            filler.unlink()
            async with asyncio.timeout(GUARD_S):
                while True:
                    try:
                        assert await account.deposit(1) > acknowledged
                        break
                    except (aether.Unavailable, aether.DeadlineExceeded):
                        continue
            assert [line for line in pool.lines if "it is started again" in line]
            history = await client.history(Account, "a")
            assert [event.version for event in history][:1] == [1]
