"""A TCP proxy between a client and a server that can swallow what the server says.

It passes bytes on as they are. `mute` drops everything towards the client from then on: what was sent is done, and
nobody hears of it. `cut` closes every connection and refuses new ones until `mend`. `sent` is what the clients have
sent. All on one event loop.
"""

import asyncio


class Proxy:
    """Listens on a free port of loopback and connects each client to `port`."""

    def __init__(self, port: int) -> None:
        self._muted = False
        self._refusing = False
        self.sent = bytearray()
        self._to_port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def turn(self, port: int) -> None:
        """Connect the clients that come from now on to another port."""
        self._to_port = port

    def mute(self) -> None:
        """Let the client hear nothing more until `mend`."""
        self._muted = True

    def mend(self) -> None:
        """Take connections again, and let them hear."""
        self._muted = False
        self._refusing = False

    def cut(self) -> None:
        """Close every connection and refuse new ones until `mend`."""
        self._refusing = True
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._refusing:
            to_client.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            to_client.transport.abort()
            return
        writers = {to_client, to_server}
        self._writers |= writers
        try:
            await asyncio.gather(
                self._pass(from_client, to_server, to_client=False), self._pass(from_server, to_client, to_client=True)
            )
        finally:
            self._writers -= writers
            for writer in writers:
                writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool) -> None:
        try:
            while chunk := await reader.read(65_536):
                if not to_client:
                    self.sent += chunk
                if not (to_client and self._muted):
                    writer.write(chunk)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()
