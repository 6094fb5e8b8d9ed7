"""The outside world that tasks call: a server that keeps every request with its key, and how to ask it.

A request is a line of JSON, and so is the answer. The server answers after as long as the request says, with an error
when the request says so; of one key it gives the same receipt each time, as a service with idempotency keys does.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

OUTSIDE = "AETHER_TEST_OUTSIDE"
"""Names the server, as `host:port`."""

ASK_WITHIN_S = 20.0


class Refused(ConnectionError):
    """The server has answered with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One attempt of one task: `key` is its idempotency key. `fails`: so many attempts are answered with an error."""

    key: str
    number: str
    task: str
    attempt: int
    worker: int
    seconds: float
    fails: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as the server saw it, by CLOCK_MONOTONIC. `receipt` is "" for an error.

    `answered` is False for one whose client has gone before, and while it goes on, when `ended_s` is not told.
    """

    request: Request
    began_s: float
    ended_s: float = float("inf")
    answered: bool = False
    receipt: str = ""


def asked_line(asked: Asked) -> str:
    """A line of JSON."""
    return json.dumps(asdict(asked)) + "\n"


def read_asked(line: str) -> Asked:
    """What stands in a line."""
    found: dict[str, Any] = json.loads(line)
    return Asked(**{**found, "request": Request(**found["request"])})


class CountingServer:
    """An asynchronous context manager. `asked` is every request so far.

    `heard` gets each one, with its place among them, when it begins and again before it is answered. `port` is one of
    loopback, 0 for any.
    """

    def __init__(self, heard: Callable[[int, Asked], object] = lambda place, asked: None, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self._port = port
        self._heard = heard
        self._receipts: dict[str, str] = {}
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """As `OUTSIDE` has it."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> "CountingServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            line = await reader.readline()
            if line.endswith(b"\n"):
                await self._answer(Request(**json.loads(line)), reader, writer)
        writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(self.asked)
        self.asked.append(Asked(request=request, began_s=time.monotonic()))
        self._heard(place, self.asked[place])
        try:
            async with asyncio.timeout(request.seconds):
                await reader.read(1)
            answered = False
        except TimeoutError:
            answered = True
        except ConnectionError:
            answered = False
        receipt = ""
        if answered and request.attempt > request.fails:
            receipt = self._receipts.setdefault(request.key, f"r{len(self._receipts) + 1}")
        ended_s = time.monotonic()
        self.asked[place] = replace(self.asked[place], ended_s=ended_s, answered=answered, receipt=receipt)
        self._heard(place, self.asked[place])
        if answered:
            writer.write(json.dumps({"receipt": receipt}).encode() + b"\n")
            await writer.drain()


async def ask(request: Request) -> str:
    """The receipt. Raises `Refused`, `OSError`."""
    host, _, port = os.environ[OUTSIDE].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(json.dumps(asdict(request)).encode() + b"\n")
        return _receipt(await reader.readline(), request)
    finally:
        writer.close()


def ask_in_thread(request: Request) -> str:
    """The same, where it may block."""
    host, _, port = os.environ[OUTSIDE].partition(":")
    with socket.create_connection((host, int(port)), timeout=ASK_WITHIN_S) as connection:
        connection.sendall(json.dumps(asdict(request)).encode() + b"\n")
        with connection.makefile("rb") as answers:
            return _receipt(answers.readline(), request)


def _receipt(line: bytes, request: Request) -> str:
    if not line:
        raise ConnectionError("the server outside has gone")
    receipt = json.loads(line)["receipt"]
    if not receipt:
        raise Refused(f"{request.number}: no {request.attempt}")
    return str(receipt)
