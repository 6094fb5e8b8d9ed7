"""Takes the transport of a connected nats-py client, so that `NatsProtocol` can read and write it.

The transport, the bytes read ahead and the tasks are private attributes of nats-py: this module is the one place that
knows them. Only releases on which the tests have run are trusted with it; on any other, `NatsPyFallback` carries the
traffic through nats-py's public methods. See `docs/hot-path.md`.
"""

import asyncio
import logging
from functools import cache
from typing import NamedTuple, cast

from nats.aio.client import Client
from nats.aio.client import __version__ as nats_py_version
from nats.aio.transport import TcpTransport

from aether.log_lines import words

KNOWN_NATS_PY = ("2.16",)
"""The releases of nats-py, as major and minor version, whose private attributes are known to be what is read here."""

log = logging.getLogger("aether.connection")


class AdoptedTransport(NamedTuple):
    """The transport of a connected client, and the bytes that nats-py has read from it and not yet parsed."""

    transport: asyncio.Transport
    unread: bytes


def is_known(version: str) -> bool:
    """Whether a version of nats-py, such as `2.16.0`, belongs to a known release."""
    return ".".join(version.split(".")[:2]) in KNOWN_NATS_PY


def adopt_transport(client: Client, version: str = nats_py_version) -> AdoptedTransport | None:
    """Stop the client's tasks and take its transport; None, with the client untouched, where that cannot be done.

    That is a WebSocket, a release of nats-py that is not known, or one that lacks a private attribute. The latter two
    are logged, once per process. Raises `ConnectionError` when the connection is over already. The client must be kept
    for as long as the transport: its stream would close the transport.
    """
    if not is_known(version):
        _say_fallback_is_used(f"nats-py {version} is not one of the known releases: {', '.join(KNOWN_NATS_PY)}")
        return None
    try:
        wire = client._transport
        if not isinstance(wire, TcpTransport):
            return None
        reader, transport = wire._io_reader, wire._io_writer.transport  # type: ignore[union-attr]  # caught below
        unread = bytes(client._ps.buf) + bytes(reader._buffer)  # type: ignore[union-attr]  # likewise
        over = reader._eof or transport.is_closing()  # type: ignore[union-attr]  # likewise
        tasks = [client._reading_task, client._ping_interval_task, client._flusher_task]
        cancels = [task.cancel for task in tasks]  # type: ignore[union-attr]  # likewise
    except AttributeError as error:
        _say_fallback_is_used(f"nats-py {version} has changed: {words(error)}")
        return None
    if over:
        raise ConnectionError("the server closed the connection")
    for cancel in cancels:
        cancel()
    return AdoptedTransport(cast("asyncio.Transport", transport), unread)


@cache
def _say_fallback_is_used(reason: str) -> None:
    """Log a reason once per process: a client connects again and again."""
    log.warning("the connection uses nats-py's public methods, which are slower", extra={"reason": reason})
