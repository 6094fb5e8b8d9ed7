"""Whom a worker's death is laid to: laws of the blame, the note it is read from, what the next worker is told."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.config import EXIT_SYNC_FAILED
from aether.ids import ActorId
from aether.supervisor.blame import FATAL, loss_of
from aether.supervisor.messages import while_running
from aether.supervisor.state import Exited, Fork, Request, Say, SignalReceived, Slot, SupervisorConfig
from aether.system.handler_note import OTHERS_RAN_WITHIN_S, WorkerNote, make_note, read_note
from aether.system.memory_kills import kills_for_memory
from aether.worker.watch import noted_in
from aether.worker_protocol import NOTHING_NOTED, Loss, Noted, NotedHandler
from tests.support.supervised import World

NOTED = NotedHandler(kind="account", key="alice", command="deposit", command_id="c1", correlation_id="o-7")
ALICE = NotedHandler(kind="account", key="alice", command="deposit", command_id="c1")
BESIDE = NotedHandler(kind="account", key="bob", command="audit", command_id="c2")
READY = Slot(number=0, pid=7, incarnation="run-1", ready_at_s=1.0)
HUNG = Slot(number=0, pid=7, ready_at_s=1.0, killed=True, dumped_at_s=2.0)
codes = st.sampled_from([*(-number for number in FATAL), -9, -15, -1, 0, 1, 3, 4, EXIT_SYNC_FAILED])
slots = st.builds(
    Slot,
    number=st.just(0),
    ready_at_s=st.sampled_from([None, 1.0]),
    stopping_at_s=st.sampled_from([None, 2.0]),
    killed=st.booleans(),
)


def noted(*handlers: NotedHandler) -> Noted:
    """A note that says nothing about which of these it was."""
    return Noted(active=handlers, crash=handlers, hang=handlers)


@given(slots, codes, st.booleans())
def test_without_a_handler_nothing_is_blamed(slot: Slot, code: int, out_of_memory: bool) -> None:
    assert loss_of(slot, code, NOTHING_NOTED, out_of_memory) is None


@given(slots, codes, st.booleans())
def test_nothing_is_blamed_where_it_may_have_been_either(slot: Slot, code: int, out_of_memory: bool) -> None:
    assert loss_of(slot, code, noted(NOTED, BESIDE), out_of_memory) is None


@given(slots, codes, st.booleans())
def test_a_death_that_something_else_explains_is_no_handlers(slot: Slot, code: int, out_of_memory: bool) -> None:
    loss = loss_of(slot, code, noted(NOTED), out_of_memory)
    if -code in FATAL:
        assert loss is not None, "code raises such a signal by itself"
    elif slot.stopping_at_s is not None:
        assert loss is None, "it was asked to go, or drained for too long"
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
        (HUNG, -9, False, "a hang"),
    ],
)
def test_the_cause_is_said(slot: Slot, code: int, out_of_memory: bool, cause: str) -> None:
    loss = loss_of(slot, code, noted(NOTED), out_of_memory)
    assert loss is not None
    assert (loss.cause, loss.handler, loss.incarnation) == (cause, NOTED, slot.incarnation)


@pytest.mark.parametrize(
    ("slot", "code", "out_of_memory", "blamed"),
    [
        (READY, -11, False, BESIDE),  # the crash is laid to the thread that crashed
        (HUNG, -9, False, NOTED),  # the hang to what kept the loop
        (READY, 0, False, None),  # an exit to neither
        (READY, -9, True, None),  # and no more a kill for memory
    ],
)
def test_which_of_several_it_was_depends_on_how_the_worker_ended(
    slot: Slot, code: int, out_of_memory: bool, blamed: NotedHandler | None
) -> None:
    both = Noted(active=(NOTED, BESIDE), crash=(BESIDE,), hang=(NOTED,))
    loss = loss_of(slot, code, both, out_of_memory)
    assert (None if loss is None else loss.handler) == blamed


def test_a_crash_of_a_thread_that_ran_no_handler_is_laid_to_none() -> None:
    assert loss_of(READY, -11, Noted(active=(NOTED,), hang=(NOTED,)), out_of_memory=False) is None


def test_a_kill_from_outside_is_laid_to_no_handler() -> None:
    assert loss_of(READY, -signal.SIGKILL, noted(NOTED), out_of_memory=False) is None


texts = st.text(st.characters(codec="utf-8"), max_size=200)
NOW_S = 1_000.0


@contextmanager
def worker_note(threads: int = 2) -> Iterator[tuple[WorkerNote, int]]:
    fd = make_note()
    try:
        assert read_note(fd, NOW_S) == NOTHING_NOTED
        yield WorkerNote(fd, threads), fd
    finally:
        os.close(fd)


@contextmanager
def in_threads(note: WorkerNote, *handlers: NotedHandler) -> Iterator[list[int]]:
    """A thread for each of the handlers, which it runs; their identities."""
    idents: list[int] = []
    running, over = Barrier(len(handlers) + 1), Event()

    def run(handler: NotedHandler) -> None:
        page = note.of_thread()
        assert page is not None
        assert note.of_thread() is page
        page.begin(ActorId(handler.kind, handler.key), handler.command, handler.command_id, handler.correlation_id)
        running.wait()
        over.wait()
        page.end()

    threads = [Thread(target=run, args=(handler,)) for handler in handlers]
    for thread in threads:
        thread.start()
        assert thread.ident is not None
        idents.append(thread.ident)
    running.wait()
    try:
        yield idents
    finally:
        over.set()
        for thread in threads:
            thread.join()


@given(texts.filter(bool), texts, texts, texts)
def test_what_is_noted_is_what_is_read_by_another_until_it_ends(
    key: str, command: str, command_id: str, correlation_id: str
) -> None:
    name = command.replace(" ", "")[:60]
    with worker_note() as (note, fd):
        note.loop.begin(ActorId("account", key[:60]), name, command_id[:100], correlation_id[:128])
        handler = NotedHandler(
            kind="account",
            key=key[:60],
            command=name,
            command_id=command_id[:100],
            correlation_id=correlation_id[:128],
        )
        assert read_note(fd, NOW_S) == noted(handler)
        note.loop.end()
        assert read_note(fd, NOW_S) == NOTHING_NOTED


def test_a_note_says_who_what_and_which() -> None:
    with worker_note() as (note, fd):
        note.loop.begin(ActorId("account", "åse/ü 1"), "deposit", "c1", "")
        assert read_note(fd, NOW_S).active == (
            NotedHandler(kind="account", key="åse/ü 1", command="deposit", command_id="c1"),
        )
        note.loop.begin(ActorId("account", "bob"), "", "", "")
        assert read_note(fd, NOW_S).active == (NotedHandler(kind="account", key="bob"),)


def test_a_correlation_id_that_is_too_long_is_left_out() -> None:
    with worker_note() as (note, fd):
        note.loop.begin(ActorId("account", "alice"), "deposit", "c1", "x" * 129)
        assert read_note(fd, NOW_S).active == (ALICE,)


def test_what_a_worker_of_an_earlier_version_has_noted_is_read() -> None:
    with worker_note() as (_, fd):
        os.pwrite(fd, b"\1account deposit \5\2alicec1 and what was there before", 0)
        assert read_note(fd, NOW_S).active == (ALICE,)


def test_each_thread_has_its_own_page_until_there_are_more_than_were_said() -> None:
    with worker_note(threads=2) as (note, fd):
        note.loop.begin(ActorId("account", "alice"), "deposit", "c1", "o-7")
        third = NotedHandler(kind="account", key="carol", command="audit", command_id="c3")
        with in_threads(note, BESIDE, third):
            assert set(read_note(fd, NOW_S).active) == {NOTED, BESIDE, third}
            assert note.of_thread() is None
            note.loop.end()
            assert set(read_note(fd, NOW_S).active) == {BESIDE, third}
        assert read_note(fd, NOW_S) == NOTHING_NOTED


def test_the_stacks_say_which_thread_crashed() -> None:
    third = NotedHandler(kind="account", key="carol", command="audit", command_id="c3")
    with worker_note(threads=2) as (note, fd), in_threads(note, BESIDE, third) as (second_ident, third_ident):
        note.loop.begin(ActorId("account", "alice"), "deposit", "c1", "o-7")
        end = os.lseek(fd, 0, os.SEEK_END)
        for ident, crash in (
            (third_ident, (third,)),
            (second_ident, (BESIDE,)),
            (threading.get_ident(), (NOTED,)),
            (0x1234, ()),  # a thread that ran none of them
        ):
            stacks = f"Fatal Python error: Aborted\n\nThread 0x{1:016x} (most recent call first):\n  File 'x'\n\n"
            stacks += f"Current thread 0x{ident:016x} (most recent call first):\n  File 'y'\n"
            os.pwrite(fd, stacks.encode(), end)
            read = read_note(fd, NOW_S)
            assert read.crash == crash
            assert read.stacks == stacks
            assert set(read.active) == {NOTED, BESIDE, third}


def test_a_hang_is_the_loops_own_where_other_threads_get_to_run() -> None:
    with worker_note() as (note, fd), in_threads(note, BESIDE):
        assert read_note(fd, time.monotonic()).hang == (BESIDE,), "nothing is known"
        note.loop.begin(ActorId("account", "alice"), "deposit", "c1", "o-7")
        assert read_note(fd, time.monotonic()).hang == (NOTED, BESIDE)
        note.others_run()
        ran_s = time.monotonic()
        assert read_note(fd, ran_s).hang == (NOTED,)
        note.loop.end()
        assert read_note(fd, ran_s).hang == (), "something on the loop that is no handler"
        assert read_note(fd, ran_s + OTHERS_RAN_WITHIN_S).hang == (BESIDE,), "no thread but one gets to run"


def test_a_worker_that_ends_by_itself_was_ended_by_none_of_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faulthandler.enable", lambda _fd: None)
    fd = make_note()
    with noted_in(fd, threads=1) as note:
        assert note is not None
        note.loop.begin(ActorId("account", "alice"), "deposit", "c1", "o-7")
        assert read_note(fd, NOW_S).active == (NOTED,)
    assert read_note(fd, NOW_S) == NOTHING_NOTED
    os.close(fd)


def forks(world: World) -> list[Fork]:
    return [effect for effect in world.effects if isinstance(effect, Fork)]


def test_a_key_of_any_characters_begins_no_line_of_its_own() -> None:
    handler = NotedHandler(kind="account", key="a\nb", command="deposit", command_id="c\x1b1")
    assert while_running(noted(handler), None) == r" while it ran account/a\nb deposit (command id c\x1b1)"


def test_the_next_worker_of_the_slot_is_told_until_one_is_ready_and_the_line_names_the_handler() -> None:
    world = World(SupervisorConfig(workers=1, restart_first_s=0.5))
    world.all_ready()
    pid = world.in_slot(0)
    first = world.live[pid].incarnation
    world.dead.add(world.live.pop(pid).incarnation)
    effects = world.tell(Exited(pid, -11, noted(NOTED)))
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


def test_the_line_names_all_that_ran_and_which_it_was_if_that_is_known() -> None:
    one, both = "account/alice deposit (command id c1)", (NOTED, BESIDE)
    other = "account/bob audit (command id c2)"
    loss = Loss(handler=NOTED, cause="SIGSEGV", incarnation="run-1")
    assert while_running(NOTHING_NOTED, None) == ""
    assert while_running(noted(NOTED), None) == f" while it ran {one}"
    assert while_running(Noted(active=both), loss) == (
        f" while it ran {one}; it is noted as ended by that: SIGSEGV; beside it ran {other}"
    )
    unknown = "; which of them ended it, if one did, is not known"
    assert while_running(noted(*both), None) == f" while it ran {one}, {other}{unknown}"


def test_a_crash_of_a_worker_that_drains_is_said_though_it_was_asked_to_go() -> None:
    world = World(SupervisorConfig(workers=1))
    world.all_ready()
    world.tell(SignalReceived(Request.DRAIN))
    pid = world.in_slot(0)
    world.dead.add(world.live.pop(pid).incarnation)
    effects = world.tell(Exited(pid, -11, noted(NOTED)))
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
