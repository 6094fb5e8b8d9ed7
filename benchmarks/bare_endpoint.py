"""What the gateway is compared with: a Starlette endpoint that makes the same request of the pool, and nothing else.

    python -m benchmarks.bare_endpoint URL

It says `ready PORT` when it listens.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import aether
from aether.ids import ActorId
from benchmarks.bank import model


def application(url: str) -> Starlette:
    """One route, as short as it can be written."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with aether.connect(url, model=model) as client:
            app.state.client = client.untyped
            yield

    async def call(request: Request) -> Response:
        path = request.path_params
        body = await request.body()
        answer = await request.app.state.client.call(ActorId(path["kind"], path["key"]), path["command"], body)
        return Response(bytes(answer.value), media_type="application/json")

    return Starlette(routes=[Route("/actors/{kind}/{key}/{command}", call, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    """Serve until SIGTERM."""
    config = uvicorn.Config(application(sys.argv[1]), port=0, http="httptools", loop="uvloop", ws="none",
                            log_level="warning", access_log=False)  # fmt: skip
    listening = config.bind_socket()
    print("ready", listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main()
