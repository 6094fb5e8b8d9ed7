"""One call: its retries, its deadline, and what it says of the outcome."""

import asyncio
from collections.abc import Callable

import pytest

from aether import DeadlineExceeded, InvalidCommand, Overloaded, Rejected, Unavailable
from aether.calls import Caller
from aether.config import CallConfig
from aether.errors import AetherError
from aether.ids import ActorId
from aether.memory.clock import LoopClock
from aether.ports import Delivery, NotSent, Subscription
from aether.wire import decode_command, encode_answer, encode_error

ALICE = ActorId("account", "alice")
Say = Callable[[int], bytes | AetherError]


class ScriptedTransport:
    """A transport whose nth request is answered by a script: bytes, or an error that is raised."""

    request_bytes_max = 1_000

    def __init__(self, say: Say) -> None:
        self._say = say
        self.sent: list[bytes] = []
        self.timeouts_s: list[float] = []

    async def serve(self, shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        """Not asked here."""
        raise AssertionError("a caller serves nothing")

    async def request(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> bytes:
        """The script's word."""
        self.sent.append(payload)
        self.timeouts_s.append(timeout_s)
        said = self._say(len(self.sent))
        if isinstance(said, AetherError):
            raise said
        return said


def caller(say: Say, in_flight_max: int = 10) -> tuple[Caller, ScriptedTransport]:
    transport = ScriptedTransport(say)
    config = CallConfig(in_flight_max=in_flight_max)
    return Caller(transport, LoopClock(), config, new_id=lambda: "made-up", jitter=lambda: 0.0), transport


OK = encode_answer(b"7", 3, 9)


async def test_a_call_is_sent_again_with_the_same_bytes_until_it_is_answered() -> None:
    troubles: list[bytes | AetherError] = [
        NotSent("nobody"),
        Unavailable("lost"),
        encode_error(Overloaded("full")),
        encode_error(Unavailable("stopping")),
        OK,
    ]
    calls, transport = caller(lambda n: troubles[n - 1])
    answer = await calls.call(ALICE, "deposit", b'{"amount":1}')
    assert (bytes(answer.value), answer.version, answer.position) == (b"7", 3, 9)
    assert len(transport.sent) == 5
    assert len(set(transport.sent)) == 1
    assert decode_command(transport.sent[0]).id == "made-up"


async def test_only_answers_that_did_not_come_make_an_attempt_wait_longer() -> None:
    troubles = [NotSent("nobody")] * 3 + [Unavailable("late")] * 4 + [NotSent("nobody")]
    calls, transport = caller(lambda n: troubles[n - 1] if n <= len(troubles) else OK)
    await calls.call(ALICE, "deposit", b"{}", deadline_s=60)
    assert transport.timeouts_s == [1, 1, 1, 1, 2, 4, 4, 4, 4]


async def test_a_decision_is_final() -> None:
    calls, transport = caller(lambda n: encode_error(Rejected("no", balance=3)))
    with pytest.raises(Rejected) as refused:
        await calls.call(ALICE, "withdraw", b"{}", command_id="c-1")
    assert refused.value.details == {"balance": 3}
    assert decode_command(transport.sent[0]).id == "c-1"
    assert len(transport.sent) == 1


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (NotSent("nobody"), Unavailable),
        (encode_error(Overloaded("full")), Overloaded),
        (encode_error(Unavailable("stopping")), Unavailable),
    ],
)
async def test_when_nothing_was_done_the_deadline_says_so(
    trouble: bytes | AetherError, error: type[AetherError]
) -> None:
    calls, _ = caller(lambda n: trouble)
    with pytest.raises(error):
        await calls.call(ALICE, "deposit", b"{}", deadline_s=0.05)


async def test_one_lost_answer_makes_the_outcome_unknown_whatever_comes_after() -> None:
    calls, _ = caller(lambda n: Unavailable("lost") if n == 1 else NotSent("nobody"))
    with pytest.raises(DeadlineExceeded) as late:
        await calls.call(ALICE, "deposit", b"{}", deadline_s=0.05)
    assert not late.value.outcome_known


@pytest.mark.parametrize("deadline_s", [0, -1, 61, float("nan"), float("inf")])
async def test_a_deadline_that_cannot_be_is_named(deadline_s: float) -> None:
    calls, transport = caller(lambda n: OK)
    with pytest.raises(InvalidCommand) as refused:
        await calls.call(ALICE, "deposit", b"{}", deadline_s=deadline_s)
    assert refused.value.path == "deadline_s"
    assert not transport.sent


async def test_a_command_over_the_limit_is_not_sent() -> None:
    calls, transport = caller(lambda n: OK)
    with pytest.raises(InvalidCommand, match="bytes"):
        await calls.call(ALICE, "note", b'{"line":"%b"}' % (b"x" * 2_000))
    assert not transport.sent


async def test_calls_beyond_the_limit_wait_their_turn() -> None:
    gate = asyncio.Event()
    calls, transport = caller(lambda n: OK, in_flight_max=2)
    at_once = most = 0

    async def slow(actor_id: ActorId, payload: bytes, timeout_s: float) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        return OK

    transport.request = slow  # type: ignore[method-assign]  # the script, made slow
    sent = [asyncio.ensure_future(calls.call(ALICE, "deposit", b"{}")) for _ in range(6)]
    await asyncio.sleep(0)
    gate.set()
    assert len(await asyncio.gather(*sent)) == 6
    assert most == 2
