"""One actor's state as it changes: read once, then folded on with each commit as it is stored.

A `StateStream` holds commits that its reader has not taken yet, a bounded number, and belongs to one reader. It folds
with the reader's own model, when the reader asks for the next state; workers are asked for the first one only, and for
another one when the reader has fallen too far behind.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

from msgspec import MsgspecError

from aether.errors import ActorFailed, AetherError
from aether.ids import ActorId, Position
from aether.live_stream import Begin, LiveStream
from aether.log_lines import shown
from aether.model.definition import ActorState, ActorType, Detached
from aether.ports import StoredCommit
from aether.runtime.fold import Fold
from aether.runtime.state_query import decode_state_reply
from aether.wire import Answer, decode_commit

S = TypeVar("S")

COMMITS_BEHIND_MAX = 1_024
"""Commits that a `StateStream` holds for its reader; one that is further behind goes on with the state of then."""


def typed_state(answer: Answer, actor_id: ActorId, actor_type: ActorType) -> ActorState[Any]:
    """The answer to a question for the state, as the model has it. Raises `AetherError` for one of another type."""
    try:
        return decode_state_reply(bytes(answer.value), Position(answer.position), actor_type)
    except (MsgspecError, ValueError) as error:
        raise AetherError(f"the state of {actor_id} is not of the type that this model declares: {error}") from None


class StateStream(LiveStream, Generic[S]):
    """An actor's state when it was entered, then its state after each commit; iterating enters it by itself.

    No commit is left out, in the order of versions, unless the reader is more than `COMMITS_BEHIND_MAX` commits behind:
    then the next state is the latest. Iterating raises `UnreadableEvent`, `ActorFailed` or `HistoryRegressed` for a
    commit that the model cannot add, and no state comes after that; `Unavailable` or
    `DeadlineExceeded(outcome_known=True)` when a state cannot be read in time, and the next step tries again;
    `ClientUnusable` when its client is closed. `ask` asks for the state now, `read` gives the
    commits after a position.
    """

    def __init__(
        self,
        actor_id: ActorId,
        actor_type: ActorType,
        *,
        begin: Begin,
        ask: Callable[[], Awaitable[Answer]],
        read: Callable[[Position], AsyncIterator[list[StoredCommit]]],
    ) -> None:
        super().__init__(begin)
        self._actor_id = actor_id
        self._actor_type = actor_type
        self._ask = ask
        self._read = read
        self._fold: Fold
        self._waiting: deque[StoredCommit] = deque()
        self._behind = False
        self._changed = False

    async def stop(self) -> None:
        """Receive no more; what has been received can still be read, and iterating ends then. Idempotent."""
        await self._stop()

    async def _begun(self) -> None:
        await self._catch_up()

    async def __anext__(self) -> ActorState[S]:
        if not self._entered and not self._stopped and self._over is None:
            await self.__aenter__()
        while not self._changed:
            if self._over is not None:
                raise self._over
            if self._behind and not self._stopped:
                await self._catch_up()
            elif self._waiting and not self._behind:
                self._add(self._waiting.popleft())
            else:
                await self._wait()
        self._changed = False
        return self._copy()

    def _receive(self, commit: StoredCommit) -> None:
        if len(self._waiting) >= COMMITS_BEHIND_MAX:
            self._waiting.clear()
            self._behind = True
        self._waiting.append(commit)
        self._received.set()

    async def _catch_up(self) -> None:
        """Go on from the state now. What was stored just before may not be in it yet, and is not received either."""
        self._behind = False
        try:
            found = typed_state(await self._ask(), self._actor_id, self._actor_type)
            stored = [commit async for batch in self._read(found.position) for commit in batch]
        except BaseException:
            self._behind = True
            raise
        self._fold = Fold(self._actor_id, self._actor_type)
        self._fold.state, self._fold.version, self._fold.position = found.state, found.version, found.position
        self._waiting.extendleft(reversed(stored))
        self._changed = True

    def _add(self, commit: StoredCommit) -> None:
        try:
            events = decode_commit(commit.payload, self._actor_id, commit.position)
            if events[-1].version > self._fold.version:
                self._fold.apply(events, commit.position)
                self._changed = True
        except AetherError as error:
            self.end(error)
            raise

    def _copy(self) -> ActorState[S]:
        actor_id, version, actor_type = self._actor_id, self._fold.version, self._actor_type
        try:
            raw = actor_type.encode_state(self._fold.state)
            state = actor_type.decode_state(raw, actor_id, Detached(actor_id, version))
        except Exception as error:
            text = f"the state of {actor_id} at version {version} cannot be shown: {shown(error)}"
            raise ActorFailed(text, actor=str(actor_id)) from error
        return ActorState(actor_id, version, self._fold.position, state, actor_type.state_values(state))
