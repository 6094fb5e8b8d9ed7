"""Schedules: many that are due in the same second, until the last of them is committed at its actor.

    python -m benchmarks schedules --sync default barrier --workers 1 2 --rounds 3

Each schedule is of an actor of its own. They are set before the clock starts, and all are waited for by the server when
it does: a round that has not set them in time ends the run. What is measured is the time from the instant at which they
are due until the last is committed. The promise is 10,000 within 5 s. Beside it:

- `server alone`: as many message schedules of the server, until it has stored the last of what is due. No actor.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import nats
import orjson
from nats.aio.client import Client as NatsClient

from aether.names import Names
from benchmarks.errands import MODEL, Errand, model
from benchmarks.figures import AETHER, Measured, Point
from benchmarks.hosts import NAMESPACE
from benchmarks.load import account_name
from benchmarks.processes import cpu_by_name
from benchmarks.server import Server
from benchmarks.sides import AetherSide, aether_side
from benchmarks.suite import Settings, alternate, check
from benchmarks.tasks import check_done
from benchmarks.tells import until_applied

SYNC = ("default", "barrier")
WORKERS = (1, 2)
SERVER_ALONE = "server alone"
LAST = "last after due, s"
SETTERS = 200
CHECKS_IN_FLIGHT = 100
LOOK_EVERY_S = 0.05
STREAM = "FLOOR_SCHEDULES"
SHARDS = 256
API_TIMEOUT_S = 30.0

_SCHEDULES = (10_000, 500)
"""How many, in full and quick."""

_LEAD_S = (30, 8)
"""How long before they are due they are begun to be set, in full and quick."""


def schedules(settings: Settings) -> Iterator[Point]:
    """Schedules that are due together, per second."""
    count, lead_s = settings.deposits_or(*_SCHEDULES), settings.size(*_LEAD_S)
    for sync in settings.sync or SYNC:
        for workers in settings.workers or WORKERS:

            async def one_round(contestant: str, server: Server, _: int) -> Measured:
                if contestant == SERVER_ALONE:
                    return await server_alone(server, count)
                async with aether_side(server, workers, where=MODEL, model=model) as side:  # noqa: B023 - awaited in this turn
                    return await due_together(side, server, count, lead_s)

            runs = alternate((AETHER, SERVER_ALONE), settings, sync, one_round)
            more = {"schedules": count}
            yield Point(name="schedules", sync=sync, workers=workers, unit="schedules", runs=runs, more=more)


async def due_together(side: AetherSide, server: Server, count: int, lead_s: float) -> Measured:
    """Set one schedule of each actor, measure from when they are due, and check each actor's history."""
    due_s = float(int(time.time() + lead_s) + 1)
    due, waiting = datetime.fromtimestamp(due_s, UTC), iter(range(count))

    async def one_setter() -> None:
        for actor in waiting:
            await side.client.actor(Errand, account_name(actor)).set_at(due, actor)

    await asyncio.gather(*(one_setter() for _ in range(SETTERS)))
    connection = await nats.connect(server.url)
    await _until_waiting(connection, Names(NAMESPACE).timers, count, due_s)
    await connection.close()
    before = cpu_by_name(side.processes)
    await until_applied(side.client, count)
    took_s, after = time.time() - due_s, cpu_by_name(side.processes)
    checked = iter(range(count))

    async def one_check() -> None:
        for actor in checked:
            await check_done(side.client, account_name(actor), [actor])

    await asyncio.gather(*(one_check() for _ in range(CHECKS_IN_FLIGHT)))
    return _measured(count, took_s, {name: (after[name] - before[name]) / count * 1000 for name in after})


async def server_alone(server: Server, count: int) -> Measured:
    """Have as many messages stored by the server's own schedules."""
    connection = await nats.connect(server.url, pending_size=0)
    due_together, came = asyncio.Event(), set[bytes]()

    async def receive(message: Any) -> None:
        check(message.data not in came, "the server has stored the same message twice")
        came.add(message.data)
        if len(came) == count:
            due_together.set()

    await connection.subscribe("told.>", cb=receive, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await _api(connection, f"STREAM.CREATE.{STREAM}", {
        "name": STREAM, "subjects": ["schedule.>", "due.>"], "allow_msg_schedules": True, "allow_msg_ttl": True,
        "allow_rollup_hdrs": True, "republish": {"src": "due.>", "dest": "told.due.>"},
    })  # fmt: skip
    due_s = float(int(time.time() + 2 + count / 2_000) + 1)
    at = f"@at {datetime.fromtimestamp(due_s, UTC).isoformat().replace('+00:00', 'Z')}"
    for number in range(count):
        headers = {"Nats-Schedule": at, "Nats-Schedule-Target": f"due.{number % SHARDS}"}
        await connection.publish(f"schedule.{number}", b"%d" % number, headers=headers)
    await connection.flush()
    await _until_waiting(connection, STREAM, count, due_s)
    before = cpu_by_name({"server": [server.pid]})["server"]
    await due_together.wait()
    took_s, after = time.time() - due_s, cpu_by_name({"server": [server.pid]})["server"]
    await connection.close()
    return _measured(count, took_s, {"server": (after - before) / count * 1000})


def _measured(count: int, took_s: float, cpu_s: dict[str, float]) -> Measured:
    return Measured(per_s=count / took_s, cpu_s=cpu_s, figures={LAST: took_s})


async def _until_waiting(connection: NatsClient, stream: str, count: int, due_s: float) -> None:
    """Return when they are due; ends the run if the server did not wait for all of them before that."""
    found = 0
    while found < count:
        found = int((await _api(connection, f"STREAM.INFO.{stream}", {}))["state"]["messages"])
        check(time.time() < due_s, f"{count} schedules were not set before they were due: {found}")
        await asyncio.sleep(LOOK_EVERY_S)
    await asyncio.sleep(due_s - time.time())


async def _api(connection: NatsClient, method: str, body: dict[str, object]) -> dict[str, Any]:
    told = orjson.loads((await connection.request(f"$JS.API.{method}", orjson.dumps(body), API_TIMEOUT_S)).data)
    check("error" not in told, f"{method}: {told.get('error')}")
    return dict(told)
