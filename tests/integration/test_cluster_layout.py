"""A namespace is made on servers that are only just electing; what never settles is refused within the bound."""

import pytest

from aether.config import ConnectionConfig, StorageConfig
from aether.errors import ConfigError
from aether.jetstream.connection.nats_connection import connect
from aether.jetstream.provisioning import create_layout
from tests.support.nats_cluster import NatsCluster

THREE = StorageConfig(shards=8, replicas=3)


async def test_a_namespace_is_made_while_the_servers_elect() -> None:
    cluster = NatsCluster()
    try:
        cluster.launch()
        await cluster.nodes[0].accepts()
        async with connect(ConnectionConfig(url=cluster.url)) as connection:
            layout = await create_layout(connection, "electing", THREE)
        assert layout.replicas == 3
    finally:
        cluster.close()


async def test_a_server_that_is_missing_is_waited_for_within_the_bound() -> None:
    cluster = NatsCluster()
    try:
        for node in cluster.nodes[:2]:
            node.launch()
        # Two servers may take longer to elect than they are given here to find a third.
        await cluster.elected()
        async with connect(ConnectionConfig(url=cluster.url)) as connection:
            with pytest.raises(ConfigError, match="3 replicas cannot be made here"):
                await create_layout(connection, "waiting", THREE, election_timeout_s=5.0)
            cluster.nodes[2].launch()
            assert (await create_layout(connection, "waiting", THREE)).replicas == 3
    finally:
        cluster.close()
