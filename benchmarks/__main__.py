"""The suite's command line.

    python -m benchmarks [name ...] [--json FILE] [--rounds N] [--quick]

Without names it runs all that compare, one after the other; `recovery`, `gateway` and `pages` are tables of
their own and run when they are named.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aether.errors import AetherError
from aether.system.environment import is_compiled
from benchmarks import gateway, pages, recovery
from benchmarks.activation import activation
from benchmarks.figures import line, table
from benchmarks.hot import hot
from benchmarks.idle import idle
from benchmarks.memory import memory
from benchmarks.open_loop import open_loops
from benchmarks.replay import replay
from benchmarks.scaling import scaling
from benchmarks.schedules import schedules
from benchmarks.suite import Benchmark, Settings
from benchmarks.takeover import takeover
from benchmarks.tasks import tasks
from benchmarks.tells import tells
from benchmarks.throughput import SYNC, alike, durable, throughput

BENCHMARKS: dict[str, Benchmark] = {
    "throughput": throughput,
    "durable": durable,
    "alike": alike,
    "hot": hot,
    "tells": tells,
    "tasks": tasks,
    "schedules": schedules,
    "takeover": takeover,
    "activation": activation,
    "replay": replay,
    "memory": memory,
    "idle": idle,
    "scaling": scaling,
    "open": open_loops,
}
TABLES: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "recovery": (recovery.main, "--rounds"),
    "gateway": (gateway.main, "--pairs"),
    "pages": (pages.main, "--rounds"),
}
"""Programs that print tables of their own, and their option for how often they measure."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for and print the tables."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = parser().parse_args(arguments)
    try:
        run(options)
    except* AetherError as group:
        raise SystemExit(f"{len(group.exceptions)} calls failed, among them: {_first(group)!r}") from None


def run(options: argparse.Namespace) -> None:
    """The benchmarks that the options name, each with its table at its end and the points so far in the file."""
    settings = settings_of(options)
    build = "compiled" if is_compiled() else "plain Python"
    found = []
    for name in options.name or BENCHMARKS:
        if name in TABLES:
            table_of, rounds = TABLES[name]
            table_of([rounds, str(options.rounds)] if options.rounds else [])
            continue
        begun_s = time.monotonic()
        points = []
        for point in BENCHMARKS[name](settings):
            points.append(point)
            found.append({**point.to_json(), "build": build})
            print(line(point), file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=2) + "\n")
        print(f"\n## {name}: Aether {build}, {settings.rounds} rounds, {time.monotonic() - begun_s:.0f} s\n")
        print("\n".join(table(points)), flush=True)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    made = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*BENCHMARKS, *TABLES]
    made.add_argument("name", nargs="*", metavar="name", choices=[*names, []], help=f"of {', '.join(names)}")
    made.add_argument("--json", type=Path, help="write the points to this file")
    made.add_argument("--rounds", type=int, help="of each contestant at each point (default: 5)")
    made.add_argument("--quick", action="store_true", help="small sizes: does everything run, roughly how fast")
    made.add_argument("--large", action="store_true", help="scaling goes to a million active actors")
    made.add_argument("--sync", nargs="+", default=(), choices=SYNC, help="who syncs: see Server")
    made.add_argument("--in-flight", nargs="+", type=int, default=())
    made.add_argument("--workers", nargs="+", type=int, default=())
    made.add_argument("--deposits", type=int, help="to measure in each round")
    made.add_argument("--accounts", type=int, help="of throughput")
    return made


def settings_of(options: argparse.Namespace) -> Settings:
    """What the options mean."""
    given = {name: value for name, value in vars(options).items() if name not in ("name", "json")}
    return Settings(**{name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    main()
