"""The laws of `SnapshotStore`: what was saved last is what is loaded, for each actor alone."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, initialize, multiple, rule

from aether.errors import InvalidCommand
from aether.ids import ActorId
from tests.contract.harness import Side, SideMachine, World, actor_ids, run_machine

ALICE = ActorId("account", "alice")


class SnapshotMachine(SideMachine):
    """Two nodes that save, load and delete, against a dict."""

    actors: Bundle[ActorId] = Bundle("actors")

    def prepare(self) -> None:
        self.stores = [self.stage.run(self.stage.world.node()).snapshots for _ in range(2)]
        self.model: dict[ActorId, bytes] = {}

    @initialize(target=actors, drawn=st.lists(actor_ids, min_size=2, max_size=4, unique=True))
    def meet(self, drawn: list[ActorId]) -> MultipleResults[ActorId]:
        return multiple(*drawn)

    @rule(actor=actors, node=st.integers(0, 1), value=st.binary(min_size=1, max_size=40))
    def save(self, actor: ActorId, node: int, value: bytes) -> None:
        self.stage.run(self.stores[node].save(actor, value))
        self.model[actor] = value

    @rule(actor=actors, node=st.integers(0, 1))
    def delete(self, actor: ActorId, node: int) -> None:
        self.stage.run(self.stores[node].delete(actor))
        self.model.pop(actor, None)

    @rule(actor=actors, node=st.integers(0, 1))
    def delete_kind(self, actor: ActorId, node: int) -> None:
        gone = [one for one in self.model if one.kind == actor.kind]
        assert self.stage.run(self.stores[node].delete_kind(actor.kind)) == len(gone)
        for one in gone:
            del self.model[one]

    @rule(actor=actors, node=st.integers(0, 1))
    def load(self, actor: ActorId, node: int) -> None:
        assert self.stage.run(self.stores[node].load(actor)) == self.model.get(actor)


def test_the_store_equals_its_model(adapters: Side) -> None:
    run_machine(SnapshotMachine, adapters)


async def test_a_snapshot_that_is_too_large_is_refused_and_leaves_the_older_one(world: World) -> None:
    store = (await world.node()).snapshots
    await store.save(ALICE, b"older")
    with pytest.raises(InvalidCommand):
        await store.save(ALICE, b"x" * (store.snapshot_bytes_max + 1))
    assert await store.load(ALICE) == b"older"


async def test_the_largest_snapshot_is_loaded_whole(world: World) -> None:
    store = (await world.node()).snapshots
    largest = bytes(range(256)) * (store.snapshot_bytes_max // 256)
    await store.save(ALICE, largest)
    assert await store.load(ALICE) == largest


async def test_namespaces_do_not_see_each_other(world: World) -> None:
    one, other = (await world.node("one")).snapshots, (await world.node("other")).snapshots
    await one.save(ALICE, b"mine")
    assert await other.load(ALICE) is None
    await other.delete(ALICE)
    assert await one.load(ALICE) == b"mine"
