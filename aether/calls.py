"""One call with its retries, deadline and command id. Clients use it, and handlers that ask another actor.

The command is sent again with the same command id until the deadline: for no owner, a lost reply, `Unavailable`
and `Overloaded`. Each send of an id that was made here says which one it is; the answer to an earlier send is dropped.
What comes of a call is therefore known, or said to be unknown.
"""

import asyncio
import logging
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from aether.config import CallConfig
from aether.core.actor.attempts import Attempts
from aether.core.backoff import Backoff
from aether.core.cluster.status import decode_status
from aether.errors import (
    AetherError,
    ClientUnusable,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    Unavailable,
    UnknownActor,
    UnknownCommand,
    asked_at,
)
from aether.ids import ActorId, checked_command_id
from aether.log_lines import printable
from aether.ports import Clock, NotSent, Transport
from aether.wire import DEADLINE_AHEAD_MAX_S, Answer, Command, answer_error, decode_answer, encode_command, instant

WHY_WAIT_S = 0.2
"""How long after its deadline a call that found no worker waits for a worker to say why."""

ATTEMPT_MIN_S = 0.01
"""A command is sent again only when more time is left than this, and then waited for so much less: else no answer
would come in time, and its outcome would not be known."""

ATTEMPT_DIGITS_MAX = 4
"""So much may a command grow when it is sent again."""

SAY_AFTER_S = 1.0
"""A call that has no answer for so long is logged."""

SAY_EVERY_S = 5.0
"""Of many such calls, and of one that goes on waiting, one line in so many seconds."""

log = logging.getLogger("aether.calls")


class InFlightLimit:
    """A limit on the calls in flight. A call over the limit waits in line until another one leaves.

    An `asyncio.Semaphore` is the same, but asks two coroutines for what is an addition below the limit.
    """

    __slots__ = ("_line", "left")

    def __init__(self, most: int) -> None:
        self.left = most
        self._line: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Wait until a call leaves, and take its place. To be called only at the limit."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():  # it was given to us in the same turn of the loop
                self.leave()
            raise

    def close(self, error: Callable[[], Exception]) -> None:
        """End the waits of all who stand in line, each with an error of its own."""
        while self._line:
            waiting = self._line.popleft()
            if not waiting.done():
                waiting.set_exception(error())

    def leave(self) -> None:
        """A call leaves; the next one in line takes its place."""
        while self._line:
            waiting = self._line.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self.left += 1


class Cause(NamedTuple):
    """The command whose handler calls another actor: what the call takes over from it.

    `ends_s` is the handler's deadline (Unix seconds), which is the call's too; `chain` names the actors that wait for
    the call's answer, outermost first, and the last of them is the caller.
    """

    ends_s: float
    correlation_id: str
    causation_id: str
    traceparent: str
    chain: tuple[str, ...]

    def passed_on(self, message: Command) -> Command:
        """The message with what it takes over."""
        return replace(
            message,
            deadline=instant(self.ends_s),
            correlationid=self.correlation_id,
            causationid=self.causation_id,
            traceparent=self.traceparent,
            caller=self.chain[-1],
            chain=self.chain,
        )


def _failed(attempts: Attempts, error: AetherError) -> bool:
    """A request raised: whether to ask again."""
    if isinstance(error, Unavailable):
        attempts.failed(error, sent=not isinstance(error, NotSent))
        return True
    if isinstance(error, InvalidCommand):  # the server that is there now takes smaller messages
        return attempts.refused(error, decided=False)
    attempts.failed(Unavailable(error.message), sent=True)  # bytes that are no answer say nothing of the outcome
    return True


