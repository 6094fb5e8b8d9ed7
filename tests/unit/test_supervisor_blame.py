"""Whom a worker's death is laid to: laws of the blame, the note it is read from, what the next worker is told."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.config import EXIT_SYNC_FAILED, Loss, NotedHandler
from aether.ids import ActorId
from aether.supervisor.blame import FATAL, loss_of
from aether.supervisor.state import Asked, Exited, Fork, Request, Say, Slot, SupervisorConfig
from aether.system.handler_note import HandlerNote, make_note, read_note
from aether.system.memory_kills import kills_for_memory
from tests.support.supervised import World

NOTED = NotedHandler(kind="account", key="alice", command="deposit", command_id="c1")
READY = Slot(number=0, pid=7, incarnation="run-1", ready_at_s=1.0)
codes = st.sampled_from([*(-number for number in FATAL), -9, -15, -1, 0, 1, 3, 4, EXIT_SYNC_FAILED])
slots = st.builds(
    Slot,
    number=st.just(0),
    ready_at_s=st.sampled_from([None, 1.0]),
    stopping_at_s=st.sampled_from([None, 2.0]),
    killed=st.booleans(),
)


@given(slots, codes, st.booleans())
def test_nothing_is_blamed_on_nobody(slot: Slot, code: int, out_of_memory: bool) -> None:
    assert loss_of(slot, code, None, out_of_memory) is None


@given(slots, codes, st.booleans())
def test_a_death_that_something_else_explains_is_no_handlers(slot: Slot, code: int, out_of_memory: bool) -> None:
    loss = loss_of(slot, code, NOTED, out_of_memory)
    if -code in FATAL:
        assert loss is not None, "code raises such a signal by itself"
    elif slot.stopping_at_s is not None:
        assert loss is None, "it was asked to go, or drained for too long"
    elif code == EXIT_SYNC_FAILED:
        assert loss is None, "the disk has failed"
    elif code in (-15, -1) or (code == -9 and not (slot.killed or out_of_memory)):
        assert (loss is not None) == slot.killed, "somebody else sent it"
    else:
        assert loss is not None


@pytest.mark.parametrize(
    ("slot", "code", "out_of_memory", "cause"),
    [
        (READY, -11, False, "SIGSEGV"),
        (READY, -6, False, "SIGABRT"),
        (READY, 0, False, "an exit with 0"),
        (READY, -9, True, "want of memory"),
        (Slot(number=0, pid=7, ready_at_s=1.0, killed=True, dumped_at_s=2.0), -9, False, "a hang"),
    ],
)
def test_the_cause_is_said(slot: Slot, code: int, out_of_memory: bool, cause: str) -> None:
    loss = loss_of(slot, code, NOTED, out_of_memory)
    assert loss is not None
    assert (loss.cause, loss.handler, loss.incarnation) == (cause, NOTED, slot.incarnation)


def test_a_kill_from_outside_is_laid_to_nobody() -> None:
    assert loss_of(READY, -signal.SIGKILL, NOTED, out_of_memory=False) is None


texts = st.text(st.characters(codec="utf-8"), max_size=200)


@given(texts.filter(bool), texts, texts)
def test_what_is_noted_is_what_is_read_by_another_until_it_ends(key: str, command: str, command_id: str) -> None:
    fd = make_note()
    try:
        note = HandlerNote(fd)
        assert read_note(fd) is None
        note.begin(ActorId("account", key[:60]), command.replace(" ", "")[:60], command_id[:100])
        assert read_note(fd) == NotedHandler(
            kind="account", key=key[:60], command=command.replace(" ", "")[:60], command_id=command_id[:100]
        )
        note.end()
        assert read_note(fd) is None
    finally:
        os.close(fd)


def test_a_note_says_who_what_and_which() -> None:
    fd = make_note()
    note = HandlerNote(fd)
    note.begin(ActorId("account", "åse/ü 1"), "deposit", "c1")
    assert read_note(fd) == NotedHandler(kind="account", key="åse/ü 1", command="deposit", command_id="c1")  # fmt: skip
    note.begin(ActorId("account", "bob"), "", "")
    assert read_note(fd) == NotedHandler(kind="account", key="bob")
    os.close(fd)


def forks(world: World) -> list[Fork]:
    return [effect for effect in world.effects if isinstance(effect, Fork)]


def test_the_next_worker_of_the_slot_is_told_until_one_is_ready_and_the_line_names_the_handler() -> None:
    world = World(SupervisorConfig(workers=1, restart_first_s=0.5))
    world.all_ready()
    pid = world.in_slot(0)
    first = world.live[pid].incarnation
    world.dead.add(world.live.pop(pid).incarnation)
    effects = world.tell(Exited(pid, -11, NOTED))
    said = [effect.text for effect in effects if isinstance(effect, Say)]
    assert said[0] == (
        f"worker 0 (pid {pid}) was killed by SIGSEGV while it ran account/alice deposit (command id c1); "
        "it is noted as ended by that: SIGSEGV"
    )
    loss = Loss(handler=NOTED, cause="SIGSEGV", incarnation=first)
    assert forks(world)[-1].losses == (loss,)
    world.die(world.in_slot(0), 1)  # before it was ready: it may not have told
    world.pass_time(1.0)
    assert forks(world)[-1].losses == (loss,)
    world.all_ready()
    world.die(world.in_slot(0), 1)
    world.pass_time(1.0)
    assert forks(world)[-1].losses == ()


def test_a_crash_of_a_worker_that_drains_is_said_though_it_was_asked_to_go() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    world.tell(Asked(Request.DRAIN))
    pid = world.in_slot(0)
    world.dead.add(world.live.pop(pid).incarnation)
    effects = world.tell(Exited(pid, -11, NOTED))
    assert any("while it ran account/alice deposit" in e.text for e in effects if isinstance(e, Say))


def test_the_kernels_kills_for_memory_are_read_from_our_control_group(tmp_path: Path) -> None:
    proc, root = tmp_path / "cgroup", tmp_path / "fs"
    (root / "pool").mkdir(parents=True)
    (root / "memory/pool").mkdir(parents=True)
    proc.write_text("0::/pool\n")
    (root / "pool/memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert kills_for_memory(proc, root) == 2
    proc.write_text("12:memory:/pool\n1:name=systemd:/x\n")
    (root / "memory/pool/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert kills_for_memory(proc, root) == 5
    proc.write_text("0::/elsewhere\n")
    assert kills_for_memory(proc, root) == 0
    assert kills_for_memory(tmp_path / "nothing", root) == 0
