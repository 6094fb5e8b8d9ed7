"""Namespaces of earlier versions, which lack a stream until a worker starts."""

import nats
import pytest

from aether.errors import Unavailable
from aether.jetstream.api import find_stream
from aether.names import Names
from tests.support.jetstream import node
from tests.support.nats_server import NatsServer


async def test_without_timers_there_are_no_schedules(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        assert await one.timers.armed() == []
        async with await nats.connect(nats_server.url) as connection:
            await connection.jetstream().delete_stream(Names(namespace, 1).timers)
        assert await one.timers.armed() == []
        assert await one.timers.armed("order", "1") == []
        with pytest.raises(Unavailable):
            await one.timers.fired(0, 0)


async def test_the_server_says_which_streams_it_has(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        assert await find_stream(one.nats, Names(namespace, 1).timers) is not None
        assert await find_stream(one.nats, "AETHER_none_TIMERS") is None
