"""What an idle actor costs in memory: active, after its passivation, and active once more.

Every actor has had one deposit. Resident bytes are the worker's own (its share of what it has in common with its
supervisor), less what it had before, by actor; what an actor's state is as JSON is told beside. That all actors are
active when they count, and passive later, is read from the snapshots that passivation leaves; more of them may be in
flight than by default, because a sweep of passivation, once per second, ends when there is no room for another.
"""

import asyncio
import time
from collections.abc import Iterator

import nats
import orjson

from aether.ids import ActorId
from benchmarks.bank import Account, model
from benchmarks.figures import AETHER, Measured, Point
from benchmarks.history import KIND, names
from benchmarks.load import closed_loop, each_once
from benchmarks.processes import resident_bytes
from benchmarks.server import Server
from benchmarks.sides import Side, aether_side, floor_side
from benchmarks.suite import Settings, alternate, check

IN_FLIGHT = 500
SETTLE_S = 1.0
PASSIVATION_TIMEOUT_S = 300.0


def memory(settings: Settings) -> Iterator[Point]:
    """Bytes by actor."""
    actors = settings.size(50_000, 3_000)
    idle_s = settings.size(90, 8)

    async def one_round(contestant: str, server: Server, seed: int) -> Measured:
        if contestant != AETHER:
            async with floor_side(server, "single") as floor:
                return Measured(figures={"active, bytes per actor": await grown(floor, actors)})
        limits = {
            "AETHER_IDLE_PASSIVATION_S": str(idle_s),
            "AETHER_ACTIVE_VMS_MAX": str(2 * actors),
            "AETHER_SNAPSHOTS_IN_FLIGHT_MAX": "1000",
        }
        async with aether_side(server, 1, limits) as side:
            measured = await aether_round(side, server, actors)
            side.host.kill()  # a drain would write every snapshot once more
            return measured

    runs = alternate((AETHER, "floor single"), settings, "default", one_round)
    account = model.actor_type(Account)
    state = account.encode_state(account.initial(ActorId(KIND, "warm-up")))
    case = f"{actors:,} actors with a state of {len(state)} bytes of JSON"
    yield Point(name="memory", case=case, runs=runs, more={"actors": actors, "state_json_bytes": len(state)})


async def aether_round(side: Side, server: Server, actors: int) -> Measured:
    """Active, passive, active again."""
    await side.deposit("warm-up", 1)
    before = resident_bytes(side.processes["worker"][0])
    active = await grown(side, actors)
    check(await snapshots(server) == 0, "actors were passivated before they were counted: the machine is too slow")
    await passivated(server, actors + 1)
    passive = (resident_bytes(side.processes["worker"][0]) - before) / actors
    again = passive + await grown(side, actors)
    return Measured(
        figures={
            "active, bytes per actor": active,
            "passivated, bytes per actor": passive,
            "active again, bytes per actor": again,
        }
    )


async def grown(side: Side, actors: int) -> float:
    """By how much the worker grows an actor when each of them is used once."""
    before = resident_bytes(side.processes["worker"][0])
    await closed_loop(side.deposit, each_once(0, actors), IN_FLIGHT)
    await asyncio.sleep(SETTLE_S)
    return (resident_bytes(side.processes["worker"][0]) - before) / actors


async def passivated(server: Server, actors: int) -> None:
    """Return when that many actors have left a snapshot."""
    ends_s = time.monotonic() + PASSIVATION_TIMEOUT_S
    while (found := await snapshots(server)) < actors:
        check(time.monotonic() < ends_s, f"only {found} of {actors} actors were passivated")
        await asyncio.sleep(0.5)
    await asyncio.sleep(2 * SETTLE_S)


async def snapshots(server: Server) -> int:
    """How many actors have a snapshot."""
    connection = await nats.connect(server.url, allow_reconnect=False)
    told = await connection.request(f"$JS.API.STREAM.INFO.KV_{names.snapshots}", timeout=10)
    await connection.close()
    return int(orjson.loads(told.data)["state"]["messages"])
