"""What users test their actors with."""

from aether import InMemoryServer
from aether.testing import local_runtime
from tests.support.actors import Account, model


async def test_a_local_runtime_runs_the_model_and_forgets_it() -> None:
    async with local_runtime(model) as runtime:
        assert await runtime.actor(Account, "alice").deposit(10) == 10
    async with local_runtime(model) as runtime:
        assert await runtime.actor(Account, "alice").statement() == 0


async def test_the_same_server_finds_what_was_stored() -> None:
    server = InMemoryServer()
    async with local_runtime(model, server=server) as runtime:
        await runtime.actor(Account, "alice").deposit(10)
    async with local_runtime(model, server=server) as runtime:
        assert await runtime.actor(Account, "alice").deposit(5) == 15
