"""The run that is recorded: a pool of two workers under load, what befalls it, and a note of everything clients heard.

`python -m tests.powercut.recorded LOAD DIRECTORY CALLS STEPS CLIENTS -- POOL_ARGUMENT...`, under strace. The load is of
`ledgers` or of the `bank`, whose tasks call a server in this process. Notes are lines of a file beside the pool's data,
each written with one call: so the trace says what had been written and synced by the time a client had its answer. A
step is taken after CALLS further answers, and the run ends after as many more.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from random import Random

import nats

from aether.ids import ActorId
from aether.names import Names
from aether.system.environment import recorded_url
from tests.chaos.bank.load import BankLane, open_bank_lanes
from tests.chaos.bank.outside import OUTSIDE, Asked, CountingServer
from tests.chaos.calls import Outcome, read_call
from tests.chaos.load import LoadOptions, NatsProtocol, open_lanes
from tests.chaos.processes import MODEL, children
from tests.chaos.waiting import until
from tests.chaos.world import BANK_MODEL
from tests.support.nats_server import free_port
from tests.support.tied import command

NAMESPACE = "powercut"
WORKERS = 2
LEDGERS = 16
DATA = "data"
NOTES = "notes"
LOG = "pool.log"

SERVER_NAME = "nats-server"
SLOT_NAME = "aether-slot-"
GUARD_S = 90.0
RUN_WITHIN_S = 200.0
SNAPSHOT_EVERY = 20
"""Events; so that there are many snapshots in a short run."""

BANK = "bank"
BANK_ACCOUNTS = 8
BANK_PAUSE_S = 0.05
BANK_TASK_S = (0.0, 0.0, 0.05, 0.3)
"""Tasks are short, so that there are many in a short run."""

FILLER_SUBJECT = Names(NAMESPACE).event(ActorId("filler", "x"))
FILLER = b"x" * 3_000
"""Half of every block and more, in which commits stand too: when it is removed the blocks are rewritten."""


class Notes:
    """The file of notes; counts the answers among them."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.answers = 0

    def write(self, line: str) -> None:
        """A call that has ended."""
        os.write(self._fd, line.encode())
        self.answers += read_call(line).outcome in (Outcome.REPLY, Outcome.REJECTED)

    def asked(self, place: int, asked: Asked) -> None:
        """A task has called the server outside, or is about to be answered."""
        os.write(self._fd, (json.dumps({"asked": place, **asdict(asked)}) + "\n").encode())

    async def further(self, count: int) -> None:
        """Return after so many further answers."""
        wanted = self.answers + count
        await until(lambda: self.answers >= wanted, GUARD_S, f"{wanted} answers")

    def mark(self, text: str) -> None:
        """Something else that happened."""
        os.write(self._fd, (json.dumps({"mark": text}) + "\n").encode())


class Run:
    """One pool and what can be done to it."""

    def __init__(self, directory: Path, pool: subprocess.Popen[bytes], notes: Notes) -> None:
        self.directory = directory
        self.notes = notes
        self._pool = pool
        self._dice = Random(1)  # noqa: S311 - chance that must repeat
        self._filling: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._steps = {
            "worker": self._kill_worker,
            "server": self._restart_server,
            "crash": self._crash_server,
            "purge": self._purge_snapshots,
            "fill": self._fill,
            "clear": self._clear,
        }

    @property
    def url(self) -> str:
        url = recorded_url(self.directory / DATA)
        assert url is not None
        return url

    def _pids(self, prefix: str) -> list[int]:
        return [pid for pid, name in sorted(children(self._pool.pid).items()) if name.startswith(prefix)]

    async def ready(self) -> None:
        """Return when the pool serves."""
        log = self.directory / LOG

        def said() -> bool:
            assert self._pool.poll() is None, log.read_text()
            return f"{WORKERS} workers ready" in log.read_text()

        await until(said, GUARD_S, "the pool")

    async def step(self, name: str) -> None:
        """Do one of the things below, by its name."""
        self.notes.mark(name)
        await self._steps[name]()

    async def _kill_worker(self) -> None:
        os.kill(self._pids(SLOT_NAME)[0], signal.SIGKILL)

    async def _restart_server(self) -> None:
        """Have the server end in good order, which writes its index files; the supervisor starts it again."""
        await self._end_server(signal.SIGTERM)

    async def _crash_server(self) -> None:
        await self._end_server(signal.SIGKILL)

    async def _end_server(self, how: signal.Signals) -> None:
        (before,) = self._pids(SERVER_NAME)
        os.kill(before, how)
        await until(lambda: self._pids(SERVER_NAME) not in ([], [before]), GUARD_S, "another server")

    async def _fill(self) -> None:
        """From now on the stream of commits gets other messages, too."""
        self._filling = asyncio.create_task(self._filled())

    async def _filled(self) -> None:
        async with await nats.connect(self.url) as connection:
            while not self._full.is_set():
                await connection.jetstream().publish(FILLER_SUBJECT, FILLER)

    async def _clear(self) -> None:
        """Remove them, so that the blocks of the stream are mostly dead."""
        assert self._filling is not None
        self._full.set()
        await self._filling
        await self._purge(f"AETHER_{NAMESPACE}", FILLER_SUBJECT)

    async def _purge_snapshots(self) -> None:
        """Remove most of them."""
        stream = f"KV_AETHER_{NAMESPACE}_SNAPSHOTS"
        async with await nats.connect(self.url) as connection:
            info = await connection.jetstream().stream_info(stream, subjects_filter=">")
        subjects = sorted(info.state.subjects or {})
        await self._purge(stream, *(subject for subject in subjects if self._dice.random() < 0.7))

    async def _purge(self, stream: str, *subjects: str) -> None:
        async with await nats.connect(self.url) as connection:
            for subject in subjects:
                request = json.dumps({"filter": subject}).encode()
                await connection.request(f"$JS.API.STREAM.PURGE.{stream}", request, timeout=10)


