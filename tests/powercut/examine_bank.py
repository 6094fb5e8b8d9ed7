"""What is made of the disk that a cut left of the bank: what was told, due and started must be there, and go on.

A reader finds the histories, and each receipt's tell applied or in the inbox. A pool must bring everything to its end.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Timer

import nats
from nats.js.errors import NotFoundError

from aether.system.environment import recorded_url
from tests.chaos.bank.books import TELL
from tests.chaos.bank.checker import BankLimits, check_bank
from tests.chaos.bank.findings import BankReport, Wrong
from tests.chaos.bank.outside import OUTSIDE, Asked, CountingServer
from tests.chaos.calls import Call, Outcome
from tests.chaos.raw_stream import RawStream
from tests.chaos.world import BANK_MODEL
from tests.powercut.examine import READY_WITHIN_S, STREAM, Verdict, ahead, held, rows, stored_of
from tests.powercut.recorded import NAMESPACE, WORKERS
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

KIND = "account"
SETTLED_WITHIN_S = 60.0
AGAIN_S = 0.5


async def by_reader(directory: Path, heard: Sequence[Call], asked: Sequence[Asked]) -> Verdict:
    """A server on the disk, and what it has stored held against what clients had heard."""
    with NatsServer(store=directory) as server:
        stored = await stored_of(server.url, KIND)
        snapshots = await rows(server.url, f"KV_{STREAM}_SNAPSHOTS")
        waiting = await _inbox(server.url)
    told = [one.command_id for one in heard if TELL in one.command_id and one.outcome is Outcome.REPLY]
    taken = b"\n".join([*(one.payload for one in stored.stored), *waiting])
    lost = [f"{number} has a receipt and is nowhere" for number in told if f'"{number}"'.encode() not in taken]
    report = check_bank(stored.stored, heard, asked, BankLimits(answered_min=0))
    faults = [*_faults(report, leave_out=(Wrong.LOST, Wrong.NEVER_ASKED)), *lost, *ahead(snapshots, stored.stored)]
    return Verdict(tuple(faults), len(stored.stored))


async def by_pool(directory: Path, heard: Sequence[Call], asked: Sequence[Asked]) -> Verdict:
    """A pool on the disk: whatever was told, due or started before the cut has its effect, once."""
    async with CountingServer() as outside:
        variables = {**os.environ, OUTSIDE: outside.address}
        options = (f"--workers={WORKERS}", f"--namespace={NAMESPACE}")
        pool = Pool(BANK_MODEL, *options, data=directory, variables=variables)
        guard = Timer(READY_WITHIN_S, pool.process.kill)
        guard.start()
        try:
            with pool:
                guard.cancel()
                stored, report, leases = await _settled(directory, heard, asked, outside)
        except AssertionError as error:
            pool.close()
            return Verdict((f"the pool did not start: {error}",), 0)
        finally:
            guard.cancel()
    faults = [*leases, *_faults(report)]
    faults += [f"the pool said: {line.strip()}" for line in pool.lines if _is_alarming(line)]
    return Verdict(tuple(faults), len(stored.stored))


def _is_alarming(line: str) -> bool:
    """Tasks that fail and are given up are no fault: the load has such."""
    return "egressed" in line or (" ERROR " in line and "a task is given up" not in line)


async def _settled(
    directory: Path, heard: Sequence[Call], asked: Sequence[Asked], outside: CountingServer
) -> tuple[RawStream, BankReport, list[str]]:
    """All that is stored once nothing is under way, or when that takes too long."""
    url = recorded_url(directory)
    assert url is not None
    ends_s = asyncio.get_running_loop().time() + SETTLED_WITHIN_S
    while True:
        stored = await stored_of(url, KIND)
        report = check_bank(stored.stored, heard, [*asked, *outside.asked], BankLimits(answered_min=0))
        if Wrong.LOST not in report.counts or asyncio.get_running_loop().time() > ends_s:
            return stored, report, held(await rows(url, f"KV_{STREAM}_TABLE", "lease."), stored.shards)
        await asyncio.sleep(AGAIN_S)


def _faults(report: BankReport, leave_out: Sequence[Wrong] = ()) -> list[str]:
    return [
        f"{wrong.value} ({report.counts[wrong]}): {'; '.join(examples)}"
        for wrong, examples in report.examples.items()
        if wrong not in leave_out
    ]


async def _inbox(url: str) -> list[bytes]:
    """What stands in the inbox; nothing where there is none."""
    connection = await nats.connect(url)
    try:
        stream = f"{STREAM}_INBOX"
        jetstream = connection.jetstream(timeout=10)
        subjects = f"aether.{NAMESPACE}.tell.>"
        info = await jetstream.stream_info(stream, subjects_filter=subjects)
        count = sum((info.state.subjects or {}).values())
        subscription = await jetstream.subscribe(subjects, stream=stream, ordered_consumer=True)
        return [(await subscription.next_msg(timeout=10)).data for _ in range(count)]
    except NotFoundError:
        return []
    finally:
        await connection.close()
