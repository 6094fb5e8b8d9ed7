"""The inbox is shortened all the time, and still each tell of a stored commit is relayed and applied once, in order.

Two simulations with two owners of a shard at all times, faults and crashes, and a purger beside them whose reads and
purges come late: of relayers, with power cuts, and of whole runtimes. The ablations leave out one need each.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether import inbox_needs
from aether.core.inbox_floor import InboxNeed
from aether.core.relay import Relay
from aether.core.relay_mark import Mark
from aether.errors import AetherError
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Fault, FaultPoint, Faults, Late, StoredLater
from aether.memory.inbox import InMemoryInbox
from aether.memory.server import GONE, InboxEntry
from aether.runtime import relaying, shard_inbox
from aether.runtime.inbox_purge import InboxPurge
from aether.tells import decode_told
from aether.wire import decode_commit
from tests.property import test_relay_laws as relays
from tests.property import test_tells_two_owners as tells

ANYWHERE = 1 << 60


async def purge(purger: InboxPurge) -> None:
    """Remove at once what may be removed: of one server there is no need to look twice."""
    found = await purger.look(0)
    await purger._inbox.purge(found.need.sequence, found.made)


@pytest.fixture(autouse=True)
def marks_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks keep nothing that they need not."""
    monkeypatch.setattr(relaying, "RENEW_TELLS", 1)
    monkeypatch.setattr(shard_inbox, "MARK_TELLS", 1)


# ---------------------------------------------------------------------------------------- relayers, and power cuts


class RelayWorld(relays.World):
    """A world whose inbox is shortened as if all tells were applied at once; what was removed is kept here."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.removed: dict[int, InboxEntry] = {}
        self.purged = 0
        link = InMemoryConnection(self.server, "laws", shards=relays.SHARDS, faults=Faults(self.purger_fault))
        self.purger = InboxPurge(RelayedInbox(link, self), None, relays.SHARDS)
        self.purger_link = link

    def fault(self, step: FaultPoint) -> Fault | None:
        """Fewer, so that marks are written and the inbox is shortened."""
        return super().fault(step) if self.chance.random() < 0.4 else None

    def cut_power(self) -> None:
        """Often all goes that is not on the disk."""
        if self.chance.random() < 0.5:
            self.space.tells[self.durable :] = []
        super().cut_power()
        self.purger_link.disconnect()
        self.purger_link.reconnect()

    def purger_fault(self, step: FaultPoint) -> Fault | None:
        """It is frozen for a while at any step. Who fails does nothing: that is no danger."""
        if self.healed or self.chance.random() > 0.15:
            return None
        delay_s = self.chance.choice([0.5, 2.0, 8.0])
        return StoredLater(delay_s) if step is FaultPoint.TELL else Late(delay_s)

    async def purge(self) -> None:
        before = self.purged
        with suppress(AetherError):
            await purge(self.purger)
        if self.purged > before and not self.healed and self.chance.random() < 0.3:
            self.cut_power()

    def put_back(self) -> None:
        tells = self.space.tells
        for sequence, entry in self.removed.items():
            if sequence <= len(tells) and tells[sequence - 1] is GONE:
                tells[sequence - 1] = entry
        assert GONE not in tells


class RelayedInbox(InMemoryInbox):
    """What the purger sees: every tell is applied as soon as it is stored."""

    def __init__(self, link: InMemoryConnection, world: RelayWorld) -> None:
        super().__init__(link)
        self.world = world
        purge = self._space.purge_tells

        def purge_tells(below: int) -> int:
            for sequence, entry in enumerate(self._space.tells[: max(0, below - 1)], 1):
                if entry is not GONE:
                    world.removed[sequence] = entry
                    world.purged += 1
            return purge(below)

        self._space.purge_tells = purge_tells  # type: ignore[method-assign]

    async def next_tell(self, target: int, after: int) -> int:
        return 0

    async def until_on_disk(self, sequence: int) -> None:
        self.world.durable = len(self.world.space.tells)


async def simulate(seed: int) -> RelayWorld:
    chance = random.Random(seed)  # noqa: S311 - no secret
    world = RelayWorld(chance)
    world.owners = [relays.Owner(world), relays.Owner(world)]
    begun: list[asyncio.Future[None]] = [asyncio.ensure_future(one.relayer.ready()) for one in world.owners]
    await world.pass_by(20)
    for _ in range(relays.STEPS):
        happens = chance.random()
        if happens < 0.38:
            relays.step(world, begun)
        elif happens < 0.50:
            begun.append(asyncio.ensure_future(world.purge()))
        elif happens < 0.62:
            chance.choice(world.owners).relayer.renew(len(world.space.tells))
        elif happens < 0.88:
            await world.pass_by(chance.randint(1, 6))
        else:
            world.clock.advance(chance.choice([0.05, 0.5, 3.0]))
            await world.pass_by(2)
    await relays.heal(world)
    for one in begun:
        one.cancel()
    for owner in world.owners:
        owner.crash()
    await world.pass_by(3)
    world.put_back()
    return world


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_each_tell_is_in_the_inbox_once_though_it_is_shortened(seed: int) -> None:
    assert relays.wrong(asyncio.run(simulate(seed))) == ""


def test_the_simulation_removes_much_of_the_inbox() -> None:
    worlds = [asyncio.run(simulate(seed)) for seed in range(20)]
    assert sum(world.purged for world in worlds) > sum(len(world.space.tells) for world in worlds) / 10


def no_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inbox_needs, "relay_need", lambda shard, place, mark: InboxNeed(ANYWHERE, ""))


def not_what_is_after_the_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(inbox_needs, "relay_need", lambda shard, place, mark: InboxNeed(place, ""))


def not_on_the_disk(patch: pytest.MonkeyPatch) -> None:
    async def until_on_disk(self: RelayedInbox, sequence: int) -> None:
        pass

    patch.setattr(RelayedInbox, "until_on_disk", until_on_disk)


def a_mark_that_says_too_much(patch: pytest.MonkeyPatch) -> None:
    """A renewed mark says that nothing which stands before it belongs to a commit that is not relayed whole."""
    mark = Relay.mark

    def skipping(self: Relay, now_s: float) -> Mark:
        made = mark(self, now_s)
        return Mark(made.relayed, max(made.since, self.fence))

    patch.setattr(Relay, "mark", skipping)


@pytest.mark.parametrize(
    ("ablate", "seeds"),
    [
        (no_mark, range(1000)),
        (not_what_is_after_the_mark, range(1000)),
        (not_on_the_disk, range(1000)),
        (a_mark_that_says_too_much, range(1000)),
    ],
)
def test_without_a_need_the_simulation_finds_it(
    ablate: Callable[[pytest.MonkeyPatch], None], seeds: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablate(monkeypatch)

    def found(seed: int) -> bool:
        try:
            return bool(relays.wrong(asyncio.run(simulate(seed))))
        except AssertionError:
            return True

    assert any(found(seed) for seed in seeds)


# ---------------------------------------------------------------------------------------- whole runtimes


class PurgedPair(tells.Pair):
    """Two runtimes whose inbox is shortened all the time. A tell that is removed and not applied is noted."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.early: list[str] = []
        self.purged = 0
        link = InMemoryConnection(self.server, "pair", shards=tells.SHARDS)
        space = link.space
        purge = space.purge_tells

        def purge_tells(below: int) -> int:
            for sequence, entry in enumerate(space.tells[: max(0, below - 1)], 1):
                if entry is not GONE and link_names.is_sent(entry.subject):
                    self.check(sequence, entry)
            count = purge(below)
            self.purged += count
            return count

        link_names = link.inbox._names
        space.purge_tells = purge_tells  # type: ignore[method-assign]
        self.purger = InboxPurge(link.inbox, None, tells.SHARDS)
        self.task = asyncio.ensure_future(self.purge())

    def check(self, sequence: int, entry: InboxEntry) -> None:
        target = decode_told(entry.payload)[1]
        history = self.server.space("pair", tells.SHARDS).histories.get(target, [])
        applied = [
            int(event.inboxseq)
            for one in history
            for event in decode_commit(one.payload, target, one.position)
            if event.inboxseq
        ]
        if max(applied, default=0) < sequence:
            self.early.append(f"{sequence} to {target}")

    async def purge(self) -> None:
        while True:
            await asyncio.sleep(0.002)
            for runtime in self.runtimes:
                if runtime._telling is not None:
                    for served in runtime._telling._serving.values():
                        served.relayer.renew(ANYWHERE)
            with suppress(AetherError):
                await purge(self.purger)


