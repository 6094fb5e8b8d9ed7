"""The laws of a runtime under faults: state = fold of the history, each command once, retries answered alike.

Two runtimes that both own everything share one server. Hypothesis draws the commands, the faults, the passivations, the
snapshots and the kills; a plain list of what was acknowledged is the model.
"""

import asyncio
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from aether import ActorId, Runtime
from aether.errors import AetherError, DeadlineExceeded, Rejected
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Fault, FaultPoint, Faults, Late, Lost, Stale, StoredLater, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.runtime.fold import Fold
from aether.wire import Answer, Command, decode_commit
from tests.support.actors import model
from tests.support.nodes import QUIET, command, history, send

ACTORS = [ActorId("account", "a"), ActorId("notebook", "b")]
FAULTS: list[tuple[FaultPoint, Fault]] = [
    (FaultPoint.APPEND, Lost()),
    (FaultPoint.APPEND, StoredUnknown()),
    (FaultPoint.APPEND, StoredLater(0.004)),
    (FaultPoint.APPEND, Late(0.002)),
    (FaultPoint.LAST, Lost()),
    (FaultPoint.READ, Stale()),
    (FaultPoint.READ, Lost()),
    (FaultPoint.SNAPSHOT_READ, Lost()),
    (FaultPoint.SNAPSHOT_READ, Stale()),
    (FaultPoint.SNAPSHOT_WRITE, Lost()),
]
COMMANDS = st.one_of(
    st.tuples(st.just(0), st.just("deposit"), st.fixed_dictionaries({"amount": st.integers(1, 9)})),
    st.tuples(st.just(0), st.just("deposit_twice"), st.just({"first": 1, "second": 2})),
    st.tuples(st.just(0), st.just("withdraw"), st.fixed_dictionaries({"amount": st.integers(1, 20)})),
    st.tuples(st.just(0), st.just("deposit_then_reject"), st.just({"amount": 5})),
    st.tuples(st.just(1), st.just("note"), st.fixed_dictionaries({"line": st.text(max_size=5)})),
    st.tuples(st.just(1), st.just("note_then_reject"), st.just({"line": "x"})),
)
Made = tuple[ActorId, Command]


