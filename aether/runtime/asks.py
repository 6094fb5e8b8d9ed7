"""Asks: calls from an actor's handler to other actors, over the worker's own connection.

An `Asks` belongs to a worker, a `HandlerAsks` to one run of a handler. An ask has the deadline of the command that the
handler runs for, and an id that is the same when the handler runs again, so that what was asked for happens once. It
names the actors that wait for it: one that waits already is not asked.

Handlers of several commands may wait for each other without a circle in any chain: then one of them is put off.
All of it runs on the worker's event loop. A handler that asks holds its actor and nothing else of the worker.
"""

import asyncio
import hashlib
import logging
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeAlias

import orjson

from aether.calls import Caller, Cause, InFlightLimit
from aether.config import CallConfig
from aether.core.actor.deadlock import Ask, WaitGraph, Waits, deadlock_of, lasting, put_off
from aether.errors import (
    ActorFailed,
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    Unavailable,
    mark_asked,
)
from aether.ids import ActorId
from aether.log_lines import words
from aether.model.ask_proxy import AskProxy
from aether.model.definition import CommandType
from aether.model.model import Model
from aether.model.proxy import ActorRef
from aether.names import shard_of
from aether.ports import Connection, Subscription
from aether.runtime.admission import CHAIN_MAX
from aether.runtime.counters import Counters
from aether.runtime.deadlocks import LOOK_TIMEOUT_S, look_at, waits_command
from aether.runtime.pending_command import PendingCommand
from aether.traced_calls import make_caller
from aether.wire import DEADLINE_AHEAD_MAX_S, Answer, Command, answer_error, decode_answer

LOOK_AFTER_S = 0.1
"""An ask without an answer for so long looks whether its handler waits for itself."""

LOOK_PAUSE_MAX_S = 2.0
"""How long it waits at most before it looks again."""

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, Any]], object]
"""Starts a task that the runtime owns."""

log = logging.getLogger("aether.asks")


class Asks:
    """What the handlers of one worker ask with. Made in the event loop that it belongs to.

    `command_types` are those whose handlers have asked: such a handler waits for other actors, so it runs only when no
    command before it waits for the same commit.
    """

    def __init__(
        self,
        model: Model,
        connection: Connection,
        config: CallConfig,
        jitter: Callable[[], float],
        spawn: Spawn,
        counters: Counters,
    ) -> None:
        self.model = model
        self.clock = connection.clock
        self.loop = asyncio.get_running_loop()
        self.command_types: set[CommandType] = set()
        self.in_flight_max = config.in_flight_max
        self._connection = connection
        self._config = replace(config, in_flight_max=sys.maxsize)  # each handler has room of its own
        self._jitter = jitter
        self.spawn = spawn
        self._counters = counters
        self._caller: Caller | None = None
        self._asking: dict[ActorId, HandlerAsks] = {}
        self._owners: Subscription | None = None
        self._following = False
        self._left: set[int] = set()

    def caller(self) -> Caller:
        """What sends the asks of all handlers."""
        if self._caller is None:
            self._caller = make_caller(
                self._connection.transport,
                self._connection.clock,
                self._config,
                new_id=_no_new_id,
                jitter=self._jitter,
                namespace=self._connection.namespace,
                server=self._connection.server,
            )
        if not self._following:
            self._following = True
            self.spawn(self._follow_owners())
        return self._caller

    def began(self, actor_id: ActorId, handler: "HandlerAsks") -> None:
        """A handler of an actor begins to ask."""
        self._asking[actor_id] = handler

    def ended(self, actor_id: ActorId, handler: "HandlerAsks") -> None:
        """It asks no more. Another one of its actor may have begun, after it was detached."""
        if self._asking.get(actor_id) is handler:
            del self._asking[actor_id]

    def waits_of(self, actor_id: ActorId) -> Waits:
        """What an actor's handler waits for; nothing when it does not ask."""
        handler = self._asking.get(actor_id)
        return Waits("", ()) if handler is None else handler.waits()

    def waits_here(self, actor_id: ActorId) -> Waits | None:
        """What an actor waits for whose handler asks in this worker, also while its shard is left; else None.

        Who asks another actor of a shard that is left waits for all whose handlers ask there: it goes after them.
        """
        handler = self._asking.get(actor_id)
        if handler is not None:
            return handler.waits()
        shard = shard_of(actor_id, self._connection.shards)
        left = [one for one in self._asking.values() if one.shard == shard] if shard in self._left else []
        return Waits("", tuple(Ask(one.chain[-1], one.waits().runs) for one in left)) if left else None

    async def look_elsewhere(self, actor_id: ActorId) -> Answer:
        """The answer to `aether.waits` of the worker that serves the actor. Raises `AetherError`."""
        payload = waits_command(self.clock.wall_s())
        answer = decode_answer(await self._connection.transport.request(actor_id, payload, LOOK_TIMEOUT_S))
        if answer.error is not None:
            raise answer_error(answer.error)
        return answer

    def leave(self, shard: int) -> None:
        """A shard takes no more commands: none that its handlers could make way for arrives any more."""
        self._left.add(shard)

    def serve(self, shard: int) -> None:
        """A shard takes commands."""
        self._left.discard(shard)

    def has_left(self, shard: int) -> bool:
        """Whether a shard takes no more commands."""
        return shard in self._left

    def was_put_off(self, actor_id: ActorId, deadlock: WaitGraph) -> None:
        """The handler of this actor was put off, so that the others of the deadlock go on."""
        self._counters.handlers_put_off += 1
        log.info(
            "handlers wait for each other: one is put off",
            extra={"actor": str(actor_id), "deadlock": sorted(deadlock)},
        )

    async def close(self) -> None:
        """Ask nothing more. Every handler, and every task of the worker, has ended or was cancelled before."""
        if self._caller is not None:
            self._caller.close()
        if self._owners is not None:
            await self._owners.stop()

    async def _follow_owners(self) -> None:
        """Hear of new owners, so that an ask that found none is sent again at once. From the first ask on."""
        try:
            self._owners = await self._connection.transport.follow_owners()
        except AetherError as error:  # asks are sent again with back-off all the same
            log.info("new owners are not followed now", extra={"error": words(error)})
            self._following = False


