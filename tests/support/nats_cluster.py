"""Three real nats-servers on loopback that are one JetStream cluster, for tests: each may die, freeze and come back.

Every node has ports and a store of its own and is handled by its process, never by name. What the cluster knows of a
stream is asked of it with plain nats-py. Start it from a thread that outlives it (see `tied`).
"""

import asyncio
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import nats
from nats.errors import Error as NatsError

from tests.support.nats_server import free_port, nats_server_binary
from tests.support.route_links import RouteLinks
from tests.support.tied import command

NODES = 3
START_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 2.0
LOOK_AGAIN_S = 0.05

NOWHERE = "127.0.0.1:1"
"""Where servers tell others to dial a third one, which they then do only as their own settings say."""


class ClusterNode:
    """One server of the cluster."""

    def __init__(self, name: str, port: int, route_ports: tuple[int, list[int]], directory: Path) -> None:
        own, others = route_ports
        self.name = name
        self.port = port
        self.log = directory / f"{name}.log"
        routes = ",".join(f"nats://127.0.0.1:{other}" for other in others)
        listens = ["-a", "127.0.0.1", "-p", str(port), "-n", name, "-l", str(self.log)]
        belongs = ["--cluster_name", "tests", "--cluster", f"nats://127.0.0.1:{own}", "--routes", routes]
        # Without the advertisement clients know the URLs they were given and no way around a proxy.
        stores = ["--no_advertise", "--cluster_advertise", NOWHERE, "-js", "-sd", str(directory / name)]
        self._command = command([nats_server_binary(), *listens, *belongs, *stores])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None

    def launch(self) -> None:
        """Start its process; `NatsCluster.ready` tells when it serves."""
        assert self._process is None
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it as a crash would. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Stop it from running, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # else it may still answer

    def thaw(self) -> None:
        """Let it run again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def accepts(self) -> None:
        """Return when it takes connections."""
        while True:
            assert self._process is not None
            assert self._process.poll() is None, f"{self.name} ended:\n{self.log.read_text()}"
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    if await reader.read(5) == b"INFO ":
                        return
                finally:
                    writer.close()
            except OSError:
                pass
            await asyncio.sleep(LOOK_AGAIN_S)


class NatsCluster:
    """The three of them. An asynchronous context manager: elected and ready inside, ended after it.

    `linked`: their routes go through `links`, where what they say can be held back.
    """

    def __init__(self, *, linked: bool = False) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="aether-cluster-")
        routes = [free_port() for _ in range(NODES)]
        self.links = RouteLinks(routes, linked=linked)
        self.nodes = [
            ClusterNode(
                f"n{n}",
                free_port(),
                (routes[n], self.links.ports(n)),
                Path(self._directory.name),
            )
            for n in range(NODES)
        ]

    @property
    def url(self) -> str:
        """All servers, as `--nats` takes them."""
        return ",".join(node.url for node in self.nodes)

    def launch(self) -> None:
        """Start every server and wait for nothing: they are only just electing."""
        for node in self.nodes:
            node.launch()

    async def accepts(self) -> None:
        """Return when every running server takes connections."""
        async with asyncio.timeout(START_TIMEOUT_S):
            for node in self.nodes:
                if node.running:
                    await node.accepts()

    async def elected(self) -> None:
        """Return when JetStream has a leader, which may not know all its peers yet."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while "error" in await self._ask("INFO"):  # noqa: ASYNC110 - another process tells nothing
                await asyncio.sleep(LOOK_AGAIN_S)

    async def ready(self) -> None:
        """Return when JetStream has a leader and knows all the servers that run as current."""
        await self.accepts()
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._knows_all():  # noqa: ASYNC110 - another process tells nothing
                await asyncio.sleep(LOOK_AGAIN_S)

    async def restart(self, node: ClusterNode) -> None:
        """Start a killed server on its store; returns when it takes connections."""
        node.launch()
        async with asyncio.timeout(START_TIMEOUT_S):
            await node.accepts()

    async def leader(self, stream: str) -> ClusterNode:
        """The server that leads a stream now; waits while there is none."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                info = await self._stream_info(stream)
                found = info.get("cluster", {}).get("leader")
                for node in self.nodes:
                    if node.name == found and node.running:
                        return node
                await asyncio.sleep(LOOK_AGAIN_S)

    def isolate(self, node: ClusterNode, *, says: bool = True, hears: bool = True, system_only: bool = False) -> None:
        """Hold back what a server says to the others and what they say to it, or of that only the system account."""
        own = self.nodes.index(node)
        others = [other for other in range(NODES) if other != own]
        said, told = [(own, other) for other in others], [(other, own) for other in others]
        self.links.hold([*(said if says else []), *(told if hears else [])], system_only=system_only)

    async def caught_up(self, stream: str) -> None:
        """Return when every replica of a stream is there and current."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                group = (await self._stream_info(stream)).get("cluster", {})
                others = group.get("replicas") or []
                if group.get("leader") and len(others) == NODES - 1 and all(peer["current"] for peer in others):
                    return
                await asyncio.sleep(LOOK_AGAIN_S)

    def close(self) -> None:
        """End every server and remove the stores. Idempotent."""
        for node in self.nodes:
            node.kill()
        self.links.close()
        self._directory.cleanup()

    async def __aenter__(self) -> "NatsCluster":
        try:
            await self.links.start()
            self.launch()
            await self.ready()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def _knows_all(self) -> bool:
        # Placement is refused until a meta leader has heard of all peers; a stream of three replicas asks exactly that.
        made = await self._ask("STREAM.CREATE.READY", {"name": "READY", "subjects": ["ready"], "num_replicas": NODES})
        if "error" in made:
            return False
        return "error" not in await self._ask("STREAM.DELETE.READY")

    async def _stream_info(self, stream: str) -> dict[str, Any]:
        return await self._ask(f"STREAM.INFO.{stream}")

    async def _ask(self, method: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A JetStream answer, from whichever server can give one; an `error` of our own when none does."""
        payload = json.dumps(body).encode() if body else b""
        for node in self.nodes:
            if not node.running:
                continue
            try:
                connection = await nats.connect(node.url, allow_reconnect=False, connect_timeout=1)
            except (OSError, NatsError, TimeoutError):
                continue
            try:
                reply = await connection.request(f"$JS.API.{method}", payload, timeout=ASK_TIMEOUT_S)
                answer = json.loads(reply.data)
                assert isinstance(answer, dict)
                return answer
            except (NatsError, TimeoutError):
                continue
            finally:
                await connection.close()
        return {"error": {"description": "no server answers"}}
