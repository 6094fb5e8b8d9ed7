"""The bank inside a FastAPI application: its actors below `/bank`, a page of the application's own beside them.

Run a pool and the application, each in a terminal:

    aether run examples.bank:model
    uvicorn examples.fastapi.app:app

Then `curl http://127.0.0.1:8000/bank/actors/account/alice/statement`, and `http://127.0.0.1:8000/bank/docs`.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

import aether.gateway
from examples.bank import Account, model

OPEN_TO_ALL = {"statement", ""}
"""What every caller may ask of an account: its statement, and its state."""


def authorize(request: Request, kind: str, key: str, command: str) -> bool:
    """The user who is named in the header owns the account of that name. A real application looks at a session."""
    return command in OPEN_TO_ALL or request.headers.get("x-user") == key


bank = aether.gateway.app(model, authorize=authorize)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """The gateway connects when the application starts, and drains when it ends."""
    async with bank:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/bank", bank)


@app.get("/richest")
async def richest() -> dict[str, int | str]:
    """What no actor knows alone: the application asks the same client."""
    balances = {key: await bank.client.actor(Account, key).statement() async for key in bank.client.keys(Account)}
    if not balances:
        return {"account": "", "balance": 0}
    account = max(balances, key=lambda key: balances[key])
    return {"account": account, "balance": balances[account]}
