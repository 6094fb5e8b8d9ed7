"""The routes between the servers of a cluster: each direction can be held back, as when a network drops packets.

Each server dials each other one through a listener of its own, so it is known whose bytes a connection carries. `hold`
keeps back what one server says to another; `release` lets it through, late, as TCP does when packets are sent again.
`cut` closes the connections, which are then dialled anew. All on one event loop.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

SYSTEM_ACCOUNT = b'"route_account":"$SYS"'
"""In what the dialling server says first on the connection that carries only the system account: what Raft says."""

CHUNK_BYTES = 65_536


class RouteLinks:
    """Between all pairs of servers, which listen for routes on these ports; from `start` until `close`.

    Not `linked`, they dial each other, and nothing can be held back.
    """

    def __init__(self, route_ports: Sequence[int], *, linked: bool) -> None:
        self._route_ports = route_ports
        count = range(len(route_ports))
        self._pairs = [(one, to) for one in count for to in count if one != to]
        self._sockets = {pair: _listener() for pair in self._pairs} if linked else {}
        self._servers: list[asyncio.Server] = []
        self._open: set[_Route] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: set[tuple[int, int]] = set()
        self._held_system: set[tuple[int, int]] = set()
        self._changed = asyncio.Event()

    def ports(self, one: int) -> list[int]:
        """Which ports a server dials for the others."""
        pairs = [pair for pair in self._pairs if pair[0] == one]
        return [self._sockets[pair].getsockname()[1] if self._sockets else self._route_ports[pair[1]] for pair in pairs]

    def hold(self, links: Iterable[tuple[int, int]], *, system_only: bool = False) -> None:
        """Keep back what these servers say to those, or of that only what is of the system account."""
        assert self._sockets
        (self._held_system if system_only else self._held).update(links)

    def release(self) -> None:
        """Let through what was held back, and all that follows."""
        self._held.clear()
        self._held_system.clear()
        self._wake()

    def cut(self) -> None:
        """Close the connections in which something is held back; what was held back is lost. Then as `release`."""
        for route in list(self._open):
            if any(self.holds(*way, system=route.system) for way in (route.way, route.way[::-1])):
                route.abort()
        self.release()

    def holds(self, one: int, to: int, *, system: bool) -> bool:
        """Whether what one server says to another is held back now."""
        return (one, to) in self._held or (system and (one, to) in self._held_system)

    async def changed(self) -> None:
        """Return when something was released."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Take connections."""
        for way, listening in self._sockets.items():
            self._servers.append(await asyncio.start_server(partial(self._accepted, way), sock=listening))

    def close(self) -> None:
        """Close all of them. Idempotent."""
        for server in self._servers:
            server.close()
        for listening in self._sockets.values():
            listening.close()
        for route in list(self._open):
            route.abort()
        self.release()

    def _accepted(self, way: tuple[int, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(way, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, way: tuple[int, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._route_ports[way[1]])
        except OSError:
            writer.transport.abort()
            return
        route = _Route(self, way, (reader, writer), there)
        self._open.add(route)
        try:
            await route.run()
        finally:
            self._open.discard(route)


class _Route:
    """One connection: `way` says who dialled whom, `system` that it carries only the system account."""

    def __init__(
        self, links: RouteLinks, way: tuple[int, int], here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:  # fmt: skip
        self.way = way
        self.system = False
        self._links = links
        self._here, self._there = here, there

    def abort(self) -> None:
        """Close both ends."""
        self._here[1].transport.abort()
        self._there[1].transport.abort()

    async def run(self) -> None:
        """Pass on in both directions until one ends."""
        one, to = self.way
        passing = [
            asyncio.create_task(self._pass(self._here[0], self._there[1], (one, to))),
            asyncio.create_task(self._pass(self._there[0], self._here[1], (to, one))),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.abort()
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: tuple[int, int]) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if way == self.way and SYSTEM_ACCOUNT in chunk:
                    self.system = True
                while self._links.holds(*way, system=self.system):
                    await self._links.changed()
                writer.write(chunk)
                await writer.drain()


def _listener() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    return found
