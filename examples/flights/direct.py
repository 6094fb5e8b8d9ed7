"""The same totals by adding up the file, row by row: what the actors are checked against.

On purpose the plainest program that can do it. It takes the text of the file and shares nothing with the actors, not
even how a row is read, so that a mistake there cannot hide here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

Counts: TypeAlias = Callable[[str, str, Mapping[str, str]], bool]
"""Whether a row is to be counted at an actor, given by kind and key."""


@dataclass(slots=True)
class AircraftTotals:
    """What the file says of one aircraft."""

    departures: int = 0
    arrivals: int = 0
    cancellations: int = 0
    miles: int = 0
    minutes_in_air: int = 0
    delay_minutes: int = 0
    last_airport: str = ""
    last_departed_at: datetime | None = None


@dataclass(slots=True)
class AirportTotals:
    """What the file says of one airport."""

    departures: int = 0
    arrivals: int = 0
    cancellations: int = 0
    delay_minutes: int = 0


@dataclass(slots=True)
class Totals:
    """What the file says of all of them, by key."""

    aircraft: defaultdict[str, AircraftTotals] = field(default_factory=lambda: defaultdict(AircraftTotals))
    airports: defaultdict[str, AirportTotals] = field(default_factory=lambda: defaultdict(AirportTotals))


def everywhere(kind: str, key: str, row: Mapping[str, str]) -> bool:
    """Count every row at all its actors."""
    return True


def add_up(rows: Iterable[Mapping[str, str]], totals: Totals, counts: Counts = everywhere) -> None:
    """Add the rows to the totals; `counts` can leave a row out at an actor."""
    for row in rows:
        cancelled = row["dep_time"] == "NA"
        arrived = row["arr_delay"] != "NA"
        if counts("airport", row["origin"], row):
            origin = totals.airports[row["origin"]]
            if cancelled:
                origin.cancellations += 1
            else:
                origin.departures += 1
        if arrived and counts("airport", row["dest"], row):
            destination = totals.airports[row["dest"]]
            destination.arrivals += 1
            destination.delay_minutes += int(row["arr_delay"])
        if row["tailnum"] != "NA" and counts("aircraft", row["tailnum"], row):
            _add_to_aircraft(totals.aircraft[row["tailnum"]], row, cancelled, arrived)


def _add_to_aircraft(aircraft: AircraftTotals, row: Mapping[str, str], cancelled: bool, arrived: bool) -> None:
    if cancelled:
        aircraft.cancellations += 1
        return
    aircraft.departures += 1
    if arrived:
        aircraft.arrivals += 1
        aircraft.miles += int(row["distance"])
        aircraft.minutes_in_air += int(row["air_time"])
        aircraft.delay_minutes += int(row["arr_delay"])
    scheduled = datetime.fromisoformat(row["time_hour"]).replace(minute=int(row["minute"]))
    left = scheduled + timedelta(minutes=int(row["dep_delay"]))
    if aircraft.last_departed_at is None or left > aircraft.last_departed_at:
        aircraft.last_departed_at = left
        aircraft.last_airport = row["dest"] if arrived else ""
