"""Two runtimes that both believe they own every shard: no fork, and no stale answer from the one without a lease."""

import asyncio

from aether import ActorId
from aether.config import RuntimeConfig
from aether.memory.server import InMemoryServer
from aether.ports import EventStore
from aether.wire import STORED_FORMAT
from tests.support.actors import Account
from tests.support.gated_store import GatedStore
from tests.support.nodes import QUIET, command, history, node, send, until

ALICE = ActorId("account", "alice")


class RevocableLease:
    """A lease that the test takes away."""

    stored_format = STORED_FORMAT

    def __init__(self) -> None:
        self.held = True

    def valid(self, shard: int, boot_s: float) -> bool:
        """As the test has set it."""
        return self.held


async def test_two_owners_do_not_fork_a_history() -> None:
    server = InMemoryServer()
    blind = RuntimeConfig(idle_passivation_s=0, follow_stored=False)
    async with node(server, config=blind) as one, node(server, config=blind) as other:
        sent = [send(n, ALICE, command("deposit", amount=1)) for _ in range(50) for n in (one, other)]
        answers = await asyncio.gather(*sent)
        events = await history(one, ALICE)
        assert [e.version for e in events] == list(range(1, 101))
        assert sorted(int(bytes(a.value)) for a in answers) == list(range(1, 101))
        assert len({e.commandid for e in events}) == 100
        assert one.counters.conflicts + other.counters.conflicts > 0


async def test_a_command_sent_to_both_owners_has_its_effect_once() -> None:
    server = InMemoryServer()
    blind = RuntimeConfig(idle_passivation_s=0, follow_stored=False)
    async with node(server, config=blind) as one, node(server, config=blind) as other:
        made = [command("deposit", amount=1) for _ in range(20)]
        answers = await asyncio.gather(*(send(n, ALICE, m) for m in made for n in (one, other)))
        assert len(await history(one, ALICE)) == 20
        assert answers[0::2] == answers[1::2]


async def test_an_owner_without_a_lease_never_answers() -> None:
    server, lease = InMemoryServer(), RevocableLease()
    async with node(server, config=QUIET) as owner, node(server, config=QUIET, lease=lease) as stale:
        await owner.actor(Account, "alice").deposit(1)
        assert bytes((await send(stale, ALICE, command("statement"))).value) == b"1"
        lease.held = False
        unanswered = [
            asyncio.ensure_future(send(stale, ALICE, made))
            for made in (command("statement"), command("deposit", amount=5), command("withdraw", amount=999))
        ]
        await until(lambda: stale.counters.answers_fenced == 3)
        assert not any(answer.done() for answer in unanswered)
        lease.held = True
        for answer in unanswered:
            answer.cancel()


async def test_a_command_that_came_without_a_lease_is_not_run_under_a_later_one() -> None:
    """A member that stood still reads what was sent to its shards meanwhile: another has answered all of that."""
    gate: list[GatedStore] = []

    def gated(store: EventStore) -> EventStore:
        gate.append(GatedStore(store))
        return gate[0]

    lease = RevocableLease()
    async with node(config=QUIET, lease=lease, wrap=gated) as stale:
        lease.held = False
        gate[0].reads.clear()
        unanswered = asyncio.ensure_future(send(stale, ALICE, command("deposit", amount=5)))
        await until(lambda: bool(stale.get_active_vms()) or stale.counters.answers_fenced == 1)
        lease.held = True
        gate[0].reads.set()
        assert bytes((await send(stale, ALICE, command("statement"))).value) == b"0"
        assert await history(stale, ALICE) == []
        assert not unanswered.done()
        unanswered.cancel()


async def test_a_commit_whose_lease_ended_in_flight_is_not_answered() -> None:
    server, lease = InMemoryServer(), RevocableLease()
    async with node(server, config=QUIET, lease=lease) as stale:
        await stale.create_vm(ALICE)
        made = command("deposit", amount=5)
        unanswered = asyncio.ensure_future(send(stale, ALICE, made))
        await until(lambda: stale.counters.commits == 1)
        lease.held = False
        await until(lambda: stale.counters.answers_fenced == 1)
        assert stale.get_active_vms()[0].version == 1
        assert not unanswered.done()
        lease.held = True
        assert bytes((await send(stale, ALICE, made)).value) == b"5"
        unanswered.cancel()
