"""The two sides that every suite here runs on."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.harness import MemorySide, Side, World


@pytest.fixture(params=["memory"], scope="session")
def adapters(request: pytest.FixtureRequest) -> Side:
    return MemorySide()


@pytest.fixture
async def world(adapters: Side) -> AsyncIterator[World]:
    async with adapters.world() as world:
        yield world
