"""The schema says enough for who has only its JSON."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pydantic
from msgspec import Meta

from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.handlers import command, event, query
from aether.model.model import Model


@dataclass(frozen=True)
class Line:
    """One line of an order."""

    price: Decimal
    count: int = 1


class Address(pydantic.BaseModel):
    """Where to."""

    street: str


class Customer(pydantic.BaseModel):
    """Who."""

    name: str
    addresses: list[Address] = []


@dataclass(frozen=True)
class Placed:
    """An order was placed."""

    lines: list[Line]
    customer: Customer


class Order(Actor):
    """An order of a shop."""

    lines: list[Line] = []  # noqa: RUF012 - copied for each actor
    count: int = 0

    @command
    def place(self, lines: Annotated[list[Line], Meta(min_length=1)], customer: Customer, *, rush: bool = False) -> int:
        """Place the order.

        Once only.
        """
        self.emit(Placed(lines, customer))
        return len(lines)

    @event
    def placed(self, e: Placed) -> None:
        """Apply."""
        self.lines = e.lines

    @query
    def customer(self) -> Customer | None:
        """Who it was."""
        return None


def decide(state: int, command: Line) -> list[Line]:
    """Say yes."""
    return [command]


def evolve(state: int, event: Line) -> int:
    """Count."""
    return state + event.count


def references(schema: Any) -> set[str]:
    """Every `$ref` in a schema."""
    if isinstance(schema, dict):
        own = {schema["$ref"]} if "$ref" in schema else set()
        return own.union(*(references(part) for part in schema.values()))
    return set().union(*(references(part) for part in schema)) if isinstance(schema, list) else set()


MODEL = Model("shop", actors=[Order, Decider(0, decide, evolve, kind="counter", description="Counts.")])


def test_the_model_schema_describes_every_message() -> None:
    schema = MODEL.schema()
    assert json.loads(json.dumps(schema)) == schema
    assert (schema["model"], set(schema["actors"])) == ("shop", {"order", "counter"})
    order = schema["actors"]["order"]
    assert order["description"] == "An order of a shop."
    place = order["commands"]["place"]
    assert place["description"] == "Place the order.\n\nOnce only."
    assert (place["query"], order["commands"]["customer"]["query"]) == (False, True)
    assert place["args"]["required"] == ["lines", "customer"]
    assert place["args"]["additionalProperties"] is False
    assert place["args"]["properties"]["lines"] == {"type": "array", "items": {"$ref": "#/$defs/Line"}, "minItems": 1}
    assert place["args"]["properties"]["rush"] == {"type": "boolean", "default": False}
    assert place["reply"] == {"type": "integer"}
    assert schema["$defs"]["Line"]["properties"]["price"] == {"type": "string", "format": "decimal"}
    assert set(order["state"]["properties"]) == {"lines", "count"}
    counter = schema["actors"]["counter"]
    assert counter["description"] == "Counts."
    assert counter["commands"]["line"]["description"] == "One line of an order."


def test_every_reference_leads_somewhere() -> None:
    for schema in (MODEL.schema(), *(kind.schema() for kind in MODEL.actor_types.values())):
        assert references(schema) == {f"#/$defs/{name}" for name in schema["$defs"]}


def test_a_schema_is_a_copy() -> None:
    MODEL.schema()["actors"].clear()
    assert MODEL.schema()["actors"]
