"""An actor whose handlers are clients of their own pool: they name neither its server nor its namespace."""

import asyncio
import sys
from dataclasses import dataclass

import aether
from aether import Actor, Model, command, event, query
from aether.system.environment import environment, namespace_of


@dataclass(frozen=True, slots=True)
class Added:
    """One more."""


class Counter(Actor):
    """Counts."""

    count: int = 0

    @command
    def add(self) -> int:
        """One more."""
        self.emit(Added())
        return self.count

    @event
    def added(self, e: Added) -> None:
        """Count it."""
        self.count += 1


class Asker(Actor):
    """Asks counters, as any client does."""

    asked: int = 0

    @command
    async def add_to(self, key: str) -> str:
        """What another actor of the pool answers, and where that was."""
        async with aether.connect(model=model) as client:
            return f"{client.namespace} {await client.actor(Counter, key).add()}"

    @command
    async def add_in_a_child(self, key: str) -> str:
        """The same from a child process."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.inside", key, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await child.communicate()
        return out.decode().strip()

    @query
    def of_another_model(self) -> str:
        """Where a client of another model looks."""
        return namespace_of(environment(), "other") or ""


model = Model("inside", actors=[Counter, Asker])


async def main(key: str) -> None:
    """What a script does that a handler starts."""
    async with aether.connect(model=model) as client:
        print(client.namespace, await client.actor(Counter, key).add())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
