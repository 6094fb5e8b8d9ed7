"""Whatever happens in whatever order: who is told that something is on the disk is told the truth, once.

The disk is a model: a sync that ends well has taken in what was written before it began. The loop and its clock are the
test's, and so is when a sync that the thread makes ends.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aether.ids import Position
from aether.system.block_files import Identity, SyncFailed
from aether.system.sync_barrier import LAZY_S, SyncBarrier

ENDS_S = 10.0
FAR = 10**18
"""A position that is not reached: a program may say that it has read it."""

FAILED = SyncFailed(5, "Input/output error")
OUTCOMES = (None, None, None, OSError(2, "not there"), FAILED)
LOG = "aether.barrier"


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock the test moves on, and which says when a thread has called it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.called = threading.Semaphore(0)

    def time(self) -> float:
        return self.now_s

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        handle = super().call_soon_threadsafe(*args, **options)
        self.called.release()
        return handle

    def step(self) -> None:
        """Run what is due now."""
        self.call_soon(self.stop)
        self.run_forever()


@dataclass
class Waiter:
    """One who waits, and what he was told. `needs` is up to where the stream he has seen must be on the disk."""

    stream: int
    needs: int
    since: int  # how many syncs had begun
    takes_a_sync: bool
    told: list[str] = field(default_factory=list)


class Barrier(RuleBasedStateMachine):
    """A barrier, the stream that it is of, and all who wait."""

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger(LOG).disabled = True
        self.loop = Loop()
        self.stream, self.end, self.identity = 1, 0, 1
        self.durable: dict[int, int] = {}
        self.began = 0
        self.ended: list[tuple[int, int]] = []
        """Of each sync that ended well: its number, and the stream that it was of."""
        self.outcome: Exception | None = None
        self.go, self.begun = threading.Event(), threading.Event()
        self.waiters: list[Waiter] = []
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.broken = self.held = self.closed = False
        self.held_since = 0
        self.barrier: Any = None
        self.barrier = self.within(self.made)

    def within(self, make: Callable[[], Any]) -> Any:
        """Call something in the event loop; a sync that the thread was asked for meanwhile has begun then."""

        async def call() -> Any:
            return make()

        if self.loop.is_running():
            return make()
        made = self.loop.run_until_complete(call())
        self.until_begun()
        return made

    def until_begun(self) -> None:
        if self.barrier is not None and self.barrier._in_thread is not None:
            assert self.begun.wait(ENDS_S)

    def made(self) -> SyncBarrier:
        return SyncBarrier(self.sync, self.failed.append, lambda: (0, self.identity))

    def sync(self) -> Identity:
        """One sync; in the thread it ends when the test says so."""
        self.law(not self.broken, "a sync after one that failed")
        self.law(not self.held, "a sync of a server of which nothing is proved")
        self.began += 1
        number, stream, end, identity = self.began, self.stream, self.end, self.identity
        if threading.current_thread() is not threading.main_thread():
            self.begun.set()
            assert self.go.wait(ENDS_S)
            self.go.clear()
            self.begun.clear()
        if self.outcome is not None:
            self.broken = isinstance(self.outcome, SyncFailed)
            raise self.outcome
        self.durable[stream] = max(self.durable.get(stream, 0), end)
        self.ended.append((number, stream))
        return 0, identity

    def settle(self) -> None:
        """Run the loop until nothing is due, and until a sync that the thread was asked for has begun."""
        for _ in range(6):
            self.loop.step()
            self.until_begun()

    def law(self, holds: bool, otherwise: str) -> None:
        """What must hold; where it is called an exception would only be logged."""
        if not holds:
            self.wrong.append(otherwise)

    def told(self, waiter: Waiter, why: str) -> None:
        waiter.told.append(why)
        self.law(len(waiter.told) == 1, "told twice")
        if why:
            return
        self.law(not self.broken, "told that it is durable after a sync that failed")
        enough = [number for number, _ in self.ended if number > waiter.since]
        self.law(bool(enough) or not waiter.takes_a_sync, "told without a sync of its own time")
        if self.held and waiter.needs:
            self.law(min(enough, default=FAR) <= self.held_since, "told while held")
        if waiter.stream == self.stream:
            on_disk = self.durable.get(self.stream, 0)
            self.law(on_disk >= waiter.needs, "told what is not on the disk")
            if self.ended and self.ended[-1][1] == self.stream:
                self.law(self.barrier.position <= on_disk, "a position that is not on the disk")

    def wait(self, after: Callable[[Position, Callable[[str], None]], None], position: int, *, write: bool = False,
             raises: bool = False, again: bool = False) -> None:  # fmt: skip
        waiter = Waiter(self.stream, min(position, self.end), self.began, write)
        self.waiters.append(waiter)

        def done(why: str) -> None:
            self.told(waiter, why)
            if again:
                self.wait(self.barrier.after_read, self.end)
            if raises:
                raise RuntimeError("a receiver of the test")

        def call() -> None:
            try:
                after(Position(position), done)
            except RuntimeError:
                self.law(raises, "an error of another one")

        self.within(call)

    # ---------------------------------------------------------------------------------------- who waits

    @rule(raises=st.booleans(), again=st.booleans())
    def write(self, raises: bool, again: bool) -> None:
        self.end += 1
        self.wait(self.barrier.after_write, self.end, write=True, raises=raises, again=again)

    @rule(more=st.integers(0, 2), back=st.integers(0, 2))
    def read(self, more: int, back: int) -> None:
        """What others may have stored."""
        self.end += more
        self.wait(self.barrier.after_read, max(0, self.end - back))

    @rule(more=st.integers(0, 2), back=st.integers(0, 2))
    def hear(self, more: int, back: int) -> None:
        self.end += more
        self.wait(self.barrier.after_notice, max(0, self.end - back))

    @rule()
    def hear_before_and_after_a_write(self) -> None:
        self.hear(more=1, back=0)
        self.write(raises=False, again=False)
        self.hear(more=1, back=0)

    @rule(asked=st.sampled_from([0, 1, FAR]))
    def ask(self, asked: int) -> None:
        self.wait(self.barrier.after_question, self.end if asked == 0 else asked)

    # ---------------------------------------------------------------------------------------- what happens

    @rule()
    def loop_runs(self) -> None:
        self.settle()

    @rule(much=st.booleans())
    def time_passes(self, much: bool) -> None:
        for _ in range(3 if much else 1):
            self.loop.now_s += LAZY_S if much else LAZY_S / 2
            self.settle()
        if much and not self.held and not self.begun.is_set():
            assert all(waiter.told for waiter in self.waiters)

    @initialize(slow=st.booleans())
    def disk_begins(self, slow: bool) -> None:
        self.disk_is(slow)

    @rule(slow=st.booleans())
    def disk_is(self, slow: bool) -> None:
        self.barrier._mean_s = float(FAR if slow else -FAR)  # however long the syncs of the test take

    @rule(outcome=st.sampled_from(OUTCOMES))
    def syncs_end_with(self, outcome: Exception | None) -> None:
        self.outcome = outcome

    @rule()
    def thread_ends(self) -> None:
        if not self.begun.is_set():
            return
        while self.loop.called.acquire(blocking=False):
            pass
        self.go.set()
        if not self.closed:
            assert self.loop.called.acquire(timeout=ENDS_S)
            self.settle()

    @rule(end=st.none() | st.integers(1, 3), proved=st.booleans(), meanwhile=st.booleans())
    def connection_is_another(self, end: int | None, proved: bool, meanwhile: bool) -> None:
        """With `end` it is a server that has other events in the same directory, as far as can be seen."""

        def hold() -> None:
            if meanwhile:
                self.write(raises=False, again=False)
            if not self.held:
                self.held, self.held_since = True, self.began
            self.barrier.hold()

        self.within(hold)
        assert self.barrier.position == 0
        if end is not None:
            self.stream, self.end = self.stream + 1, end
        if proved:
            self.is_proved()

    @rule()
    def is_proved(self) -> None:
        self.held = False
        self.within(self.barrier.go_on)
        self.settle()
        assert self.begun.is_set() or all(waiter.told for waiter in self.waiters)

    @rule(end=st.integers(1, 3))
    def a_sync_ends_after_another_server_has_come(self, end: int) -> None:
        """What it has made durable were positions of the server before."""
        self.connection_is_another(end=end, proved=True, meanwhile=False)
        self.thread_ends()
        self.read(more=0, back=0)

    @rule(end=st.integers(0, 3))
    def stream_is_made_anew(self, end: int) -> None:
        self.stream, self.end, self.identity = self.stream + 1, end, self.identity + 1

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert self.wrong == []
        assert len(self.failed) == self.broken

    # ---------------------------------------------------------------------------------------- the end

    def teardown(self) -> None:
        try:
            self.all_are_told()
            self.end_of_the_barrier()
        finally:
            self.outcome = None
            self.go.set()
            self.loop.close()
            logging.getLogger(LOG).disabled = False

    def all_are_told(self) -> None:
        """None who waits is forgotten: once it is proved again, and syncs end."""
        if self.held:
            self.is_proved()
        for _ in range(4):
            self.time_passes(much=True)
            if self.begun.is_set():
                self.thread_ends()
        assert all(waiter.told for waiter in self.waiters)
        self.nothing_is_wrong()

    def end_of_the_barrier(self) -> None:
        """Who waits is told; a sync that is under way, and fails, is told as a failure."""
        self.write(raises=False, again=False)
        self.settle()
        self.closed = True
        closing: Coroutine[Any, Any, bool] = self.barrier.close()
        self.outcome = FAILED if self.begun.is_set() else None
        self.go.set()
        assert self.loop.run_until_complete(closing)
        assert all(waiter.told for waiter in self.waiters)
        self.nothing_is_wrong()


Barrier.TestCase.settings = settings(stateful_step_count=40, max_examples=150, deadline=None)
TestBarrier = Barrier.TestCase
