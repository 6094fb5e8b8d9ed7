"""The gateway inside another application: paths below where it is mounted, its life in the application's."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message

import aether
import aether.gateway
from aether.errors import ConfigError
from aether.gateway.config import GatewayConfig, ServerConfig, from_variables
from aether.testing import local_pool
from tests.support.actors import Account, model


def http_of(app: object, base_url: str = "http://app") -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=base_url)  # type: ignore[arg-type]


async def test_it_is_mounted_in_fastapi() -> None:
    async with local_pool(model) as pool:
        gateway = aether.gateway.app(model, client=pool.client)

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
            async with gateway:
                yield

        app = FastAPI(lifespan=lifespan)
        app.mount("/aether", gateway)

        @app.get("/own/{key}")
        async def own(key: str) -> int:
            return await gateway.client.actor(Account, key).statement()

        async with app.router.lifespan_context(app), http_of(app) as http:
            answer = await http.post("/aether/actors/account/a%2Fb/deposit", json={"amount": 3})
            assert answer.json() == {"value": 3, "version": 1, "position": 1}
            assert (await http.get("/own/a%2Fb")).status_code == 404, "the application's own paths are its own"
            assert (await pool.client.state(Account, "a/b")).version == 1
            await http.post("/aether/actors/account/ann/deposit", json={"amount": 4})
            assert (await http.get("/own/ann")).json() == 4
            assert (await http.get("/aether/docs")).status_code == 200
            assert (await http.get("/aether/nothing")).json()["code"] == "not_found"
        with pytest.raises(RuntimeError, match="not open"):
            _ = gateway.client
        assert await pool.client.actor(Account, "ann").statement() == 4, "a client that was given stays open"


@pytest.mark.parametrize("prefix", ["/one/two", "/caf\u00e9", "/{tenant}"])
async def test_keys_are_whole_below_any_prefix(prefix: str) -> None:
    async with local_pool(model) as pool, aether.gateway.app(model, client=pool.client) as gateway:
        app = Starlette(routes=[Mount(prefix, gateway)])
        async with http_of(app) as http:
            place = prefix.replace("{tenant}", "a%20b")
            for key, sent in [("x/y", "x%2Fy"), ("a b", "a%20b"), ("%2F", "%252F")]:
                answer = await http.post(f"{place}/actors/account/{sent}/deposit", json={"amount": 1})
                assert answer.status_code == 200, answer.text
                assert (await pool.client.state(Account, key)).version == 1


async def test_one_that_was_not_entered_says_so() -> None:
    async with http_of(aether.gateway.app(model)) as http:
        refused = await http.get("/actors/account/a")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "lifespan" in refused.json()["detail"]


async def test_alone_it_lives_by_the_lifespan_of_its_server() -> None:
    async with local_pool(model) as pool:
        gateway = aether.gateway.app(model, client=pool.client)
        sent: list[Message] = []
        coming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Message:
            message = next(coming)
            if message["type"] == "lifespan.shutdown":
                async with http_of(gateway) as http:
                    assert (await http.get("/actors/account/a")).status_code == 200
            return message

        async def send(message: Message) -> None:
            sent.append(message)

        await gateway({"type": "lifespan"}, receive, send)
        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_pool_that_cannot_be_reached_fails_the_start() -> None:
    gateway = aether.gateway.app(model, url="nats://127.0.0.1:1")
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    await gateway({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    with pytest.raises(aether.Unavailable):
        await gateway.__aenter__()


async def test_a_websocket_is_refused() -> None:
    async with local_pool(model) as pool, aether.gateway.app(model, client=pool.client) as gateway:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await gateway({"type": "websocket"}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1000}]


def test_bounds_that_cannot_be_are_refused() -> None:
    for wrong in ({"calls_max": 0}, {"deadline_s": 61.0}, {"page_default": 2, "page_max": 1}, {"body_timeout_s": -1.0}):
        with pytest.raises(ConfigError) as raised:
            GatewayConfig(**wrong)
        assert raised.value.setting in wrong
    with pytest.raises(ConfigError, match="send_timeout_s"):
        ServerConfig(send_timeout_s=0)


def test_bounds_come_from_the_environment() -> None:
    variables = {"AETHER_HTTP_CALLS_MAX": "7", "AETHER_HTTP_HEAD_TIMEOUT_S": "1.5", "AETHER_HTTP_HOSTS": "evil"}
    assert from_variables(GatewayConfig, variables, hosts=("a",)) == GatewayConfig(calls_max=7, hosts=("a",))
    assert from_variables(ServerConfig, variables) == ServerConfig(head_timeout_s=1.5)
    with pytest.raises(ConfigError, match="AETHER_HTTP_CALLS_MAX must be int"):
        from_variables(GatewayConfig, {"AETHER_HTTP_CALLS_MAX": "many"})
