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
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import orjson

from aether.calls import Caller, Cause
from aether.config import CallConfig
from aether.core.actor.deadlock import Ask, Circle, Waits, put_off
from aether.errors import (
    ActorFailed,
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    Rejected,
    Unavailable,
    mark_asked,
)
from aether.ids import ActorId
from aether.log_lines import words
from aether.model.ask_proxy import AskProxy
from aether.model.definition import CommandType
from aether.model.model import Model
from aether.model.proxy import ActorRef
from aether.ports import Connection, Subscription
from aether.runtime.admission import CHAIN_MAX
from aether.runtime.counters import Counters
from aether.runtime.deadlocks import find_circle
from aether.runtime.pending_command import PendingCommand
from aether.traced_calls import make_caller
from aether.wire import DEADLINE_AHEAD_MAX_S, Answer

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
        self._connection = connection
        self._config = config
        self._jitter = jitter
        self.spawn = spawn
        self._counters = counters
        self._callers: dict[int, Caller] = {}
        self._asking: dict[ActorId, HandlerAsks] = {}
        self._owners: Subscription | None = None
        self._following = False

    def caller(self, depth: int) -> Caller:
        """What sends the asks of handlers that were themselves asked `depth` - 1 times over.

        Each depth has room of its own for asks in flight. An ask can only wait for asks of greater depth, so asks never
        wait for room that they hold themselves.
        """
        caller = self._callers.get(depth)
        if caller is None:
            caller = self._callers[depth] = make_caller(
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
        return caller

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

    def circle_ended(self, circle: Circle, actor_id: ActorId) -> None:
        """The handler of this actor was put off, so that the others of the circle go on."""
        self._counters.handlers_put_off += 1
        actors = [step.actor for step in circle]
        log.info(
            "handlers wait for each other: one is put off",
            extra={"actor": str(actor_id), "circle": actors},
        )

    async def close(self) -> None:
        """Ask nothing more. Every handler, and every task of the worker, has ended or was cancelled before."""
        for caller in self._callers.values():
            caller.close()
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
    """The asks of one run of a handler, until that ends."""

    __slots__ = (
        "_actor_id",
        "_asks",
        "_count",
        "_ended",
        "_looks",
        "_open",
        "_pending",
        "_prefix",
        "_put_off",
        "chain",
    )

    def __init__(self, asks: Asks, actor_id: ActorId, pending: PendingCommand, put_off: Callable[[], None]) -> None:
        self.chain = (*pending.command.chain, str(actor_id))
        self._asks = asks
        self._pending = pending
        self._prefix = _id_prefix(actor_id, pending)
        self._put_off = put_off
        self._actor_id = actor_id
        self._count = 0
        self._open: dict[int, Ask] = {}
        self._looks = False
        self._ended = False
        asks.began(actor_id, self)

    def end(self) -> None:
        """The handler has ended, or is not waited for any more."""
        self._ended = True
        self._asks.ended(self._actor_id, self)

    def waits(self) -> Waits:
        """What the handler runs for, and its asks that have no answer."""
        return Waits(self._pending.command.id, tuple(self._open.values()))

    def proxy(self, kind: ActorRef, key: str) -> Any:
        """The actor that is to be asked; every error is raised when a call of it is awaited."""
        return AskProxy(self._asks.model, kind, key, self._begin)

    def _begin(self, what: str) -> "HandlerAsk":
        self._count += 1
        return HandlerAsk(self, self._count, what)

    async def send(self, number: int, actor_id: ActorId, command: str, args: bytes) -> Answer:
        """The answer to the ask of this number, counted from 1."""
        asks, pending, chain = self._asks, self._pending, self.chain
        if self._ended or asyncio.get_running_loop() is not asks.loop:
            raise RuntimeError(f"{actor_id} can only be asked by the command handler that runs now")
        self._check(actor_id, command)
        now_s = asks.clock.wall_s()
        ends_s = min(pending.expires_s, now_s + DEADLINE_AHEAD_MAX_S)
        if ends_s <= now_s:
            late = f"the deadline of {pending.type.name} passed before {actor_id} was asked"
            raise DeadlineExceeded(late, outcome_known=True)
        asking = pending.command
        correlation_id = asking.correlationid or asking.id
        self._open[number] = Ask(str(actor_id), self.id_of(number))
        look = asks.loop.call_later(LOOK_AFTER_S, self._begin_to_look)
        try:
            return await asks.caller(len(chain)).call(
                actor_id,
                command,
                args,
                deadline_s=ends_s - now_s,
                command_id=self.id_of(number),
                cause=Cause(ends_s, correlation_id, asking.id, asking.traceparent, chain),
            )
        finally:
            look.cancel()
            del self._open[number]

    def _begin_to_look(self) -> None:
        if not self._looks:
            self._looks = True
            self._asks.spawn(self._look())

    async def _look(self) -> None:
        """Look whether the handler waits for itself, and have it put off when it is the one of the circle."""
        before: Circle | None = None
        pause_s = LOOK_AFTER_S
        try:
            while self._open and not self._ended:
                seen = await find_circle(self.chain[-1], self.waits(), self._asks.caller(0))
                if seen is not None and seen == before and put_off(seen) == self.chain[-1] and not self._ended:
                    self._put_off()
                    self._asks.circle_ended(seen, self._actor_id)
                    break
                pause_s = min(LOOK_PAUSE_MAX_S, 2 * pause_s) if seen is None else LOOK_AFTER_S
                before = seen
                await asyncio.sleep(pause_s)
        finally:
            self._looks = False

    def id_of(self, number: int) -> str:
        """The command id of the ask of this number."""
        return f"{self._prefix}{number}"

    def _check(self, actor_id: ActorId, command: str) -> None:
        """Raise `ActorFailed` for what must not be asked."""
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
    """One ask of a handler; `what` names it, as `account/bob.deposit`."""

    __slots__ = ("_handler", "_number", "_what")

    def __init__(self, handler: HandlerAsks, number: int, what: str) -> None:
        self._handler = handler
        self._number = number
        self._what = what

    async def send(self, actor_id: ActorId, command: str, args: bytes) -> Answer:
        """The answer of the actor."""
        return await self._handler.send(self._number, actor_id, command, args)

    def mark(self, error: AetherError) -> None:
        """Note on an error that it is of this ask, and make it understandable to the handler's author."""
        if isinstance(error, InvalidCommand) and self._handler.id_of(self._number) in error.message:
            error.message = (
                f"{self._handler.chain[-1]} ran again and asked for something else: its ask number {self._number}, of "
                f"{self._what}, was another command or had other arguments before. What a handler asks for must not "
                "depend on the time, on chance, or on a state that other commands change meanwhile"
            )
            error.args = (error.message,)
        mark_asked(error, self._what)


def refusal_to_ask(actor_id: ActorId, type_: CommandType) -> ActorFailed:
    """What a handler hears that asks and cannot await."""
    command = type_.name
    if type_.blocking:
        advice = "write it as `async def` and call what blocks with `await asyncio.to_thread(...)`"
        message = f"{command} is a blocking handler, which cannot await an answer; {advice}"
    else:
        message = f"{command} is a plain handler, which cannot await an answer; write it as `async def`"
    return ActorFailed(message, actor=str(actor_id))


def passed_on(error: BaseException, asked: str, command: str) -> AetherError:
    """What the caller of a command hears when its handler has not caught the error of an ask.

    `asked` is what was asked, as `account/bob.deposit`. A rejection is passed on and says who has rejected. No answer
    in time is the command's own deadline, which is the same: nothing of the command is stored. All else is the failure
    of the handler, also what is wrong with the arguments that it gave.
    """
    assert isinstance(error, AetherError)
    text = f"{asked}: {error.message}"
    if isinstance(error, Rejected):
        rejected = Rejected(text)
        rejected.details = {"rejected_by": asked, **error.details}
        return rejected
    if isinstance(error, DeadlineExceeded | Unavailable | Overloaded):
        late = f"{command} did not finish before its deadline; it waited for {text}"
        return DeadlineExceeded(late, outcome_known=True)
    if not isinstance(error, ActorFailed):
        return ActorFailed(f"{asked}: {type(error).__name__}: {error.message}")
    failed = ActorFailed(text)
    failed.details = error.details
    return failed


def _id_prefix(actor_id: ActorId, pending: PendingCommand) -> str:
    """The beginning of the ids of a command's asks: the same whenever and wherever its handler runs.

    A caller may give one id to commands of several actors, so the actor and the command are in it too.
    """
    asking = orjson.dumps([str(actor_id), pending.type.name, pending.command.id])
    return f"ask-{hashlib.sha256(asking).hexdigest()[:32]}-"


def _no_new_id() -> str:
    raise AssertionError("an ask has an id")