async def load(run: Run, calls: int, steps: Sequence[str], names: Sequence[str], *, bank: bool) -> None:
    """Load by clients of these names, and a step after each further `calls` answers."""
    notes = run.notes
    options = LoadOptions(
        url=run.url, namespace=NAMESPACE, log=Path(), ledgers=BANK_ACCOUNTS if bank else LEDGERS, seed=1,
        deadline_s=30.0, pause_s=BANK_PAUSE_S if bank else 0.0,
    )  # fmt: skip
    async with AsyncExitStack() as clients:
        lanes: Sequence[BankLane | NatsProtocol]
        if bank:
            lanes = await open_bank_lanes(clients, options, notes, names, BANK_TASK_S)
        else:
            lanes = await open_lanes(clients, options, notes, names)
        stopping = asyncio.Event()
        notes.mark("load")
        running = [asyncio.create_task(lane.run(stopping)) for lane in lanes]
        for step in [*steps, ""]:
            await notes.further(calls)
            if step:
                await run.step(step)
        stopping.set()
        await asyncio.gather(*running)


def start_pool(directory: Path, arguments: Sequence[str], outside_port: int) -> "subprocess.Popen[bytes]":
    """The pool's supervisor; with the model of the bank when there is a server outside."""
    options = [f"--workers={WORKERS}", f"--namespace={NAMESPACE}", f"--data-dir={directory / DATA}"]
    program = [
        sys.executable,
        "-P",
        "-m",
        "tests.powercut.pool",
        *arguments,
        BANK_MODEL if outside_port else MODEL,
        *options,
    ]
    variables = {**os.environ, "AETHER_SNAPSHOT_EVERY_EVENTS": str(SNAPSHOT_EVERY)}
    variables[OUTSIDE] = f"127.0.0.1:{outside_port}"
    with (directory / LOG).open("wb") as log:
        return subprocess.Popen(command(program), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables)


async def record(
    directory: Path, pool: "subprocess.Popen[bytes]", calls: int, steps: Sequence[str], names: Sequence[str],
    outside_port: int,
) -> None:  # fmt: skip
    """The whole run of a pool that has just been started, until it has drained."""
    run = Run(directory, pool, Notes(directory / NOTES))
    outside = CountingServer(run.notes.asked, outside_port) if outside_port else nullcontext()
    async with outside:
        async with asyncio.timeout(RUN_WITHIN_S):
            await run.ready()
            await load(run, calls, steps, names, bank=outside_port > 0)
        run.notes.mark("drain")
        pool.send_signal(signal.SIGTERM)
        await until(lambda: pool.poll() is not None, GUARD_S, "the end of the pool")


def main() -> None:
    """Run the command line of this process."""
    divider = sys.argv.index("--")
    kind, directory, calls, steps, names = sys.argv[1:divider]
    outside_port = free_port() if kind == BANK else 0
    pool = start_pool(Path(directory), sys.argv[divider + 1 :], outside_port)
    wanted = steps.split(",") if steps else []
    try:
        asyncio.run(record(Path(directory), pool, int(calls), wanted, names.split(","), outside_port))
    finally:
        pool.send_signal(signal.SIGTERM)
        pool.wait(GUARD_S)


if __name__ == "__main__":
    main()
