"""An actor whose command takes an argument of every documented type, and keeps what it was given."""

import enum
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct
from pydantic import BaseModel

from aether import Actor, Model, command, event, query


class Colour(enum.Enum):
    """Of a pen."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Line:
    """One line of an order."""

    item: str
    count: Annotated[int, Meta(ge=1)] = 1
    tags: list[str] = field(default_factory=list)


class Card(Struct, frozen=True, tag="card"):
    """Paid by card."""

    number: str


class Cash(Struct, frozen=True, tag="cash"):
    """Paid in cash."""

    amount: Decimal


class Address(BaseModel):
    """Where to."""

    street: str
    number: int | None = None


@dataclass(frozen=True)
class Ordered:
    """All of it."""

    colour: Colour
    lines: list[Line]
    price: Decimal
    at: Annotated[datetime, Meta(tz=True)]
    day: date
    raw: bytes
    id: UUID
    pay: Card | Cash
    address: Address
    place: tuple[int, str]
    by_name: dict[str, Line]
    either: int | str
    other: Colour | None
    remark: str | None
    first: Line | None
    size: Literal["s", "l"]
    gift: bool
    count: Annotated[int, Meta(gt=0)]


class Shop(Actor):
    """Takes orders."""

    orders: list[Ordered] = field(default_factory=list[Ordered])

    @command
    def order(
        self,
        colour: Colour,
        lines: list[Line],
        price: Decimal,
        at: Annotated[datetime, Meta(tz=True)],
        day: date,
        raw: bytes,
        id: UUID,
        pay: Card | Cash,
        address: Address,
        place: tuple[int, str],
        by_name: dict[str, Line],
        either: int | str,
        other: Colour | None = None,
        remark: str | None = None,
        first: Line | None = None,
        size: Literal["s", "l"] = "s",
        gift: bool = True,
        count: Annotated[int, Meta(gt=0)] = 1,
    ) -> int:
        """Take an order."""
        self.emit(
            Ordered(colour, lines, price, at, day, raw, id, pay, address, place, by_name, either, other, remark, first,
                    size, gift, count)
        )  # fmt: skip
        return len(self.orders)

    @query
    def last(self) -> Ordered | None:
        """The last order."""
        return self.orders[-1] if self.orders else None

    @event
    def ordered(self, e: Ordered) -> None:
        """Keep it."""
        self.orders.append(e)


model = Model("shop", actors=[Shop])
