"""The laws of `EventBus`: every commit stored after `subscribe` returned, once, in stream order, on every node."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from aether.ids import ActorId, Position
from aether.names import shard_of
from aether.ports import START, EventStored, StoredCommit, Subscription
from tests.contract.harness import SHARDS, Node, Received, Side, Stage, World, budget, commit

ALICE = ActorId("account", "alice")
ACTORS = [ALICE, ActorId("account", "bob"), ActorId("account", "\u00e9.*>"), ActorId("order", "alice")]
FILTERS: list[tuple[str | None, str | None]] = [(None, None), ("account", None), ("order", None), ("account", "alice"),
                                                ("account", "\u00e9.*>"), ("nothing", None)]  # fmt: skip


@dataclass
class Listener:
    """One subscription, and what it has to receive."""

    kind: str | None
    key: str | None
    subscription: Subscription
    received: Received[StoredCommit]
    due: list[StoredCommit] = field(default_factory=list)
    stopped: bool = False

    def expect(self, stored: StoredCommit) -> None:
        selected = self.kind in (None, stored.actor_id.kind) and self.key in (None, stored.actor_id.key)
        if selected and not self.stopped:
            self.due.append(stored)


class Board:
    """Nodes that append and listen; `stored` is what the stream must hold, in its order."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.histories: dict[ActorId, list[Position]] = {}
        self.listeners: list[Listener] = []

    async def append(self, node: int, actor_id: ActorId) -> None:
        history = self.histories.setdefault(actor_id, [START])
        stored = await commit(self.nodes[node].store, actor_id, len(history), history[-1])
        history.append(stored.position)
        for listener in self.listeners:
            listener.expect(stored)

    async def listen(self, node: int, selected: tuple[str | None, str | None]) -> None:
        received: Received[StoredCommit] = Received()
        kind, key = selected
        subscription = await self.nodes[node].bus.subscribe(received.receive, kind=kind, key=key)
        self.listeners.append(Listener(kind, key, subscription, received))

    async def stop(self, which: int) -> None:
        if self.listeners:
            listener = self.listeners[which % len(self.listeners)]
            await listener.subscription.stop()
            listener.stopped = True
            # What was on its way when it stopped may be missing, but only from the end.
            assert listener.received.items == listener.due[: len(listener.received.items)]
            listener.due = list(listener.received.items)

    async def settle(self) -> None:
        for listener in self.listeners:
            assert await listener.received.count(len(listener.due)) == listener.due
            await listener.subscription.stop()
            await listener.subscription.stop()
            assert listener.received.items == listener.due


@dataclass(frozen=True)
class Append:
    """A node stores a commit."""

    node: int
    actor_id: ActorId


@dataclass(frozen=True)
class Listen:
    """A node subscribes."""

    node: int
    selected: tuple[str | None, str | None]


@dataclass(frozen=True)
class Stop:
    """One of the listeners stops."""

    which: int


nodes = st.integers(0, 1)
appends = st.builds(Append, nodes, st.sampled_from(ACTORS))
steps = st.lists(
    st.one_of(appends, appends, st.builds(Listen, nodes, st.sampled_from(FILTERS)), st.builds(Stop, st.integers(0, 5))),
    min_size=4,
    max_size=30,
)


def test_each_listener_receives_what_it_selected_from_subscribe_to_stop(adapters: Side) -> None:
    @budget(adapters)
    @given(drawn=steps)
    def law(drawn: list[Append | Listen | Stop]) -> None:
        with Stage(adapters) as stage:
            stage.run(play(stage.world, drawn))

    law()


async def play(world: World, drawn: list[Append | Listen | Stop]) -> None:
    board = Board([await world.node(), await world.node()])
    for step in drawn:
        match step:
            case Append(node, actor_id):
                await board.append(node, actor_id)
            case Listen(node, selected):
                await board.listen(node, selected)
            case Stop(which):
                await board.stop(which)
    await board.settle()


async def test_each_selection_receives_its_own_commits_and_nothing_else(world: World) -> None:
    board = Board([await world.node(), await world.node()])
    for selected in FILTERS:
        await board.listen(1, selected)
    for actor_id in [*ACTORS, *ACTORS]:
        await board.append(0, actor_id)
    assert [len(listener.due) for listener in board.listeners] == [8, 6, 2, 2, 2, 0]
    await board.settle()


async def test_commits_in_flight_together_arrive_on_every_node_in_one_order(world: World) -> None:
    nodes = [await world.node() for _ in range(3)]
    heard: list[Received[StoredCommit]] = [Received() for _ in nodes]
    for node, received in zip(nodes, heard, strict=True):
        await node.bus.subscribe(received.receive)
    actors = [ActorId("account", str(n)) for n in range(60)]
    stored = await asyncio.gather(*(commit(nodes[n % 3].store, actor, 1, START) for n, actor in enumerate(actors)))
    in_order = sorted(stored, key=lambda each: each.position)
    for received in heard:
        assert await received.count(len(actors)) == in_order


async def test_a_notice_tells_the_version_and_position_after_the_commit(world: World) -> None:
    writer, reader = await world.node(), await world.node()
    received: Received[EventStored] = Received()
    subscription = await reader.bus.subscribe_to_event_stored(received.receive)
    first = await commit(writer.store, ALICE, 1, START)
    second = await commit(writer.store, ALICE, 2, first.position)
    await received.count(2)
    await subscription.stop()
    assert [(n.actor_id, n.version, n.position) for n in received.items] == [
        (ALICE, 1, first.position),
        (ALICE, 2, second.position),
    ]


async def test_one_that_stops_leaves_the_others_listening(world: World) -> None:
    node = await world.node()
    going, staying = Received[StoredCommit](), Received[StoredCommit]()
    subscription = await node.bus.subscribe(going.receive)
    await node.bus.subscribe(staying.receive)
    await subscription.stop()
    stored = await commit(node.store, ALICE, 1, START)
    assert await staying.count(1) == [stored]
    assert going.items == []


async def test_followers_of_shards_receive_the_commits_of_those_shards(world: World) -> None:
    writer, reader = await world.node(), await world.node()
    actors = [ActorId("account", str(n)) for n in range(4 * SHARDS)]
    mine = [shard for shard in range(SHARDS) if shard % 2]
    received: Received[StoredCommit] = Received()
    subscription = await reader.bus.follow_shards(mine, received.receive)
    stored = [await commit(writer.store, actor, 1, START) for actor in actors]
    due = [each for each in stored if shard_of(each.actor_id, SHARDS) in mine]
    assert len(mine) < len(due) < len(stored)
    by_actor = {each.actor_id: each for each in await received.count(len(due))}
    await subscription.stop()
    assert by_actor == {each.actor_id: each for each in due}
    assert len(received.items) == len(due)


async def test_namespaces_do_not_hear_each_other(world: World) -> None:
    one, other = await world.node("one"), await world.node("other")
    received: Received[StoredCommit] = Received()
    await other.bus.subscribe(received.receive)
    await commit(one.store, ALICE, 1, START)
    theirs = await commit(other.store, ALICE, 1, START)
    assert await received.count(1) == [theirs]
