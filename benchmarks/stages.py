"""Where the time of one deposit goes, by stage, in the worker and in the client, by sampling both while they work.

    .venv/bin/pip install py-spy
    source scripts/use-compiled   # after scripts/compile; without it plain Python is measured
    .venv/bin/python -m benchmarks.stages --in-flight 100 --sync default

A sample belongs to the innermost of its functions that `WORKER` or `LOAD` name; the collector's samples are its own
wherever it ran. Shares of all samples are given as microseconds of the process's CPU per deposit. The CPU is measured
without the sampler, which stops the process for each sample. What no stage names is the event loop, uvloop and the
kernel.
"""

import argparse
import asyncio
import re
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import uvloop

from benchmarks.load import closed_loop, each_once, random_deposits
from benchmarks.server import Server
from benchmarks.sides import aether_side
from benchmarks.throughput import WARM_UP_IN_FLIGHT

PY_SPY = Path(".venv/bin/py-spy")
ACCOUNTS = 1_000
SAMPLES_PER_SECOND = 400

Stages: TypeAlias = Mapping[str, Sequence[str]]
"""The stages by what they are called, each with patterns for its functions: `Class.method`, compiled or not."""

WORKER: Stages = {
    "read messages: frames": ["Parser.feed", "NatsProtocol.data_received"],
    "route a command: subject, envelope, arguments, mailbox": [
        "NatsTransport", "Router.receive", "Router.decode_all", "Router.enqueue_all", "VirtualMachine.receive",
    ],
    "run it: turn, handler, event, state": ["Turn.init", "Turn.run", "Turn.begin", "Turn.emit"],
    "encode its reply and event": ["Turn.succeeded", "WorkerContext.finish_turns"],
    "send the commit": ["VirtualMachine.turn_over", "Committer.commit", "Committer.send"],
    "take the acknowledgement": [
        "PendingReplies.deliver", "Committer.hand_over_outcomes", "CommitPublisher.outcome",
    ],
    "remember the command, answer it": ["VirtualMachine.take_outcome", "Turn.dealloc", "WorkerContext.send_answers"],
    "look at the repeated commit": ["Follower.receive"],
    "write to the socket": ["NatsProtocol.flush"],
}  # fmt: skip

LOAD: Stages = {
    "the benchmark's own loop": ["closed_loop"],
    "make the call: proxy, arguments, typed reply": ["Client.actor", "Deposit.call"],
    "envelope, deadline, bound, retries": ["Caller.call"],
    "send it: subject, inbox, frame": ["NatsTransport.request"],
    "read the answer: frames, inbox, wake the caller": ["Parser.feed", "NatsProtocol.data_received"],
    "write to the socket": ["NatsProtocol.flush"],
}

WAITING = "epoll_"
"""What a process does that has nothing to do: such a sample counts for nothing."""

COLLECTOR, REST = "garbage collection", "event loop, uvloop and the kernel"


def main() -> None:
    """Sample both processes, each in a run of its own, and print their tables."""
    parser = argparse.ArgumentParser(prog="stages", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--sync", choices=["default", "always"], default="default")
    parser.add_argument("--deposits", type=int, default=60_000)
    options = parser.parse_args()
    if not PY_SPY.exists():
        raise SystemExit("py-spy is not there: .venv/bin/pip install py-spy")
    for process, stages in (("worker", WORKER), ("load", LOAD)):
        with Server(options.sync) as server, tempfile.TemporaryDirectory() as folder:
            samples = Path(folder) / "samples"
            cpu_us = uvloop.run(_sampled(server, process, samples, options.in_flight, options.deposits))
            print(f"\n{process}: {cpu_us:.1f} us per deposit, {options.in_flight} in flight, sync {options.sync}\n")
            print("\n".join(table(shares(samples.read_text().splitlines(), stages), cpu_us)), flush=True)


def shares(samples: Iterable[str], stages: Stages) -> dict[str, float]:
    """The share of the samples in each stage, in the order of the stages; lines are `outer;...;inner count`."""
    patterns = [(name, _pattern(functions)) for name, functions in stages.items()]
    found: Counter[str] = Counter()
    for sample in samples:
        stack, _, count = sample.rpartition(" ")
        frames = stack.split(";")
        if WAITING not in frames[-1] and "Thread._bootstrap" not in stack:
            found[_stage(frames, patterns)] += int(count)
    total = sum(found.values())
    return {name: found[name] / total for name in [*stages, COLLECTOR, REST]}


def table(found: Mapping[str, float], cpu_us: float) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| stage | us | share |"
    yield "|---|---|---|"
    for name, share in found.items():
        yield f"| {name} | {share * cpu_us:.1f} | {share:.0%} |"


def _stage(stack: Sequence[str], patterns: Sequence[tuple[str, "re.Pattern[str]"]]) -> str:
    if any("gc_collect" in frame for frame in stack):
        return COLLECTOR
    for frame in reversed(stack):
        for name, pattern in patterns:
            if pattern.search(frame):
                return name
    return REST


def _pattern(functions: Sequence[str]) -> "re.Pattern[str]":
    """Matches `Class._method`, and what a compiled one is called: `module___Class____method`."""
    return re.compile("|".join(one.replace(".", r"(?:\.|_+)_*") for one in functions), re.IGNORECASE)


async def _sampled(server: Server, process: str, samples: Path, in_flight: int, deposits: int) -> float:
    async with aether_side(server) as side:
        await closed_loop(side.deposit, each_once(0, ACCOUNTS), WARM_UP_IN_FLIGHT)
        await closed_loop(side.deposit, random_deposits(ACCOUNTS, deposits // 4, 0), in_flight)
        plan = random_deposits(ACCOUNTS, deposits, 1)
        measured = await closed_loop(side.deposit, plan, in_flight, side.processes)
        arguments = ["record", "--native", "--format", "raw", "--duration", "600", "--output", str(samples)]
        arguments += ["--rate", str(SAMPLES_PER_SECOND), "--pid", str(side.processes[process][0])]
        nothing = subprocess.DEVNULL
        sampler = await asyncio.create_subprocess_exec(PY_SPY, *arguments, stdout=nothing, stderr=nothing)
        await asyncio.sleep(1)  # until it looks; nothing depends on it but how many samples are idle ones
        await closed_loop(side.deposit, random_deposits(ACCOUNTS, deposits, 2), in_flight)
        sampler.send_signal(signal.SIGINT)
        await sampler.wait()
    return measured.cpu_s[process] * 1e3


if __name__ == "__main__":
    main()