class HandlerAsks:
    """The asks of one run of a handler, until that ends.

    It has room of its own for asks in flight, so that it never waits for what other handlers wait for. Further asks
    wait for that room.
    """

    __slots__ = (
        "_actor_id",
        "_asks",
        "_counts",
        "_ended",
        "_looks",
        "_open",
        "_pending",
        "_put_off",
        "_room",
        "chain",
        "shard",
    )

    def __init__(self, asks: Asks, actor_id: ActorId, pending: PendingCommand, put_off: Callable[[], None]) -> None:
        self.chain = (*pending.command.chain, str(actor_id))
        self._asks = asks
        self._pending = pending
        self._put_off = put_off
        self._actor_id = actor_id
        self.shard = pending.deliveries[0].shard
        self._counts: dict[str, int] = {}
        self._open: dict[str, Ask] = {}
        self._room = InFlightLimit(asks.in_flight_max)
        self._looks = False
        self._ended = False
        asks.began(actor_id, self)

    def end(self) -> None:
        """The handler has ended, or is not waited for any more."""
        self._ended = True
        self._asks.ended(self._actor_id, self)

    def waits(self) -> Waits:
        """What the handler runs for, and its asks that have no answer."""
        command = self._pending.command
        return Waits(command.id, tuple(self._open.values()), (_correlation_of(command), *self.chain))

    def proxy(self, kind: ActorRef, key: str) -> Any:
        """The actor that is to be asked; every error is raised when a call of it is awaited."""
        return AskProxy(self._asks.model, kind, key, self._begin)

    def _begin(self, actor: str, command: str) -> "HandlerAsk":
        """Asks are counted for each actor that is asked: other branches of the handler, with other actors, may be
        sooner or later when it runs again."""
        number = self._counts[actor] = self._counts.get(actor, 0) + 1
        return HandlerAsk(self, actor, number, command)

    async def send(self, command_id: str, actor_id: ActorId, command: str, args: bytes) -> Answer:
        """The answer to the ask with this id."""
        self._check(actor_id, command)
        room = self._room
        if room.left:
            room.left -= 1
        else:
            await room.wait()
        try:
            return await self._sent(command_id, actor_id, command, args)
        finally:
            room.leave()

    async def _sent(self, command_id: str, actor_id: ActorId, command: str, args: bytes) -> Answer:
        """Ask until the handler's deadline, which another delivery of its command may put off meanwhile."""
        while True:
            expires_s = self._pending.expires_s
            try:
                return await self._sent_until(expires_s, command_id, actor_id, command, args)
            except (DeadlineExceeded, Unavailable, Overloaded):
                if self._pending.expires_s <= expires_s:
                    raise

    async def _sent_until(
        self, expires_s: float, command_id: str, actor_id: ActorId, command: str, args: bytes
    ) -> Answer:
        self._check_runs(actor_id)  # it may have ended while the ask waited for room
        asks, asking = self._asks, self._pending.command
        ends_s, left_s = self._deadline(expires_s, actor_id)
        cause = Cause(ends_s, _correlation_of(asking), asking.id, asking.traceparent, self.chain)
        self._open[command_id] = Ask(str(actor_id), command_id)
        look = asks.loop.call_later(LOOK_AFTER_S, self._begin_to_look)
        try:
            return await asks.caller().call(
                actor_id, command, args, deadline_s=left_s, command_id=command_id, cause=cause
            )
        finally:
            look.cancel()
            del self._open[command_id]

    def _deadline(self, expires_s: float, actor_id: ActorId) -> tuple[float, float]:
        """When an ask of this actor ends, in Unix seconds, and how many are left. Raises `DeadlineExceeded`."""
        now_s = self._asks.clock.wall_s()
        ends_s = min(expires_s, now_s + DEADLINE_AHEAD_MAX_S)
        if ends_s <= now_s:
            late = f"the deadline of {self._pending.type.name} passed before {actor_id} was asked"
            raise DeadlineExceeded(late, outcome_known=True)
        return ends_s, ends_s - now_s

    def _begin_to_look(self) -> None:
        if not self._looks:
            self._looks = True
            self._asks.spawn(self._look())

    async def _look(self) -> None:
        """Look whether the handler waits for itself, and have it put off when it is one that has to be."""
        actor, pause_s = self.chain[-1], LOOK_AFTER_S
        before: WaitGraph = {}
        try:
            while self._open and not self._ended:
                seen = await look_at(actor, self.waits(), self._asks)
                left = self._asks.has_left(self.shard)
                deadlock = deadlock_of(actor, seen if left else lasting(before, seen))
                # One whose shard is left yields whatever its path is: others cannot ask what it waits for, and what it
                # waits for may have to be asked of it where the shard goes.
                if ((deadlock and left) or put_off(actor, deadlock)) and not self._ended:
                    self._put_off()
                    self._asks.was_put_off(self._actor_id, deadlock)
                    break
                soon = left or deadlock_of(actor, seen)
                pause_s = LOOK_AFTER_S if soon else min(LOOK_PAUSE_MAX_S, 2 * pause_s)
                before = seen
                await asyncio.sleep(pause_s)
        finally:
            self._looks = False

    def id_of(self, actor: str, number: int) -> str:
        """The command id of the ask of this number of an actor, the same whenever and wherever the handler runs.

        A caller may give one id to commands of several actors, so the asking actor and its command are in it too.
        """
        asking = orjson.dumps([self.chain[-1], self._pending.type.name, self._pending.command.id])
        asked = actor.encode(errors="surrogatepass")  # a key that cannot be is refused when the ask is awaited
        return f"ask-{hashlib.sha256(asking + asked).hexdigest()[:32]}-{number}"

    def _check_runs(self, actor_id: ActorId) -> None:
        if self._ended or asyncio.get_running_loop() is not self._asks.loop:
            raise RuntimeError(f"{actor_id} can only be asked by the command handler that runs now")

    def _check(self, actor_id: ActorId, command: str) -> None:
        """Raise `ActorFailed` for what must not be asked, RuntimeError when this handler does not run here."""
        self._check_runs(actor_id)
        chain, asker = self.chain, self.chain[-1]
        if str(actor_id) in chain:
            shown = [*chain, str(actor_id)]
            message = f"{' asks '.join(shown)}: {actor_id} waits already, so it would wait for itself"
            raise ActorFailed(message, actor=asker, chain=shown)
        if len(chain) > CHAIN_MAX:
            message = f"{' asks '.join(chain)}: at most {CHAIN_MAX} actors may wait in a chain"
            raise ActorFailed(message, actor=asker, chain=list(chain))
        if self._pending.type.query and not self._asks.model.actor_type(actor_id.kind).commands[command].query:
            asked = f"asked {actor_id} for the command {command}"
            raise ActorFailed(f"the query {self._pending.type.name} {asked}: a query only reads", actor=asker)


