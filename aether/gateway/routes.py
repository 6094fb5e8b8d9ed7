"""What a path leads to: handlers by method, and how a handler answers. Knows nothing of what is behind."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from aether.gateway.access import Role
from aether.gateway.problems import HttpProblem

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way to its answer: what ASGI gave, its headers by name, and who sends it."""

    scope: Scope
    receive: Receive
    send: Send
    headers: Mapping[bytes, bytes]
    caller: str

    async def answer(self, content: bytes, media_type: str = JSON, *, status: int = 200, cache: str = "no-store",
                     **headers: str) -> None:  # fmt: skip
        """Send a whole answer; `headers` by name with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = Response(content, status, {"Cache-Control": cache, **named}, media_type=media_type)
        await response(self.scope, self.receive, self.send)

    async def answer_json(self, value: object, *, status: int = 200) -> None:
        """Send a value of JSON types."""
        await self.answer(orjson.dumps(value), status=status)

    async def stream(self, chunks: AsyncIterator[bytes], media_type: str, **headers: str) -> None:
        """Send an answer as it comes. `chunks` is closed at the end, also when the caller is gone."""
        response = _Streamed(chunks, headers={"Cache-Control": "no-store", **headers}, media_type=media_type)
        await response(self.scope, self.receive, self.send)


@dataclass(frozen=True, slots=True)
class Handler:
    """What answers.

    `role` None: every caller may ask. `streams`: it goes on and has a bound of its own. `unlimited`: however often.
    """

    respond: Callable[[Exchange], Awaitable[None]]
    role: Role | None
    streams: bool = False
    unlimited: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """The handlers of a path by method, and which actor and command it names; "" or None where it names none."""

    handlers: Mapping[str, Handler]
    kind: str | None = None
    key: str | None = None
    command: str = ""


def not_found() -> HttpProblem:
    """No such path."""
    return HttpProblem(404, "there is nothing at this path; see /openapi.json")


class _Streamed(StreamingResponse):
    """A response that closes what it reads from, whatever ends it."""

    def __init__(self, chunks: AsyncIterator[bytes], headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(chunks, headers=headers, media_type=media_type)
        self._chunks = chunks

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()