async def in_pair(seed: int, pairs: list[PurgedPair], monkeypatch: pytest.MonkeyPatch) -> str:
    def made(chance: random.Random) -> PurgedPair:
        pairs.append(PurgedPair(chance))
        return pairs[-1]

    with monkeypatch.context() as patch:
        patch.setattr(tells, "Pair", made)
        found = await tells.simulate(seed)
    pairs[-1].task.cancel()
    return found or (f"removed and not applied: {pairs[-1].early}" if pairs[-1].early else "")


def test_each_transfer_is_received_once_though_the_inbox_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: list[PurgedPair] = []
    for seed in range(8):
        assert asyncio.run(in_pair(seed, pairs, monkeypatch)) == ""
    assert sum(pair.purged for pair in pairs) > 8 * tells.TRANSFERS


def test_without_the_need_for_tells_one_is_removed_that_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_needs, "tell_need", lambda shard, first: InboxNeed(ANYWHERE, ""))
    monkeypatch.setattr(
        tells, "FAULTS", {FaultPoint.APPEND: [Late(0.05)]}
    )  # so that a tell is there and not yet applied
    monkeypatch.setattr(tells, "FAULTY", 0.5)
    pairs: list[PurgedPair] = []

    async def until_one_is_early(seed: int) -> None:
        running = asyncio.ensure_future(in_pair(seed, pairs, monkeypatch))
        while not running.done() and not (pairs and pairs[-1].early):  # noqa: ASYNC110 - the runtimes make progress
            await asyncio.sleep(0.01)
        running.cancel()

    for seed in range(20):
        asyncio.run(until_one_is_early(seed))
        if pairs[-1].early:
            return
    raise AssertionError("each tell that was removed was applied")