class Caller:
    """Sends commands over a transport; at most `in_flight_max` at once, further callers wait their turn.

    It belongs to the event loop that it is made in. `namespace` and `server` say in errors and in the log what was
    asked. A call that has waited for `SAY_AFTER_S` is a line in the log, but not each of many.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        config: CallConfig,
        *,
        new_id: Callable[[], str],
        jitter: Callable[[], float],
        namespace: str = "",
        server: str = "",
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._config = config
        self.retry = Backoff(first_s=config.call_retry_first_s, cap_s=config.call_retry_max_s)
        self._new_id = new_id
        self._jitter = jitter
        self._in_flight = InFlightLimit(config.in_flight_max)
        self._namespace = namespace
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._open_in: object = self._loop  # no event loop when it is closed, so that a call compares once
        self._closed = False
        self._say_next_s = 0.0

    def check(self) -> None:
        """Raise `ClientUnusable` unless this is the event loop that it was made in and it is open."""
        if self._open_in is not _get_running_loop():
            raise self._unusable()

    def close(self) -> None:
        """Send nothing more. Calls that are open end with `ClientUnusable` when their requests or pauses end."""
        self._open_in, self._closed = self, True
        self._in_flight.close(self._unusable)

    async def call(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes,
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
        correlation_id: str = "",
        caller: str = "",
        traceparent: str = "",
        cause: Cause | None = None,
    ) -> Answer:
        """The answer to a command; `deadline_s` is relative, at most 60. A call that has a `cause` ends with it.

        Raises what the actor answers; `InvalidCommand` for a bad deadline, for a command id that only Aether makes, and
        for more bytes than can be sent;
        `ClientUnusable` in another event loop, and when it is closed or becomes so;
        `DeadlineExceeded(outcome_known=False)` when the last attempt has no answer;
        `Unavailable` or `Overloaded` when the deadline passed and nothing was done.
        """
        if self._open_in is not _get_running_loop():
            raise self._unusable()
        for_s = self._config.deadline_s if deadline_s is None else deadline_s
        if not 0 < for_s <= DEADLINE_AHEAD_MAX_S:
            raise _no_deadline(for_s)
        ends_s = self._clock.wall_s() + for_s
        message = Command(
            id=checked_command_id(command_id, "command_id") if command_id else self._new_id(),
            command=command,
            args=Raw(args),
            deadline=instant(ends_s),
            correlationid=correlation_id,
            caller=caller,
            traceparent=traceparent,
            attempt=0 if command_id else 1,
        )
        if cause is not None:
            ends_s, message = cause.ends_s, cause.passed_on(message)
        payload = encode_command(message)
        if len(payload) + ATTEMPT_DIGITS_MAX > self._transport.request_bytes_max:
            raise self._too_large(payload)
        # One coroutine for what most calls come to (docs/hot-path.md). Most have their answer at the first attempt, so
        # nothing is made for further attempts before.
        attempts, patience_s, left_s = None, self._config.attempt_timeout_s, for_s
        in_flight = self._in_flight
        if in_flight.left:
            in_flight.left -= 1
        else:
            await self._wait_in_line(command, for_s)
            left_s = ends_s - self._clock.wall_s()
        try:
            while left_s > 0:
                sent_s = self._loop.time()
                try:
                    raw = await self._transport.request(actor_id, payload, min(left_s, patience_s))
                    answer = decode_answer(raw)
                    if answer.error is None:
                        return answer
                except AetherError as error:
                    attempts = attempts or Attempts(actor_id, command, patience_s)
                    if not _failed(attempts, error):
                        break
                else:
                    attempts = attempts or Attempts(actor_id, command, patience_s)
                    if not attempts.refused(self._answered(answer_error(answer.error)), decided=answer.decided):
                        break
                await self._pause(attempts, actor_id, sent_s, ends_s, for_s)
                payload = _encoded_again(message, attempts)
                patience_s, left_s = attempts.patience_s, ends_s - self._clock.wall_s() - ATTEMPT_MIN_S
            attempts = attempts or Attempts(actor_id, command, patience_s)
            raise self._placed(await self._conclusion(attempts, message.id))
        finally:
            in_flight.leave()

    def _too_large(self, payload: bytes) -> InvalidCommand:
        size, most = len(payload) + ATTEMPT_DIGITS_MAX, self._transport.request_bytes_max
        return InvalidCommand(f"the command takes {size} bytes, at most {most} can be sent")

    async def _pause(self, attempts: Attempts, actor_id: ActorId, sent_s: float, ends_s: float, for_s: float) -> None:
        """Wait before the next attempt. Raises `ClientUnusable` when the client is closed."""
        if not self._closed:
            delay_s = self.retry.delay_s(attempts.count - 1, self._jitter())
            left_s = ends_s - self._clock.wall_s()
            if for_s - left_s > SAY_AFTER_S:
                self._say(attempts, for_s - left_s)
            await self._transport.owner_announced(actor_id, sent_s, max(0.0, min(delay_s, left_s)))
        if self._closed:
            raise attempts.closed()

    def _unusable(self) -> ClientUnusable:
        if self._closed:
            return ClientUnusable("this client is closed; nothing was sent")
        return ClientUnusable(
            "this client belongs to the event loop, thread and process that it was made in, which is another one; "
            "nothing was sent. Connect anew in each event loop"
        )

    def _answered(self, error: AetherError) -> AetherError:
        return self._placed(error) if isinstance(error, UnknownActor | UnknownCommand) else error

    def _placed(self, error: AetherError) -> AetherError:
        return asked_at(error, self._namespace, self._server) if self._namespace else error

    def _say(self, attempts: Attempts, waited_s: float) -> None:
        now_s = self._loop.time()
        if now_s >= self._say_next_s:
            self._say_next_s = now_s + SAY_EVERY_S
            text = "%s has no answer after %.1f s, and is asked for again (namespace %s at %s): %s"
            log.warning(text, printable(attempts.what), waited_s, self._namespace, self._server, attempts.last)

    async def _conclusion(self, attempts: Attempts, command_id: str) -> AetherError:
        """What to raise at the deadline. With the command's id a history tells what became of it."""
        error = await self._explained(attempts)
        if isinstance(error, DeadlineExceeded):
            error.details["command_id"] = command_id
        return error

    async def _explained(self, attempts: Attempts) -> AetherError:
        """What to raise at the deadline; where no worker serves the actor, with what the workers say of why."""
        if not attempts.reached_no_worker:
            return attempts.conclusion()
        reasons: dict[str, None] = {}

        def receive(raw: bytes) -> bool:
            status = decode_status(raw)
            if status is not None and status.why:
                reasons[status.why] = None
            return bool(reasons)

        await self._transport.ask_status(receive, WHY_WAIT_S)
        return attempts.conclusion("; ".join(reasons))

    async def _wait_in_line(self, command: str, for_s: float) -> None:
        try:
            async with asyncio.timeout(for_s):
                await self._in_flight.wait()
        except TimeoutError:
            message = f"{self._config.in_flight_max} calls were in flight until the deadline of {command}"
            raise Overloaded(message, limit="in_flight_max") from None


def _encoded_again(message: Command, attempts: Attempts) -> bytes:
    """The command for the next attempt: an id that was made here says which send of it this is."""
    return encode_command(replace(message, attempt=attempts.sends + 1) if message.attempt else message)


def _no_deadline(for_s: float) -> InvalidCommand:
    message = f"deadline_s is more than 0 and at most {DEADLINE_AHEAD_MAX_S:.0f}, not {for_s}"
    return InvalidCommand(message, path="deadline_s")