class RuntimeLaws(RuleBasedStateMachine):
    """One example: two nodes, one server, and everything that was answered."""

    sent = Bundle("sent")

    @initialize()
    def begin(self) -> None:
        """Start two owners of everything."""
        self.loop = asyncio.new_event_loop()
        self.faults: dict[FaultPoint, list[Fault]] = {}
        self.answers: dict[str, Answer] = {}
        self.acknowledged: dict[str, ActorId] = {}
        self.run(self._begin())

    async def _begin(self) -> None:
        self.server = InMemoryServer(faults=Faults(self._decide))
        self.nodes = [await self._node() for _ in range(2)]

    async def _node(self) -> Runtime:
        connection = InMemoryConnection(self.server, "tests")
        config = replace(
            QUIET,
            snapshot_every_events=3,
            active_vms_max=1,
            follow_stored=True,
            replay_retry_first_s=0.001,
            replay_retry_max_s=0.01,
        )
        runtime = Runtime(connection, connection.event_store, config, jitter=lambda: 0.0)
        runtime.load_model(model)
        await runtime.start()
        return runtime

    def _decide(self, step: FaultPoint) -> Fault | None:
        waiting = self.faults.get(step)
        return waiting.pop(0) if waiting else None

    def run(self, work: Any) -> Any:
        """Run one step to its end."""
        return self.loop.run_until_complete(work)

    @rule(fault=st.sampled_from(FAULTS))
    def go_wrong(self, fault: tuple[FaultPoint, Fault]) -> None:
        """The next such step goes wrong."""
        self.faults.setdefault(fault[0], []).append(fault[1])

    @rule(target=sent, drawn=COMMANDS, at=st.integers(0, 1))
    def send(self, drawn: tuple[int, str, dict[str, Any]], at: int) -> Made:
        """A new command to one of the owners."""
        which, name, args = drawn
        made = (ACTORS[which], command(name, for_s=60, **args))
        self.run(self._send_all([(made, at)]))
        return made

    @rule(drawn=st.lists(st.tuples(COMMANDS, st.integers(0, 1)), min_size=2, max_size=6))
    def send_many(self, drawn: list[tuple[tuple[int, str, dict[str, Any]], int]]) -> None:
        """Several commands at once, to both owners."""
        self.run(self._send_all([((ACTORS[w], command(n, for_s=60, **args)), at) for (w, n, args), at in drawn]))

    @rule(made=sent, at=st.integers(0, 1))
    def repeat(self, made: Made, at: int) -> None:
        """A client retries."""
        self.run(self._send_all([(made, at)]))

    async def _send_all(self, batch: list[tuple[Made, int]]) -> None:
        await asyncio.gather(*(self._send(*made, at) for made, at in batch))

    async def _send(self, actor_id: ActorId, made: Command, at: int) -> None:
        try:
            answer = await send(self.nodes[at], actor_id, made)
        except Rejected:
            assert made.id not in self.acknowledged, "an acknowledged command was decided anew"
        except DeadlineExceeded as late:
            raise AssertionError(str(late)) from late
        except AetherError:
            assert at >= 0
        else:
            assert self.answers.setdefault(made.id, answer) == answer
            self.acknowledged[made.id] = actor_id

    @rule(at=st.integers(0, 1), which=st.integers(0, 1))
    def passivate(self, at: int, which: int) -> None:
        """An actor leaves memory, with a snapshot."""
        self.run(self.nodes[at].stop_vm(ACTORS[which]))

    @rule(at=st.integers(0, 1))
    def kill(self, at: int) -> None:
        """A worker dies and another takes its place: nothing more of it gets out."""
        self.run(self._kill(at))

    async def _kill(self, at: int) -> None:
        dead = self.nodes[at]
        dead.connection.disconnect()  # type: ignore[attr-defined]  # memory's connection
        await dead.stop()
        self.nodes[at] = await self._node()

    @invariant()
    def histories_are_whole(self) -> None:
        """Contiguous versions, each command's events together and once, every acknowledged command there."""
        if not hasattr(self, "nodes"):
            return
        self.faults.clear()
        for actor_id in ACTORS:
            events = self.run(history(self.nodes[0], actor_id))
            assert [e.version for e in events] == list(range(1, len(events) + 1))
            ids = [e.commandid for e in events]
            runs = [name for n, name in enumerate(ids) if n == 0 or ids[n - 1] != name]
            assert len(runs) == len(set(runs)), "a command's events were stored twice"
            for name, owner in self.acknowledged.items():
                assert owner != actor_id or name in ids

    @invariant()
    def states_are_folds(self) -> None:
        """What any node says of an actor is the fold of its history."""
        if not hasattr(self, "nodes"):
            return
        for actor_id in ACTORS:
            self.run(self._state_is_fold(actor_id))

    async def _state_is_fold(self, actor_id: ActorId) -> None:
        fold = Fold(actor_id, model.actor_type(actor_id.kind))
        async for commit in self.nodes[0].event_store.read(actor_id):
            fold.apply(decode_commit(commit.payload, actor_id, commit.position), commit.position)
        for runtime in self.nodes:
            vm = await runtime.create_vm(actor_id)
            assert vm.version == fold.version
            assert fold.actor_type.encode_state(vm.state) == fold.actor_type.encode_state(fold.state)

    def teardown(self) -> None:
        """Stop everything."""
        if hasattr(self, "nodes"):
            for runtime in self.nodes:
                self.run(runtime.stop())
        if hasattr(self, "loop"):
            self.loop.close()


TestRuntimeLaws = RuntimeLaws.TestCase
TestRuntimeLaws.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
