"""The two sides that every suite here runs on."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.harness import MemorySide, Side, World
from tests.contract.jetstream_side import JetStreamSide
from tests.support.nats_server import NatsServer


@pytest.fixture(params=["memory", "jetstream"], scope="session")
def adapters(request: pytest.FixtureRequest) -> Iterator[Side]:
    if request.param == "memory":
        yield MemorySide()
        return
    with NatsServer() as server:
        yield JetStreamSide(server.url)


@pytest.fixture
async def world(adapters: Side) -> AsyncIterator[World]:
    async with adapters.world() as world:
        yield world
