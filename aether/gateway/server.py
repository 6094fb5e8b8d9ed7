"""The gateway as a server of its own: where it listens, what it bears of its connections, how it ends.

uvicorn reads and writes HTTP. It has no bound for connections that say nothing, for heads without end and for readers
that take nothing; they are here. It belongs to the event loop that it runs in.
"""

import asyncio
import errno
import ipaddress
import logging
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aether.errors import ConfigError
from aether.gateway.application import Gateway
from aether.gateway.config import ServerConfig
from aether.gateway.requests import DROPPED_BYTES_MAX

LAST_HEAD_S = 1.0
"""How long a server that is to stop waits for the first request of a connection that it has taken already."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})")

log = logging.getLogger("aether.gateway")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is any free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(text: str) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT`, or `:PORT` for the loopback. Raises `ConfigError`."""
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"]) if found else -1
    if found is None or not 0 <= port <= 65_535:
        raise ConfigError(f"an address is HOST:PORT, not {text!r}", setting="http")
    return Address(found["v6"] or found["host"] or "127.0.0.1", port)


def listen(address: Address, *, or_any_port: bool = False) -> socket.socket:
    """A socket that listens there; with `or_any_port` at a free port when that one is taken. Raises `ConfigError`."""
    try:
        family, kind, proto, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigError(f"cannot listen at {address}: {error.strerror or error}", setting="http") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(1_024)
    except OSError as error:
        listening.close()
        if or_any_port and error.errno == errno.EADDRINUSE and address.port:
            return listen(Address(address.host, 0))
        raise ConfigError(f"cannot listen at {address}: {error.strerror or error}", setting="http") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """Where it is, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://{Address(host, port)}"


class Server(uvicorn.Server):
    """uvicorn's, with the bounds, and without its way with signals. `stop` ends it, and so does each of `signals`."""

    def __init__(self, gateway: Gateway, config: ServerConfig, signals: Sequence[int] = ()) -> None:
        protocol = type("BoundedProtocol", (BoundedProtocol,), {"bounds": config, "leaving": False})
        self._protocol = protocol
        super().__init__(
            uvicorn.Config(
                gateway,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=config.idle_timeout_s,
                timeout_graceful_shutdown=config.drain_timeout_s,
            )
        )
        self._gateway = gateway
        self._signals = signals

    def stop(self) -> None:
        """Begin to drain: streams are told, no new connection is taken, what was asked is answered."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the streams first: they would never end by themselves."""
        self._gateway.drain()
        self._protocol.leaving = True  # type: ignore[attr-defined]  # of the class made for this server
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal, and end as any program that has done its work."""
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in self._signals:
                loop.remove_signal_handler(number)


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with bounds for what uvicorn waits for without end."""

    bounds: ClassVar[ServerConfig]
    leaving: ClassVar[bool]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_asked = False
        self._in_body = False
        self._head_bytes = 0
        self._fields_bytes = 0
        self.url = b""
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; or take no further connection."""
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections_max:
            log.warning("a connection is refused", extra={"limit": "connections_max"})
            transport.abort()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it makes a head too large. A body that is read no more is bounded, too."""
        unread = self._in_body
        if self._head_timer is None and self._is_answered():
            self._await_head()
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is None:
            if unread and self._is_answered() and not self.transport.is_closing():
                self._await_head()  # which may have begun behind the body
        elif self._in_body and self._head_bytes > DROPPED_BYTES_MAX:
            self._head_is_over()
            self.transport.close()
        elif not unread and self._head_bytes > self.bounds.head_bytes_max:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A head begins."""
        self._fields_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what a head holds: one that is too large may come in one piece."""
        self._fields_bytes += len(name) + len(value)
        if self._fields_bytes <= self.bounds.head_bytes_max:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_is_over()
        self._has_asked = self._in_body = True
        if self._is_too_large():
            raise ValueError("the head of a request is too large")  # `send_400_response` follows
        super().on_headers_complete()
        if self.leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The request is there as a whole; if it was answered before, the next one may begin."""
        self._in_body = False
        if self._is_answered():
            self._head_is_over()
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close, but for a connection whose first request may be on its way: that one is answered."""
        if not self._has_asked and not self.transport.is_closing():
            self._head_is_over()
            self._await_head()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with a head."""
        if self._is_too_large():
            self._refuse(b"431 Request Header Fields Too Large")
        else:
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._head_is_over()
        self._reader_takes()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The reader is slow: it has so long to take something."""
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self.bounds.send_timeout_s, self._give_up_reader)

    def resume_writing(self) -> None:
        """The reader has taken enough."""
        self._reader_takes()
        super().resume_writing()

    def _is_too_large(self) -> bool:
        return self._fields_bytes + len(self.url) > self.bounds.head_bytes_max

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_bytes = 0
        after_s = min(self.bounds.head_timeout_s, LAST_HEAD_S) if self.leaving else self.bounds.head_timeout_s
        self._head_timer = self.loop.call_later(after_s, self._head_is_late)

    def _head_is_over(self) -> None:
        timer, self._head_timer = self._head_timer, None
        if timer is not None:
            timer.cancel()

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes and not self._in_body:
            self._refuse(b"408 Request Timeout")
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        self._head_is_over()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def _reader_takes(self) -> None:
        timer, self._send_timer = self._send_timer, None
        if timer is not None:
            timer.cancel()

    def _give_up_reader(self) -> None:
        self._send_timer = None
        log.warning("a reader of events takes nothing and is cut off", extra={"after_s": self.bounds.send_timeout_s})
        self.transport.abort()
