"""Faults of the network between the servers of a cluster: their clients are heard, and they do not hear each other."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import ClassVar

from tests.chaos.needs import Needs
from tests.chaos.servers import ClusterServers
from tests.chaos.world import World, hold


class Way(StrEnum):
    """Which of a server's routes are held back."""

    BOTH = "both"
    FROM = "what it says"
    TO = "what it is told"
    SYSTEM = "the connections of the system account, with all that Raft says"


FOR_S = (5.0, 15.0, 40.0)
TABLE = "table"
STREAMS = ("", "_INBOX", "_TIMERS", TABLE)
"""The empty one is the stream of commits, and the others but the table are named after it."""


@dataclass(frozen=True, slots=True)
class Isolate:
    """The leader of a stream and the other servers do not hear each other for a while; clients reach all of them.

    `cut`: what was held back is lost with its connections, else it arrives in the end.
    """

    needs: ClassVar[frozenset[Needs]] = frozenset({Needs.CLUSTER})
    stream: str
    way: Way
    for_s: float
    cut: bool = False

    @classmethod
    def drawn(cls, chance: Random) -> "Isolate":
        way = chance.choice(list(Way))
        cut = chance.random() < 0.5 and way is not Way.SYSTEM  # servers take a minute to dial such a connection again
        return cls(chance.choice(STREAMS), way, chance.choice(FOR_S), cut)

    async def strike(self, world: World) -> None:
        servers = world.servers
        assert isinstance(servers, ClusterServers)
        leader = await servers.leader(world.table if self.stream == TABLE else world.stream + self.stream)
        world.note(f"it is server {leader.name}")
        servers.isolate(
            leader, says=self.way is not Way.TO, hears=self.way is not Way.FROM, system_only=self.way is Way.SYSTEM
        )
        try:
            await hold(self.for_s)
        finally:
            servers.reunite(lose=self.cut)
        world.note("the servers hear each other again")
        for stream in (world.stream, world.table, f"{world.stream}_INBOX"):
            await servers.caught_up(stream)
