"""One row of the file as a message, and what makes it that row and no other.

A flight number leaves an airport at most once a day, so origin, carrier, number and scheduled date are a row's natural
key: unique over the whole year, which a test holds. No position in the file is needed, and rows may come in any order.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from msgspec import Meta

AirportCode = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="IATA code of an airport")]
Instant = Annotated[datetime, Meta(tz=True, description="a time with its zone")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """What is known of a flight once it is over.

    `date` is the scheduled day at the origin. Without `departed_at` it was cancelled; with it but without
    `arrival_delay_minutes` it left and did not arrive as planned. Delays are signed: an early arrival is negative.
    `minutes_in_air` is there when the delay is.
    """

    date: date
    carrier: str
    number: int
    origin: AirportCode
    destination: AirportCode
    miles: int
    departed_at: Instant | None = None
    arrival_delay_minutes: int | None = None
    minutes_in_air: int | None = None

    @property
    def line(self) -> str:
        """The flight's name on any day: `EWR-UA1545`."""
        return f"{self.origin}-{self.carrier}{self.number}"

    @property
    def row(self) -> str:
        """The row's natural key as text: `2013-01-01 EWR-UA1545`."""
        return f"{self.date.isoformat()} {self.line}"

    @property
    def line_of_year(self) -> str:
        """The line in the scheduled year: `2013 EWR-UA1545`."""
        return f"{self.date.year} {self.line}"

    @property
    def day_of_year(self) -> int:
        """The scheduled day within its year, from 1."""
        return self.date.timetuple().tm_yday
