"""`EventStore` against the plainest model there is: a list of commits for each actor."""

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, initialize, multiple, rule

from aether.ids import ActorId, Position
from aether.ports import START, Committed, Conflict, StoredCommit
from aether.wire import decode_commit
from tests.contract.harness import Side, SideMachine, actor_ids, payload_of, publish, run_machine

which_node = st.integers(0, 1)


class EventStoreMachine(SideMachine):
    """Two nodes, writers that interleave, some of them wrong about where the history is."""

    actors: Bundle[ActorId] = Bundle("actors")

    def prepare(self) -> None:
        self.nodes = [self.stage.run(self.stage.world.node()) for _ in range(2)]
        self.model: dict[ActorId, list[StoredCommit]] = {}
        self.versions: dict[ActorId, int] = {}
        self.highest = START

    @initialize(target=actors, drawn=st.lists(actor_ids, min_size=2, max_size=4, unique=True))
    def meet(self, drawn: list[ActorId]) -> MultipleResults[ActorId]:
        return multiple(*drawn)

    @rule(actor=actors, node=which_node, count=st.integers(1, 4))
    def append(self, actor: ActorId, node: int, count: int) -> None:
        payload = payload_of(actor, self.versions.get(actor, 0) + 1, count)
        outcome = self.stage.run(publish(self.nodes[node].store, actor, payload, self.position(actor)))
        assert isinstance(outcome, Committed), outcome
        self.stored(actor, outcome.position, payload, count)

    @rule(actor=actors, node=which_node, back=st.integers(1, 3), ahead=st.booleans())
    def append_elsewhere(self, actor: ActorId, node: int, back: int, ahead: bool) -> None:
        here = self.position(actor)
        positions = [START, *(stored.position for stored in self.model.get(actor, []))]
        elsewhere = Position(self.highest + back) if ahead else positions[max(0, len(positions) - 1 - back)]
        if elsewhere != here:
            store = self.nodes[node].store
            assert self.stage.run(publish(store, actor, payload_of(actor, 1), elsewhere)) == Conflict()

    @rule(actor=actors, count=st.integers(1, 3))
    def race(self, actor: ActorId, count: int) -> None:
        self.stage.run(self.run_race(actor, count))

    @rule(actor=actors, node=which_node, span=st.tuples(st.integers(0, 9), st.integers(0, 9)), between=st.booleans())
    def read(self, actor: ActorId, node: int, span: tuple[int, int], between: bool) -> None:
        commits = self.model.get(actor, [])
        low, high = (min(bound, len(commits)) for bound in span)
        positions = [START, *(stored.position for stored in commits)]
        after = Position(max(START, positions[low] - 1)) if between and low else positions[low]
        seen = self.stage.run(self.collect(node, actor, after, positions[high]))
        assert seen == [stored for stored in commits[:high] if stored.position > after]
        rest = self.stage.run(self.collect(node, actor, after, None))
        assert rest == [stored for stored in commits if stored.position > after]

    @rule(actor=actors, node=which_node)
    def ask(self, actor: ActorId, node: int) -> None:
        commits = self.model.get(actor, [])
        store = self.nodes[node].store
        assert self.stage.run(store.last(actor)) == (commits[-1] if commits else None)
        assert self.stage.run(store.latest_version(actor)) == self.versions.get(actor, 0)

    def finish(self) -> None:
        for actor, commits in self.model.items():
            stored = self.stage.run(self.collect(0, actor, START, None))
            events = [event for each in stored for event in decode_commit(each.payload, actor, each.position)]
            assert stored == commits
            assert [event.version for event in events] == list(range(1, self.versions[actor] + 1))

    def position(self, actor: ActorId) -> Position:
        commits = self.model.get(actor)
        return commits[-1].position if commits else START

    def stored(self, actor: ActorId, position: Position, payload: bytes, count: int) -> None:
        assert position > self.highest
        self.highest = position
        self.model.setdefault(actor, []).append(StoredCommit(actor, position, payload))
        self.versions[actor] = self.versions.get(actor, 0) + count

    async def run_race(self, actor: ActorId, count: int) -> None:
        expected = self.position(actor)
        first = self.versions.get(actor, 0) + 1
        payloads = [payload_of(actor, first, count, b"%d" % node) for node in range(2)]
        outcomes = await asyncio.gather(
            *(publish(self.nodes[node].store, actor, payload, expected) for node, payload in enumerate(payloads))
        )
        winners = [(o.position, p) for o, p in zip(outcomes, payloads, strict=True) if isinstance(o, Committed)]
        assert len(winners) == 1, outcomes
        assert outcomes.count(Conflict()) == 1
        self.stored(actor, *winners[0], count)

    async def collect(self, node: int, actor: ActorId, after: Position, until: Position | None) -> list[StoredCommit]:
        return [stored async for stored in self.nodes[node].store.read(actor, after, until)]


def test_the_store_equals_its_model(adapters: Side) -> None:
    run_machine(EventStoreMachine, adapters)
