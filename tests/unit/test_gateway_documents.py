"""OpenAPI, AsyncAPI and the page of documentation: valid by their own validators, whatever a model declares."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import jsonschema
import pydantic
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from aether import Actor, Model, command, event, query
from aether.gateway.access import ByToken, Role
from aether.gateway.asyncapi import asyncapi
from aether.gateway.config import GatewayConfig
from aether.gateway.openapi import openapi
from tests.support.actors import model as plain
from tests.support.gateway import served

ASYNCAPI_SCHEMA = json.loads((Path(__file__).parents[1] / "data/asyncapi/asyncapi-3.0.0.json").read_text())


class Colour(Enum):
    """An enumeration."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Line:
    """A dataclass."""

    what: str
    price: Decimal
    colour: Colour | None = None


class Address(pydantic.BaseModel):
    """A model of pydantic's."""

    street: str
    city: str = "Berlin"


@dataclass(frozen=True)
class Problem:
    """An event with the name of one of the gateway's own types."""

    lines: list[Line]
    to: Address
    at: datetime


class Order(Actor):
    """An order.

    With a second paragraph.
    """

    lines: list[Line] = field(default_factory=list)
    history_of: dict[str, int] = field(default_factory=dict)

    @command
    def place(self, lines: list[Line], to: Address, ids: set[UUID], size: Literal["s", "m"] = "m") -> Line | None:
        """Place it.

        Only once.
        """
        self.emit(Problem(lines, to, self.context.now))
        return lines[0] if lines else None

    @query
    def total(self, tags: list[str], ids: list[int], only: Colour | None = None, line: Line | None = None) -> Any:
        """What it costs."""
        return {"tags": tags, "ids": ids, "only": only and only.value, "line": line and line.what}

    @query
    def history(self) -> int:
        """A query with the name of a path."""
        return 7

    @event
    def placed(self, e: Problem) -> None:
        self.lines = e.lines


rich = Model("shop", actors=[Order])


@pytest.mark.parametrize("model", [plain, rich])
@pytest.mark.parametrize("bearer", [False, True])
def test_openapi_is_valid(model: Model, bearer: bool) -> None:
    document = openapi(model.name, model.schema(), bearer=bearer)
    OpenAPIV31SpecValidator(document).validate()
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))
    for reference in _references(document):
        assert _found(document, reference) is not None, reference
    assert ("security" in document) is bearer


@pytest.mark.parametrize("model", [plain, rich])
def test_asyncapi_is_valid(model: Model) -> None:
    document = asyncapi(model.name, model.name, model.schema())
    jsonschema.Draft7Validator(ASYNCAPI_SCHEMA).validate(document)
    for reference in _references(document):
        assert _found(document, reference) is not None, reference


def test_an_invalid_asyncapi_document_is_found() -> None:
    document = asyncapi("shop", "shop", rich.schema())
    del document["channels"]["events"]["address"]
    document["operations"]["events"]["action"] = "shout"
    assert not jsonschema.Draft7Validator(ASYNCAPI_SCHEMA).is_valid(document)


def test_the_types_of_a_model_keep_apart_from_those_of_the_gateway() -> None:
    schemas = openapi("shop", rich.schema(), bearer=False)["components"]["schemas"]
    titles = [schema.get("title") for schema in schemas.values()]
    assert titles.count("Problem") == 2 or "Problem" in schemas
    assert {"aether_problem", "aether_event"} <= set(schemas)


