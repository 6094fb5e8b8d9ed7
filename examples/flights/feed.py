"""Play the flights into a running pool, then check every total: `python -m examples.flights.feed`.

One process, one event loop, a bounded number of commands in flight. Each command's id is made from its row, so a retry
has no second effect; a row that is fed again later is refused by the actors. Exit status: 0 all totals agree, 1 some
differ, 2 bad arguments, 3 the pool could not be reached or stopped answering.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from aether import AetherError, Client, Unavailable, connect
from examples.flights.airport import Airport
from examples.flights.check import Verdict, compare, where_recorded
from examples.flights.direct import Totals, add_up
from examples.flights.model import model
from examples.flights.play import Report, for_each, reports_of, send
from examples.flights.report import progress, show_busiest, show_verdict
from examples.flights.source import ORIGINS, ROWS_OF_JANUARY, ROWS_OF_THE_YEAR, read_rows

IN_FLIGHT = 1_000
"""Below the 1,024 commands that may wait on one actor, so that even Newark's mailbox never overflows."""
DEADLINE_S = 30.0
POOL_WAIT_S = 60.0
POOL_RETRY_S = 0.2
LOG_WIDTH = 120

EXIT_AGREES = 0
EXIT_DIFFERS = 1
EXIT_UNAVAILABLE = 3
EXIT_INTERRUPTED = 130

TO_TRY = """The pool stays up, Ctrl-C ends it. Try, from another terminal:
  .venv/bin/aether call airport JFK traffic
  .venv/bin/aether history aircraft N14228
  .venv/bin/aether top
  .venv/bin/aether ps"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Feed, show, check; the exit status."""
    options = _parser().parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
    try:
        agrees = asyncio.run(Feed(options, console).run())
    except (AetherError, ExceptionGroup) as error:
        reason = _first(error)
        if not isinstance(reason, AetherError):
            raise
        console.print(f"The feed stopped: {reason}", markup=False, highlight=False)
        return EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if agrees and options.stay:
        console.print(TO_TRY, highlight=False)
        if address := os.environ.get("FLIGHTS_HTTP"):
            console.print(f"The dashboard is at http://{address}/ui/", highlight=False)
        _wait_for_the_end()
    return EXIT_AGREES if agrees else EXIT_DIFFERS


class Feed:
    """One run of the feed. The file is read as a stream, to feed and again to check: the year needs no more memory."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        everything = ROWS_OF_THE_YEAR if options.all else ROWS_OF_JANUARY
        self._rows = everything if options.limit is None else min(options.limit, ROWS_OF_THE_YEAR)
        self._options = options
        self._console = console
        self._actors: set[tuple[str, str]] = set()
        self._states: dict[tuple[str, str], dict[str, Any]] = {}

    async def run(self) -> bool:
        """Whether every total of every actor is that of the file."""
        async with AsyncExitStack() as stack:
            client = await self._reach(stack)
            before = await self._recorded(client)
            await self._play(client)
            after = await self._recorded(client)
            new = after - before
            self._say(f"{new:,} rows are new to the pool, {self._rows - new:,} it already had.")
            await self._read_states(client)
        show_busiest(self._console, self._states)
        verdict = self._check()
        show_verdict(self._console, verdict, self._rows)
        return not verdict.differences

    async def _reach(self, stack: AsyncExitStack) -> Client:
        """A client, once the pool is there: the feed is often started together with it."""
        give_up_s = time.monotonic() + POOL_WAIT_S
        while True:
            try:
                client = await stack.enter_async_context(connect(self._url(), model=model))
                await client.actor(Airport, ORIGINS[0], deadline_s=DEADLINE_S).traffic()
            except Unavailable:
                if time.monotonic() > give_up_s:
                    raise
                await stack.aclose()
                await asyncio.sleep(POOL_RETRY_S)
            else:
                return client

    def _url(self) -> str | None:
        """The URL given, else that which the data directory's pool wrote down; None leaves it to the client."""
        given: str | None = self._options.nats
        if given is None and self._options.data_dir is not None:
            recorded = Path(self._options.data_dir, "nats.url")
            # Never the usual URL meanwhile: another pool could live there.
            if not recorded.exists():
                raise Unavailable(f"no pool has started in {self._options.data_dir}")
            return recorded.read_text().strip()
        return given

    async def _recorded(self, client: Client) -> int:
        """Rows that the pool has: each one counts once, at its origin."""
        states = [(await client.state(Airport, origin, deadline_s=DEADLINE_S)).state for origin in ORIGINS]
        return sum(state.departures + state.cancellations for state in states)

    async def _play(self, client: Client) -> None:
        started_s = time.monotonic()
        commands = 0
        with progress(self._console, "rows fed", self._rows) as advance:

            def reports() -> Iterator[Report]:
                for row in read_rows(self._rows):
                    yield from reports_of(row)
                    advance()

            async def record(report: Report) -> None:
                nonlocal commands
                commands += 1
                self._actors.add((report.kind, report.key))
                await send(client, report, DEADLINE_S)

            await for_each(reports(), self._options.in_flight, record)
        took_s = time.monotonic() - started_s
        self._say(
            f"{commands:,} commands to {len(self._actors):,} actors in {took_s:.1f} s: {commands / took_s:,.0f}/s."
        )

    async def _read_states(self, client: Client) -> None:
        async def read(actor: tuple[str, str]) -> None:
            kind, key = actor
            self._states[actor] = (await client.state(kind, key, deadline_s=DEADLINE_S)).as_dict()

        await for_each(self._actors, self._options.in_flight, read)

    def _check(self) -> Verdict:
        totals = Totals()
        add_up(read_rows(self._rows), totals)
        verdict = compare(totals, self._states)
        if not verdict.differences or self._rows == ROWS_OF_THE_YEAR:
            return verdict
        self._say("The pool has more than was fed now: counting what it had from an earlier feed, too.")
        add_up(islice(read_rows(), self._rows, None), totals, where_recorded(self._states))
        return compare(totals, self._states)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def _wait_for_the_end() -> None:
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)


def _first(error: BaseException) -> BaseException:
    exceptions: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return _first(exceptions[0]) if exceptions else error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.flights.feed",
        description="Play real flights into a running pool and check every total against the file.",
        epilog="example: python -m examples.flights.feed --limit 500",
    )
    parser.add_argument("--all", action="store_true", help="the year, 336,776 rows, instead of January's 27,004")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N rows of the year")
    parser.add_argument("--in-flight", type=_positive, default=IN_FLIGHT, metavar="N", help="commands at once (1,000)")
    parser.add_argument(
        "--nats", metavar="URL", help="where the pool is; else AETHER_NATS_URL, or the pool started here"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="of the pool with the embedded server (.aether)")
    parser.add_argument("--stay", action="store_true", help="when all totals agree, wait for Ctrl-C before exiting")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number above 0, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
