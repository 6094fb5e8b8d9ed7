"""Asks a nats-server over a plain socket whether its JetStream answers; no client library, no event loop.

Blocking, bounded by its time-out, one connection a call. Speaks as much of the NATS client protocol as one request
needs (https://docs.nats.io/reference/reference-protocols/nats-protocol) and nothing more.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass

_INBOX = "_INBOX.aether.probe"
_LINE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server said of itself."""

    name: str
    version: tuple[int, ...]


class NotAnswering(Exception):
    """No nats-server with a working JetStream answers there; the text says how far the probe came."""


def probe(host: str, port: int, timeout_s: float) -> ServerInfo:
    """Wait for the answer of JetStream to one request. Raises `NotAnswering`."""
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as connection,
            connection.makefile("rwb") as stream,
        ):
            info = _read_info(stream.readline(_LINE_BYTES_MAX))
            stream.write(b'CONNECT {"verbose":false,"pedantic":false,"name":"aether-probe","lang":"python",'
                         b'"version":"0"}\r\nPING\r\n')  # fmt: skip
            stream.flush()
            _read_until(stream.readline, b"PONG")
            stream.write(f"SUB {_INBOX} 1\r\nPUB $JS.API.INFO {_INBOX} 0\r\n\r\n".encode())
            stream.flush()
            _read_until(stream.readline, b"MSG")
            answer = json.loads(stream.readline(_LINE_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise NotAnswering(str(error)) from None
    if not isinstance(answer, dict) or "error" in answer or "limits" not in answer:
        raise NotAnswering(f"JetStream refuses: {answer}")
    return info


def _read_info(line: bytes) -> ServerInfo:
    word, _, body = line.partition(b" ")
    if word != b"INFO":
        raise NotAnswering(f"not a nats-server: {line[:80]!r}")
    info = json.loads(body)
    numbers = str(info.get("version", "0")).partition("-")[0].split(".")
    return ServerInfo(str(info.get("server_name", "")), tuple(int(n) for n in numbers if n.isdigit()))


def _read_until(readline: Callable[[int], bytes], word: bytes) -> None:
    while True:
        line = readline(_LINE_BYTES_MAX)
        if line.startswith(word):
            return
        if not line or line.startswith(b"-ERR"):
            raise NotAnswering(f"the server answered {line[:80]!r} where {word.decode()} was due")
