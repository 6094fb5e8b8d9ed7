"""What the feed shows: how far it is, the busiest actors, the verdict. Prints; it computes nothing that is checked.

On a terminal the progress is a bar, elsewhere a plain line for each tenth, so that a log stays readable.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from examples.flights.check import States, Verdict

BUSIEST = 10
DIFFERENCES_SHOWN_MAX = 20

AIRCRAFT_COLUMNS = (
    "departures",
    "arrivals",
    "cancellations",
    "miles",
    "minutes_in_air",
    "delay_minutes",
    "last_airport",
)
AIRPORT_COLUMNS = ("departures", "arrivals", "cancellations", "delay_minutes")


@contextmanager
def progress(console: Console, what: str, total: int) -> Generator[Callable[[], None]]:
    """Give a function to call for each one done."""
    if not console.is_terminal:
        yield _tenths(console, what, total)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _tenths(console: Console, what: str, total: int) -> Callable[[], None]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            console.print(f"{what}: {done:,} of {total:,}", highlight=False)

    return advance


def show_busiest(console: Console, states: States) -> None:
    """Two tables: the aircraft with most departures, the airports with most departures and arrivals."""
    console.print(_table("Busiest aircraft", "tail number", AIRCRAFT_COLUMNS, _busiest(states, "aircraft")))
    console.print(_table("Busiest airports", "airport", AIRPORT_COLUMNS, _busiest(states, "airport")))


def _busiest(states: States, kind: str) -> list[tuple[str, Any]]:
    of_kind = [(key, state) for (kind_of_one, key), state in states.items() if kind_of_one == kind]
    return sorted(of_kind, key=lambda one: (-one[1]["departures"] - one[1]["arrivals"], one[0]))[:BUSIEST]


def _table(title: str, key_column: str, columns: tuple[str, ...], actors: list[tuple[str, Any]]) -> Table:
    table = Table(key_column, title=title)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for key, state in actors:
        table.add_row(key, *(_shown(state[column]) for column in columns))
    return table


def _shown(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value or "unknown"


def show_verdict(console: Console, verdict: Verdict, rows: int) -> None:
    """Say what was checked, and every difference, up to a limit."""
    against = f"a direct pass over the file ({rows:,} rows fed)"
    if not verdict.differences:
        console.print(
            f"All {verdict.totals:,} totals of {verdict.actors:,} actors are equal to {against}.", highlight=False
        )
        return
    console.print(f"{len(verdict.differences):,} totals DIFFER from {against}:", highlight=False)
    for difference in verdict.differences[:DIFFERENCES_SHOWN_MAX]:
        console.print(f"  {difference}", highlight=False, markup=False)
    if len(verdict.differences) > DIFFERENCES_SHOWN_MAX:
        console.print(f"  and {len(verdict.differences) - DIFFERENCES_SHOWN_MAX:,} more", highlight=False)
