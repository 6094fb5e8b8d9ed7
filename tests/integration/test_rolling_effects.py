"""Two versions of a model, whose policies, tasks and schedules name commands that the other one does not have, while
one replaces the other: each command has each of its effects once, by the version that ran it."""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

from aether.connecting import connect_untyped
from aether.ids import ActorId
from aether.untyped_client import UntypedClient
from tests.support.nats_server import NatsServer
from tests.support.pool import READY, Pool

KEYS = 6
CALLERS = 3

BEGINNING = """
from dataclasses import dataclass, field
from aether import Actor, After, Model, PolicyContext, command, event, policy, query, task


@dataclass(frozen=True)
class Placed:
    number: str


@dataclass(frozen=True)
class Noted:
    what: str


class Noting(Actor):
    seen: list[str] = field(default_factory=list)

    @query
    def read(self) -> list[str]:
        return self.seen

    @event
    def noted(self, e: Noted) -> None:
        self.seen = [*self.seen, e.what]


class Order(Noting):
    @command
    def place(self, number: str) -> int:
        self.emit(Placed(number))
        self.start_task(charge_{now}(number), then=Order.paid_{now})
        self.schedule(number, After(seconds=1), Order.remind_{now}, self.id.key, number)
        return {now}

    @event
    def placed(self, e: Placed) -> None:
        pass
{of_order}

class Ledger(Noting):
    pass
{of_ledger}
{tasks}

@policy
def on_placed(event: Placed, context: PolicyContext[Order]) -> None:
    context.tell(Ledger.enter_{now}, context.id.key, event.number)


model = Model("shop", actors=[Order, Ledger], policies=[on_placed], tasks=[{names}])
"""
OF_ORDER = """
    @command
    def paid_{version}(self, number: str) -> None:
        self.emit(Noted("paid " + number))

    @command
    def remind_{version}(self, number: str) -> None:
        self.emit(Noted("reminded " + number))
"""
OF_LEDGER = """
    @command
    def enter_{version}(self, number: str) -> None:
        self.emit(Noted("entered by {version}: " + number))
"""
TASK = """
@task
async def charge_{version}(number: str) -> str:
    return number
"""


def code(*versions: int) -> str:
    """A model that has the commands and tasks of these versions, and uses those of the last one."""
    return BEGINNING.format(
        now=versions[-1],
        of_order="".join(OF_ORDER.format(version=one) for one in versions),
        of_ledger="".join(OF_LEDGER.format(version=one) for one in versions),
        tasks="".join(TASK.format(version=one) for one in versions),
        names=", ".join(f"charge_{one}" for one in versions),
    )


async def place(untyped: UntypedClient, caller: int, stop: asyncio.Event, placed: dict[str, tuple[str, int]]) -> None:
    """Place orders until told to stop: of each, its key and the version that has run it."""
    while not stop.is_set():
        number, key = f"{caller}-{len(placed)}", f"k{len(placed) % KEYS}"
        args = json.dumps({"number": number}).encode()
        answer = await untyped.call(ActorId("order", key), "place", args, command_id=number, deadline_s=30)
        placed[number] = (key, int(bytes(answer.value)))


async def seen(untyped: UntypedClient) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for key in (f"k{number}" for number in range(KEYS)):
        for kind in ("order", "ledger"):
            answer = await untyped.call(ActorId(kind, key), "read", b"{}", deadline_s=30)
            found.update((key, what) for what in json.loads(bytes(answer.value)))
    return found


async def test_each_effect_of_a_command_happens_once_whatever_version_is_there_by_then(
    nats_server: NatsServer, namespace: str, tmp_path: Path
) -> None:
    model = tmp_path / "shop_model.py"
    model.write_text(code(1))
    options = ("--workers", "2", "--nats", nats_server.url, "--namespace", namespace)
    variables = {**os.environ, "AETHER_TELL_ATTEMPTS_MAX": "100000", "AETHER_TELL_RETRY_MAX_S": "1"}
    with Pool("shop_model:model", *options, directory=tmp_path, variables=variables) as pool:
        async with connect_untyped(nats_server.url, namespace=namespace) as untyped:
            placed: dict[str, tuple[str, int]] = {}
            stop = asyncio.Event()
            calling = [asyncio.create_task(place(untyped, number, stop, placed)) for number in range(CALLERS)]
            for count, versions in enumerate(((2,), (1,)), 2):
                model.write_text(code(*versions))
                pool.reload()
                await asyncio.to_thread(pool.wait_for, READY, count)
            stop.set()
            await asyncio.gather(*calling)
            model.write_text(code(1, 2))
            pool.reload()
            await asyncio.to_thread(pool.wait_for, READY, 4)
            assert {version for _, version in placed.values()} == {1, 2}
            wanted = Counter(
                (key, what)
                for number, (key, version) in placed.items()
                for what in (f"paid {number}", f"reminded {number}", f"entered by {version}: {number}")
            )
            async with asyncio.timeout(60):
                while (found := await seen(untyped)) != wanted:
                    assert found <= wanted
                    await asyncio.sleep(0.05)  # the pool makes progress
            assert [one async for one in untyped.dead_letters()] == []