async def test_what_openapi_says_of_answers_is_so() -> None:
    """Each answer that a call gives fits the schema of its operation."""
    order = {"lines": [{"what": "hat", "price": "1.50", "colour": "red"}], "to": {"street": "x"}, "ids": []}
    async with served(rich) as one:
        document = (await one.http.get("/openapi.json")).json()
        calls: list[tuple[str, str, int, dict[str, Any]]] = [
            ("post", "/actors/order/{key}/place", 200, {"json": order}),
            ("get", "/actors/order/{key}", 200, {}),
            ("get", "/actors/order/{key}/history", 200, {}),
            ("get", "/actors/order", 200, {}),
            ("get", "/actors/order/{key}/total", 200, {"params": {"tags": ["a", "b"], "ids": [1, 2]}}),
            ("post", "/actors/order/{key}/history", 200, {}),
            ("post", "/actors/order/{key}/place", 422, {"json": {}}),
            ("get", "/healthz", 200, {}),
        ]
        for method, path, status, sent in calls:
            answer = await one.http.request(method, path.replace("{key}", "o-1"), **sent)
            assert answer.status_code == status, answer.text
            described = document["paths"][path][method]["responses"][str(status)]
            if "$ref" in described:
                described = _found(document, described["$ref"])
            media_type = answer.headers["content-type"]
            schema = {**described["content"][media_type]["schema"], "components": document["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer.json())


async def test_openapi_names_each_refusal_of_a_command() -> None:
    async with served(
        rich, config=GatewayConfig(body_bytes_max=10), access=ByToken({"0" * 16: (Role.READ, "reader")})
    ) as one:
        reader = {"Authorization": f"Bearer {'0' * 16}"}
        document = (await one.http.get("/openapi.json", headers=reader)).json()
        described = document["paths"]["/actors/order/{key}/place"]["post"]["responses"]
        asked = document["paths"]["/actors/order/{key}/history"]["post"]["responses"]
        path = "/actors/order/o-1/"
        found = [
            (await one.http.post(f"{path}place", json={})).status_code,
            (await one.http.post(f"{path}place", json={}, headers=reader)).status_code,
            (await one.http.post(f"{path}history", content=b"x" * 11, headers=reader)).status_code,
            (await one.http.post(f"{path}history", content=b"{}", headers=reader)).status_code,
        ]
        assert found == [401, 403, 413, 415]
        assert {*map(str, found)} <= {*described} & {*asked}
        assert "401" in document["paths"]["/actors/order/{key}"]["get"]["responses"]
        assert "413" not in document["paths"]["/actors/order/{key}"]["get"]["responses"]


async def test_arguments_of_every_type_come_from_the_query_string() -> None:
    async with served(rich) as one:
        line = json.dumps({"what": "hat", "price": "1"})
        tags = [("tags", "a"), ("tags", "007"), ("ids", "1"), ("ids", "2")]
        sent: list[tuple[str, str | int | float | bool | None]] = [*tags, ("only", "red"), ("line", line)]
        answer = await one.http.get("/actors/order/o/total", params=sent)
        assert answer.json()["value"] == {"tags": ["a", "007"], "ids": [1, 2], "only": "red", "line": "hat"}
        answer = await one.http.get("/actors/order/o/total", params={"tags": "a", "ids": "[3]", "only": "null"})
        assert answer.json()["value"] == {"tags": ["a"], "ids": [3], "only": None, "line": None}
        for query, path in [("tags=a&ids=x", "ids"), ("tags=a", "ids"), ("tags=a&ids=1&only=blue", "only"),
                            ("tags=a&ids=1&only=red&only=red", "only")]:  # fmt: skip
            refused = await one.http.get(f"/actors/order/o/total?{query}")
            assert (refused.status_code, refused.json()["path"]) == (422, path), query


async def test_the_page_needs_no_network_and_no_token() -> None:
    tokens = {"0123456789abcdef": (Role.READ, "reader")}
    async with served(access=ByToken(tokens)) as one:
        page = await one.http.get("/docs")
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page.text)
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert (await one.http.get("/openapi.json")).status_code == 401
        reader = {"Authorization": "Bearer 0123456789abcdef"}
        document = (await one.http.get("/openapi.json", headers=reader)).json()
        assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
        assert (await one.http.get("/asyncapi.json", headers=reader)).json()["asyncapi"] == "3.0.0"


def _references(document: Any) -> list[str]:
    if isinstance(document, Mapping):
        here = [document["$ref"]] if isinstance(document.get("$ref"), str) else []
        return here + [one for value in document.values() for one in _references(value)]
    return [one for value in document for one in _references(value)] if isinstance(document, list) else []


def _found(document: Any, reference: str) -> Any:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/")) if isinstance(found, Mapping) else None
    return found
