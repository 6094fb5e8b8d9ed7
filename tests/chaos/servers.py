"""One nats-server or a cluster of three, behind one face: what a fault does to a server it does to one of `nodes`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.support.nats_cluster import ClusterNode, NatsCluster
from tests.support.nats_server import NatsServer


class Node(Protocol):
    """A server that can die and freeze."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def url(self) -> str: ...

    @property
    def running(self) -> bool: ...

    def kill(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...


class Servers(Protocol):
    """The servers of one run."""

    @property
    def nodes(self) -> Sequence[Node]: ...

    @property
    def url(self) -> str: ...

    @property
    def replicas(self) -> int: ...

    @property
    def store(self) -> Path | None:
        """The `store_dir`, where there is one server."""

    async def start(self) -> None:
        """Start all; returns when they serve."""

    async def restart(self, node: Node) -> None:
        """Start a killed server on its store; returns when it takes connections."""

    async def leader(self, stream: str) -> Node:
        """The server that leads a stream."""

    async def caught_up(self, stream: str) -> None:
        """Return when every replica of a stream is current."""

    def close(self) -> None:
        """End all and remove their stores. Idempotent."""


class _Single:
    """A `NatsServer` with a name."""

    name = "nats"

    def __init__(self) -> None:
        self._server = NatsServer()
        self.running = False

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def store(self) -> Path:
        return self._server.store

    def start(self) -> None:
        self._server.start()
        self.running = True

    def kill(self) -> None:
        self.running = False
        self._server.kill()

    def freeze(self) -> None:
        self._server.freeze()

    def thaw(self) -> None:
        self._server.thaw()

    def close(self) -> None:
        self._server.kill()
        self._server.close()


class SingleServer:
    """One server: it leads everything and is always current."""

    replicas = 1

    def __init__(self) -> None:
        self._node = _Single()
        self.nodes: Sequence[Node] = (self._node,)

    @property
    def url(self) -> str:
        return self._node.url

    @property
    def store(self) -> Path:
        return self._node.store

    async def start(self) -> None:
        self._node.start()

    async def restart(self, node: Node) -> None:
        assert node is self._node
        self._node.start()

    async def leader(self, stream: str) -> Node:
        return self._node

    async def caught_up(self, stream: str) -> None:
        return

    def close(self) -> None:
        self._node.close()


class ClusterServers:
    """A `NatsCluster`, what whose servers say to each other can be held back."""

    replicas = 3
    store = None

    def __init__(self) -> None:
        self._cluster = NatsCluster(linked=True)
        self.nodes: Sequence[Node] = self._cluster.nodes

    @property
    def url(self) -> str:
        return self._cluster.url

    async def start(self) -> None:
        await self._cluster.links.start()
        self._cluster.launch()
        await self._cluster.accepts()

    async def restart(self, node: Node) -> None:
        await self._cluster.restart(self._own(node))

    async def leader(self, stream: str) -> Node:
        return await self._cluster.leader(stream)

    async def caught_up(self, stream: str) -> None:
        await self._cluster.caught_up(stream)

    def isolate(self, node: Node, *, says: bool, hears: bool, system_only: bool) -> None:
        """Hold back what a server says to the others, what they say to it, or of both only what Raft says."""
        self._cluster.isolate(self._own(node), says=says, hears=hears, system_only=system_only)

    def reunite(self, *, lose: bool) -> None:
        """Let the servers hear each other again, also what was held back, unless it is to be lost."""
        if lose:
            self._cluster.links.cut()
        self._cluster.links.release()

    def close(self) -> None:
        self._cluster.close()

    def _own(self, node: Node) -> ClusterNode:
        return next(own for own in self._cluster.nodes if own is node)
