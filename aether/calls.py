"""One call with its retries, deadline and command id. The client uses it, and whoever asks another actor.

The same bytes are sent again with the same command id until the deadline: for no owner, a lost reply, `Unavailable`
and `Overloaded`. What comes of a call is therefore known, or said to be unknown.
"""

import asyncio
from collections.abc import Callable

from msgspec import Raw

from aether.config import CallConfig
from aether.core.backoff import Backoff
from aether.errors import AetherError, DeadlineExceeded, InvalidCommand, Overloaded, Unavailable
from aether.ids import ActorId
from aether.ports import Clock, NotSent, Transport
from aether.wire import DEADLINE_AHEAD_MAX_S, Answer, Command, answer_error, decode_answer, encode_command, instant

RETRY = Backoff(first_s=0.02, cap_s=0.5)

PATIENCE_DOUBLINGS_MAX = 2
"""How often an attempt that got no answer doubles how long the next one waits."""


class Caller:
    """Sends commands over a transport; at most `in_flight_max` at once, further callers wait their turn."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        config: CallConfig,
        *,
        new_id: Callable[[], str],
        jitter: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._config = config
        self._new_id = new_id
        self._jitter = jitter
        self._room = asyncio.Semaphore(config.in_flight_max)

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
    ) -> Answer:
        """The answer to a command; `deadline_s` is relative, at most 60.

        Raises what the actor answers; `DeadlineExceeded(outcome_known=False)` when the last word is missing;
        `Unavailable` or `Overloaded` when the deadline passed and nothing was done.
        """
        for_s = self._config.deadline_s if deadline_s is None else deadline_s
        if not 0 < for_s <= DEADLINE_AHEAD_MAX_S:
            message = f"deadline_s is more than 0 and at most {DEADLINE_AHEAD_MAX_S:.0f}, not {for_s}"
            raise InvalidCommand(message, path="deadline_s")
        ends_s = self._clock.wall_s() + for_s
        payload = encode_command(
            Command(
                id=command_id or self._new_id(),
                command=command,
                args=Raw(args),
                deadline=instant(ends_s),
                correlationid=correlation_id,
                caller=caller,
            )
        )
        if len(payload) > self._transport.request_bytes_max:
            raise InvalidCommand(
                f"the command takes {len(payload)} bytes, at most {self._transport.request_bytes_max} can be sent"
            )
        room = self._room
        if not room.locked():
            async with room:
                return await self._attempts(actor_id, command, payload, ends_s)
        try:
            async with asyncio.timeout(for_s):
                await room.acquire()
        except TimeoutError:
            message = f"{self._config.in_flight_max} calls were in flight until the deadline of {command}"
            raise Overloaded(message, limit="in_flight_max") from None
        try:
            return await self._attempts(actor_id, command, payload, ends_s)
        finally:
            room.release()

    async def _attempts(self, actor_id: ActorId, command: str, payload: bytes, ends_s: float) -> Answer:
        attempt, unanswered, maybe_done = 0, 0, False
        last: AetherError | None = None
        while (left_s := ends_s - self._clock.wall_s()) > 0:
            sent_s = asyncio.get_running_loop().time()
            try:
                patience = 2 ** min(unanswered, PATIENCE_DOUBLINGS_MAX)
                timeout_s = min(left_s, self._config.attempt_timeout_s * patience)
                answer = decode_answer(await self._transport.request(actor_id, payload, timeout_s))
            except Unavailable as error:
                if not isinstance(error, NotSent):
                    maybe_done = True
                    unanswered += 1
                last = error
            else:
                if answer.error is None:
                    return answer
                last = answer_error(answer.error)
                if isinstance(last, DeadlineExceeded) and last.outcome_known and maybe_done:
                    break  # known of this attempt only: an earlier one may have reached another owner
                if not isinstance(last, Unavailable | Overloaded):
                    raise last
            left_s = ends_s - self._clock.wall_s()
            delay_s = max(0.0, min(RETRY.delay_s(attempt, self._jitter()), left_s))
            await self._transport.owner_announced(actor_id, sent_s, delay_s)
            attempt += 1
        if last is None:
            raise DeadlineExceeded(f"the deadline of {command} of {actor_id} passed before it was sent", True)
        if maybe_done:
            raise DeadlineExceeded(
                f"no answer to {command} of {actor_id} before the deadline, after {attempt} attempts; the last: {last}",
                outcome_known=False,
            )
        if isinstance(last, NotSent):
            raise Unavailable(f"no worker serves {actor_id} now: {last}")
        raise last
