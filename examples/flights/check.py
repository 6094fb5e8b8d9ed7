"""The actors' states against the direct pass: every total of every actor.

A pool may have more than was fed now, from an earlier and larger feed. Then a row counts at an actor when it was fed
now or when the actor's own set of rows has it: so nothing fed can be missing, nothing can be counted twice, and what an
actor claims to have must be in its totals. Read-only; it knows the stored form of the sets, not the actors' code.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from itertools import count
from typing import Any, TypeAlias

from examples.flights.direct import Counts, Totals

States: TypeAlias = Mapping[tuple[str, str], Mapping[str, Any]]
"""State by kind and key, as the client gives it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A total that is not what the file says."""

    kind: str
    key: str
    total: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.kind}/{self.key} {self.total}: the file says {self.expected}, the actor {self.found}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was compared, and what differs."""

    actors: int
    totals: int
    differences: tuple[Difference, ...]


def compare(totals: Totals, states: States) -> Verdict:
    """Every total of every actor that the file or the pool knows."""
    expected: dict[tuple[str, str], Mapping[str, object]] = {}
    expected.update((("aircraft", key), asdict(of_one)) for key, of_one in totals.aircraft.items())
    expected.update((("airport", key), asdict(of_one)) for key, of_one in totals.airports.items())
    compared = count()
    differences = tuple(_differences(expected, states, lambda: next(compared)))
    return Verdict(len(expected.keys() | states.keys()), next(compared), differences)


def _differences(
    expected: Mapping[tuple[str, str], Mapping[str, object]], states: States, compared: Callable[[], int]
) -> Iterator[Difference]:
    for kind, key in sorted(expected.keys() | states.keys()):
        wanted, found = expected.get((kind, key)), states.get((kind, key))
        if wanted is None or found is None:
            yield Difference(kind, key, "it", "no such actor" if wanted is None else "there is one", "otherwise")
            continue
        for total, value in wanted.items():
            compared()
            if found[total] != value:
                yield Difference(kind, key, total, value, found[total])


def where_recorded(states: States) -> Counts:
    """Count a row at the actors whose own set of rows has it."""

    def counts(kind: str, key: str, row: Mapping[str, str]) -> bool:
        state = states.get((kind, key))
        return state is not None and _has(kind, state["rows"], row)

    return counts


def _has(kind: str, recorded: Any, row: Mapping[str, str]) -> bool:
    day = date(int(row["year"]), int(row["month"]), int(row["day"]))
    line = f"{row['origin']}-{row['carrier']}{row['flight']}"
    if kind == "aircraft":
        return f"{day:%Y-%m-%d} {line}" in recorded
    days = int.from_bytes(recorded.get(f"{day.year} {line}", b""), "little")
    return bool(days >> int(f"{day:%j}") & 1)
