"""Servers for the integration tests: one that all share, and one that a test may kill."""

from collections.abc import Iterator

import pytest

from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture
def namespace() -> str:
    return fresh_namespace()
