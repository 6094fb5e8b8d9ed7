"""The HTTP gateway: calls through it and through a bare endpoint in turns, and many event streams.

    scripts/bench gateway [--rounds PAIRS]
    python -m benchmarks.gateway [--pairs N] [--seconds S] [--streams N]

One NATS server and one pool of one worker serve all. Each contestant is one process. The load is a closed loop over
connections that are kept, by this process.
"""

import argparse
import asyncio
import itertools
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import IO, cast

import uvloop

import aether
from benchmarks.bank import Account, model
from benchmarks.figures import percentile
from benchmarks.processes import resident_bytes
from benchmarks.server import Server

MODEL = "benchmarks.bank:model"
IN_FLIGHT = (1, 32)
ACCOUNTS = 1_000
BODY = b'{"amount":1}'


@contextmanager
def process(*arguments: str, says: str) -> Iterator[tuple[str, int]]:
    """A Python program, once a line of its output matches: the first group, and its pid. Ended on the way out."""
    program = [sys.executable, "-m", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as started:
        assert started.stdout is not None
        try:
            yield _said(started.stdout, says), started.pid
        finally:
            started.terminate()
            started.stdout.read()


def _said(lines: IO[str], wanted: str) -> str:
    heard = ""
    for line in lines:
        heard += line
        if found := re.search(wanted, line):
            return found[1]
    raise RuntimeError(f"the program ended before it was ready:\n{heard}")


async def calls(port: int, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    """Deposits by so many connections for so long: calls per second, and the latencies in ms, sorted."""
    keys = itertools.cycle(range(ACCOUNTS))
    latencies_ms: list[float] = []
    ends_s = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun_s := time.perf_counter()) < ends_s:
            writer.write(
                b"POST /actors/account/a%d/deposit HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (next(keys), len(BODY), BODY)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = re.search(rb"content-length: (\d+)", head)
            assert size is not None
            await reader.readexactly(int(size[1]))
            latencies_ms.append((time.perf_counter() - begun_s) * 1000)
        writer.close()

    begun_s = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(in_flight)))
    return len(latencies_ms) / (time.perf_counter() - begun_s), sorted(latencies_ms)


async def native(client: aether.Client, in_flight: int, seconds: float) -> tuple[float, list[float]]:
    """The same deposits by the client of this language."""
    keys = itertools.cycle(range(ACCOUNTS))
    latencies_ms: list[float] = []
    ends_s = time.perf_counter() + seconds

    async def one() -> None:
        while (begun_s := time.perf_counter()) < ends_s:
            await client.actor(Account, f"a{next(keys)}").deposit(1)
            latencies_ms.append((time.perf_counter() - begun_s) * 1000)

    begun_s = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(in_flight)))
    return len(latencies_ms) / (time.perf_counter() - begun_s), sorted(latencies_ms)


async def compared(gateway: int, bare: int, client: aether.Client, pairs: int, seconds: float) -> None:
    """Print the rates and latencies of each in turns, and the ratio of each pair."""
    for in_flight in IN_FLIGHT:
        rates: dict[str, list[float]] = {"gateway": [], "bare": [], "client": []}
        p50s: dict[str, list[float]] = {"gateway": [], "bare": [], "client": []}
        for _ in range(pairs):
            for name, port in (("gateway", gateway), ("bare", bare), ("client", 0)):
                found = calls(port, in_flight, seconds) if port else native(client, in_flight, seconds)
                rate, latencies_ms = await found
                rates[name].append(rate)
                p50s[name].append(percentile(latencies_ms, 0.5))
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rates["gateway"], rates["bare"], strict=True))
        more_ms = statistics.median(ours - own for ours, own in zip(p50s["gateway"], p50s["client"], strict=True))
        shown = ", ".join(
            f"{name} {statistics.median(rates[name]):,.0f}/s p50 {statistics.median(p50s[name]):.2f} ms"
            for name in rates
        )
        print(f"{in_flight} in flight: {shown}; ratio {ratio:.2f}, p50 {more_ms:+.2f} ms over the client", flush=True)


class Counter(asyncio.Protocol):
    """Reads an event stream, and counts its events."""

    def __init__(self, query: bytes) -> None:
        self.events = 0
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._query = query

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        cast(asyncio.Transport, transport).write(b"GET /events%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % self._query)

    def data_received(self, data: bytes) -> None:
        """Count."""
        self.events += data.count(b"data: ")
        if not self.begun.done() and b"id: " in data:
            self.begun.set_result(None)


@asynccontextmanager
async def streams(port: int, count: int) -> AsyncIterator[list[Counter]]:
    """So many open event streams."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: Counter(b""), "127.0.0.1", port) for _ in range(count)]
    await asyncio.gather(*(counter.begun for _, counter in opened))
    try:
        yield [counter for _, counter in opened]
    finally:
        for transport, _ in opened:
            transport.close()


async def streamed(port: int, pid: int, client: aether.Client, count: int, per_s: int, seconds: float) -> None:
    """Print how many deliveries a second so many streams get, at so many events a second, and what memory they take."""
    before = resident_bytes(pid)
    async with streams(port, count) as counters:
        idle = resident_bytes(pid)
        begun_s, sent = time.perf_counter(), 0
        while (now_s := time.perf_counter() - begun_s) < seconds:
            due = int(now_s * per_s) - sent
            await asyncio.gather(*(client.actor(Account, f"a{n}").deposit(1) for n in range(due)))
            sent += due
            await asyncio.sleep(0.02)
        ends_s = time.perf_counter() + 10
        while min(one.events for one in counters) < sent and time.perf_counter() < ends_s:  # noqa: ASYNC110 - counts
            await asyncio.sleep(0.02)
        took_s = time.perf_counter() - begun_s
        delivered = sum(counter.events for counter in counters)
        mib = [size / 1_048_576 for size in (before, idle, resident_bytes(pid))]
        print(
            f"{count} streams, {sent / took_s:,.0f} events/s: {delivered / took_s:,.0f} deliveries/s, {delivered:,} of "
            f"{sent * count:,}; gateway {mib[0]:.0f} MiB, {mib[1]:.0f} with the streams, {mib[2]:.0f} at the end",
            flush=True,
        )


async def measured(url: str, options: argparse.Namespace) -> None:
    """Start the contestants, and measure."""
    gateway = process(
        "aether.gateway", MODEL, "--http", "127.0.0.1:0", "--nats", url, says=r"serving at http://\S+:(\d+)"
    )
    bare = process("benchmarks.bare_endpoint", url, says=r"ready (\d+)")
    with gateway as (ours, pid), bare as (theirs, _):
        async with aether.connect(url, model=model) as client:
            await native(client, 32, 1.0)
            if options.pairs:
                await compared(int(ours), int(theirs), client, options.pairs, options.seconds)
            for per_s in (10, 50):
                await streamed(int(ours), pid, client, options.streams, per_s, options.seconds * 3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(prog="benchmarks.gateway", description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--streams", type=int, default=1_000)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with Server("default") as server, tempfile.TemporaryDirectory() as data:
        pool = ("aether.supervisor", MODEL, "--workers", "1", "--nats", server.url, "--data-dir", data)
        with process(*pool, says=r"(\d) worker ready"):
            uvloop.run(measured(server.url, options))


if __name__ == "__main__":
    main()
