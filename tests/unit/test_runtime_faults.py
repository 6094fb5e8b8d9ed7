"""A fault in the runtime itself, once, in every stage that a command goes through.

The machine is given up, its callers are answered or ask again, the next command makes a new machine, all counts are
right, and the drain is in time. Faults are in what a runtime is given (store, snapshots, lease, the way back), and,
where nothing is compiled, in the methods of each stage.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

import aether.runtime.commit_answers
import aether.runtime.machine
import aether.runtime.replay
import aether.runtime.snapshots
import aether.runtime.turn
from aether import ActorFailed, ActorId, Runtime
from aether.core.actor.batching import Batching
from aether.core.actor.command_log import CommandLog
from aether.core.actor.commit_draft import CommitDraft
from aether.errors import AetherError, Unavailable
from aether.memory.connection import InMemoryConnection
from aether.memory.snapshots import InMemorySnapshotStore
from aether.memory.store import InMemoryEventStore
from aether.names import shard_of
from aether.runtime.admission import Admission
from aether.runtime.committer import Committer
from aether.runtime.fold import Fold
from aether.runtime.lease import AlwaysValid
from aether.runtime.local import local_delivery
from aether.runtime.machine import VirtualMachine
from aether.runtime.mailbox import Mailbox
from aether.runtime.registry import Registry
from aether.runtime.replay import Replayer
from aether.runtime.router import Router
from aether.runtime.snapshots import SnapshotWriter
from aether.runtime.turn import Turn
from aether.system.environment import is_compiled
from aether.wire import Command, answer_error, decode_answer, encode_command
from tests.support.actors import GATES, Deposited, model
from tests.support.nodes import QUIET, append_from_outside, command, history, send

ALICE, BOB, WAITER = ActorId("account", "alice"), ActorId("account", "bob"), ActorId("waiter", "w")
CONFIG = replace(QUIET, snapshot_every_events=2, drain_timeout_s=5.0)
ASK_AGAIN_S = 0.05

GIVEN: dict[str, tuple[Any, str]] = {
    "the store's last position": (InMemoryEventStore, "last"),
    "the store's history": (InMemoryEventStore, "read"),
    "the store's publish": (InMemoryEventStore, "publish"),
    "reading a snapshot": (InMemorySnapshotStore, "load"),
    "writing a snapshot": (InMemorySnapshotStore, "save"),
    "the lease": (AlwaysValid, "valid"),
}
WITHIN: dict[str, tuple[Any, str]] = {
    "read": (Router, "_decode"),
    "find": (Registry, "use"),
    "begin": (VirtualMachine, "begin"),
    "hand over": (VirtualMachine, "receive"),
    "into the mailbox": (Mailbox, "receive"),
    "out of the mailbox": (Mailbox, "next"),
    "admit": (Admission, "admit"),
    "turn": (VirtualMachine, "run_turn"),
    "open": (Turn, "__init__"),
    "run": (Turn, "run"),
    "run one": (Turn, "_begin"),
    "look up": (aether.runtime.turn, "earlier_answer"),
    "succeed": (Turn, "_succeeded"),
    "fail": (Turn, "_refused"),
    "await": (Turn, "_handler_for"),
    "a handler's end": (Turn, "_take_end"),
    "finish": (Turn, "finish"),
    "encode": (CommitDraft, "encode"),
    "accept": (CommitDraft, "accept"),
    "payload": (CommitDraft, "payload"),
    "turn over": (VirtualMachine, "turn_over"),
    "commit": (Committer, "commit"),
    "send": (Committer, "_send_one"),
    "may send": (Committer, "_leaves"),
    "choose": (Batching, "pays"),
    "count what is sent": (Batching, "single_sent"),
    "count outcomes": (Batching, "singles_done"),
    "outcome": (VirtualMachine, "_take_outcome"),
    "committed": (VirtualMachine, "_committed"),
    "answer what is committed": (aether.runtime.machine, "answer_committed"),
    "remember a command": (CommandLog, "add"),
    "encode an answer": (aether.runtime.commit_answers, "encode_answer"),
    "answer": (Mailbox, "answer"),
    "schedule": (VirtualMachine, "_schedule"),
    "replay": (Replayer, "replay"),
    "decode a commit": (aether.runtime.replay, "decode_commit"),
    "fold": (Fold, "apply"),
    "remember": (Fold, "remember"),
    "replayed": (VirtualMachine, "replayed"),
    "stored": (VirtualMachine, "_apply_stored"),
    "snapshot": (SnapshotWriter, "write"),
    "encode a snapshot": (aether.runtime.snapshots, "encode_snapshot"),
}
ALL = {**GIVEN, **({} if is_compiled() else WITHIN)}


class Fault:
    """Raises the nth time that something is called, and lets it pass otherwise."""

    def __init__(self, owner: Any, name: str, nth: int, patch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        original = getattr(owner, name)

        def called(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == nth:
                raise LookupError(f"a fault of the test in {name}")
            return original(*args, **options)

        patch.setattr(owner, name, called)


async def insist(runtime: Runtime, actor_id: ActorId, message: Command) -> int | AetherError:
    """Ask as a client does: with the same id, until there is an answer that is no `Unavailable`."""
    while True:
        delivery, answered = local_delivery(actor_id, shard_of(actor_id, 256), encode_command(message))
        with suppress(Exception):  # a transport logs what its receiver raises
            runtime.receive(delivery)
        with suppress(TimeoutError):
            answer = decode_answer(await asyncio.wait_for(answered, ASK_AGAIN_S))
            if answer.error is None:
                return int(bytes(answer.value))
            error = answer_error(answer.error)
            if not isinstance(error, Unavailable):
                return error
            await asyncio.sleep(0)


@asynccontextmanager
async def served() -> AsyncIterator[Runtime]:
    """A runtime; stopped at the end."""
    connection = InMemoryConnection(None, "tests")
    runtime = Runtime(connection, connection.event_store, CONFIG, jitter=lambda: 0.0)
    runtime.load_model(model)
    async with connection, runtime:
        yield runtime


async def work(runtime: Runtime) -> list[int | AetherError]:
    """What reaches every stage: commands that come together, some that fail, a replay, and commits from outside."""
    GATES["open"] = asyncio.Event()
    GATES["open"].set()
    together = await asyncio.gather(
        insist(runtime, ALICE, command("deposit", amount=1)),
        insist(runtime, ALICE, command("withdraw", amount=1_000)),
        insist(runtime, ALICE, command("deposit_then_break", amount=1)),
        insist(runtime, ALICE, command("deposit", amount=1)),
        insist(runtime, BOB, command("deposit", amount=1)),
        insist(runtime, WAITER, command("wait_for", gate="open")),
    )
    answers: list[int | AetherError] = list(together)
    with suppress(AetherError, LookupError):
        await runtime.stop_vm(ALICE)
    with suppress(AetherError, LookupError):
        await append_from_outside(runtime, ALICE, model.actor_type("account"), Deposited(1))
    answers.append(await insist(runtime, ALICE, command("deposit", amount=1)))
    with suppress(AetherError, LookupError):
        await append_from_outside(runtime, ALICE, model.actor_type("account"), Deposited(1))
    answers.append(await insist(runtime, ALICE, command("deposit", amount=1)))
    return answers


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("where", ALL)
async def test_after_a_fault_the_actor_answers_again_and_the_runtime_drains(
    where: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served() as runtime:
        with monkeypatch.context() as patch:
            fault = Fault(*ALL[where], nth, patch)
            answers = await asyncio.wait_for(work(runtime), 20)
        assert fault.calls, "the fault was never reached"
        assert all(isinstance(one, int | AetherError) for one in answers)
        stored = [event for event in await history(runtime, ALICE) if event.type == "Deposited"]
        total = await asyncio.wait_for(insist(runtime, ALICE, command("statement")), 5)
        assert total == len(stored)
        for actor_id in (ALICE, BOB):
            before = len([e for e in await history(runtime, actor_id) if e.type == "Deposited"])
            assert await asyncio.wait_for(insist(runtime, actor_id, command("deposit", amount=1)), 5) == before + 1
            machine = await runtime.create_vm(actor_id)
            await asyncio.wait_for(machine.wait_idle(), 5)
        worker: Any = runtime._worker
        assert worker.admission.waiting == 0
        await asyncio.wait_for(runtime._drain(), 5)


@pytest.mark.parametrize("where", ["run one", "encode", "payload"])
async def test_a_fault_before_the_commit_is_told_as_such(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_compiled():
        pytest.skip("compiled methods cannot be replaced")
    async with served() as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
        with monkeypatch.context() as patch:
            Fault(*WITHIN[where], 1, patch)
            with pytest.raises(ActorFailed, match="fault of the worker"):
                await asyncio.wait_for(send(runtime, ALICE, command("deposit", amount=1)), 5)
        assert runtime.counters.machines_given_up == 1
        assert runtime.counters.of("account", "deposit").failed == 1
        assert len(await history(runtime, ALICE)) == 1


async def test_a_replay_that_cannot_even_fail_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    if is_compiled():
        pytest.skip("compiled methods cannot be replaced")
    async with served() as runtime:
        with monkeypatch.context() as patch:
            Fault(Replayer, "replay", 1, patch)
            Fault(VirtualMachine, "failed", 1, patch)
            assert await asyncio.wait_for(insist(runtime, ALICE, command("deposit", amount=5)), 5) == 5
        assert runtime.counters.machines_given_up == 1


async def test_a_commit_whose_outcome_could_not_be_taken_is_done_once_when_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if is_compiled():
        pytest.skip("compiled methods cannot be replaced")
    async with served() as runtime:
        with monkeypatch.context() as patch:
            Fault(VirtualMachine, "_committed", 1, patch)
            assert await asyncio.wait_for(insist(runtime, ALICE, command("deposit", amount=5)), 5) == 5
        assert len(await history(runtime, ALICE)) == 1