class HandlerAsk:
    """One ask of a handler: of an actor (`kind/key`), the first of them, the second, and so on."""

    __slots__ = ("_actor", "_command", "_handler", "_id", "_number")

    def __init__(self, handler: HandlerAsks, actor: str, number: int, command: str) -> None:
        self._handler = handler
        self._actor = actor
        self._number = number
        self._command = command
        self._id = handler.id_of(actor, number)

    async def send(self, actor_id: ActorId, command: str, args: bytes) -> Answer:
        """The answer of the actor."""
        return await self._handler.send(self._id, actor_id, command, args)

    def mark(self, error: AetherError) -> None:
        """Note on an error that it is of this ask, and make it understandable to the handler's author."""
        asked = f"{self._actor}.{self._command}"
        if isinstance(error, InvalidCommand) and self._id in error.message:
            error.message = (
                f"{self._handler.chain[-1]} ran again and asked for something else: {asked}, its ask number "
                f"{self._number} of this actor, was another command or had other arguments before. What a handler asks "
                "for must not depend on the time, on chance, or on a state that other commands change meanwhile, and "
                "is the same in each version of the model that may run it"
            )
            error.args = (error.message,)
        mark_asked(error, asked)


def _correlation_of(command: Command) -> str:
    """What a command and all that it asks belong to."""
    return command.correlationid or command.id


def _no_new_id() -> str:
    raise AssertionError("an ask has an id")
