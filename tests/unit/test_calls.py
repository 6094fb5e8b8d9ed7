"""Calls: the same bytes again until the deadline, and an outcome that is either known or said to be unknown."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from aether import ActorId, ClientUnusable, DeadlineExceeded, InvalidCommand, Overloaded, Rejected, Unavailable
from aether.calls import Caller, Cause, InFlightLimit
from aether.config import CallConfig
from aether.errors import AetherError, UnknownCommand
from aether.ports import Delivery, NotSent, Subscription
from aether.wire import decode_command, encode_answer, encode_error, instant

ALICE = ActorId("account", "alice")
DONE = encode_answer(b"7", 1, 1)


class Ticking:
    """A clock that moves by `step_s` whenever it is read."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.step_s = 1.0

    def wall_s(self) -> float:
        """One more step."""
        self.now_s += self.step_s
        return self.now_s

    def boot_s(self) -> float:
        """Not used by calls."""
        raise AssertionError("a call neither serves nor asks for the time since boot")


class Scripted:
    """A transport that does what the script says, its last line for ever."""

    request_bytes_max = 1_000

    def __init__(self, *script: bytes | AetherError) -> None:
        self._script = list(script)
        self.requests: list[bytes] = []
        self.timeouts_s: list[float] = []
        self.pauses_s: list[float] = []
        self.gate: asyncio.Event | None = None
        self.told: list[bytes] = []

    async def serve(self, shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        """Not used by calls."""
        raise AssertionError("a call neither serves nor asks for the time since boot")

    async def request(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> bytes:
        """The next line."""
        self.requests.append(payload)
        self.timeouts_s.append(timeout_s)
        if self.gate is not None:
            await self.gate.wait()
        line = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(line, AetherError):
            raise line
        return line

    def announce(self, shards: Sequence[int]) -> None:
        """Not used by calls."""
        raise AssertionError("a call is nobody's owner")

    async def follow_owners(self) -> Subscription:
        """Not used by calls."""
        raise AssertionError("whoever makes a caller follows the owners")

    async def answer_status(self, inform: Callable[[], bytes]) -> Subscription:
        """Not used by calls."""
        raise AssertionError("a call tells nobody how it is")

    async def ask_status(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Each worker's answer, until it is enough."""
        for told in self.told:
            if enough(told):
                return

    async def owner_announced(self, actor_id: ActorId, since_s: float, timeout_s: float) -> None:
        """Time does not pass here."""
        self.pauses_s.append(timeout_s)
        await asyncio.sleep(0)


def caller(transport: Scripted, clock: Ticking | None = None, in_flight_max: int = 10) -> Caller:
    """A caller whose retries come quickly."""
    ids = iter(f"c-{n}" for n in range(100))
    config = CallConfig(in_flight_max=in_flight_max)
    return Caller(transport, clock or Ticking(), config, new_id=lambda: next(ids), jitter=lambda: 0.0)


@pytest.mark.parametrize(
    "first", [NotSent("nobody"), Unavailable("lost"), encode_error(Unavailable("going")), encode_error(Overloaded("x"))]
)
async def test_what_may_be_retried_is_sent_again_as_the_same_command(first: bytes | AetherError) -> None:
    transport = Scripted(first, DONE)
    answer = await caller(transport).call(ALICE, "deposit", b"{}", deadline_s=60)
    assert bytes(answer.value) == b"7"
    assert len(transport.requests) == 2
    first_sent, second_sent = map(decode_command, transport.requests)
    assert first_sent.id == "c-0"
    assert replace(second_sent, attempt=first_sent.attempt) == first_sent


async def test_only_answers_that_did_not_come_make_an_attempt_wait_longer() -> None:
    nobody, late = [NotSent("nobody")], [Unavailable("late")]
    transport = Scripted(*nobody * 3, *late * 4, *nobody, DONE)
    await caller(transport).call(ALICE, "deposit", b"{}", deadline_s=60)
    assert transport.timeouts_s == [1, 1, 1, 1, 2, 4, 4, 4, 4]


@pytest.mark.parametrize("step_s", [0.9955, 0.9])
async def test_a_command_is_not_sent_again_when_no_answer_could_come_in_time(step_s: float) -> None:
    transport, clock = Scripted(NotSent("nobody"), Unavailable("lost")), Ticking()
    clock.step_s = step_s
    with pytest.raises(Unavailable if step_s > 0.99 else DeadlineExceeded):
        await caller(transport, clock).call(ALICE, "deposit", b"{}", deadline_s=2)
    assert len(transport.requests) == (1 if step_s > 0.99 else 2)


@pytest.mark.parametrize("error", [Rejected("no", balance=3), InvalidCommand("bad", path="amount")])
async def test_an_answer_that_is_final_is_not_asked_for_again(error: AetherError) -> None:
    transport = Scripted(encode_error(error))
    with pytest.raises(type(error)) as final:
        await caller(transport).call(ALICE, "deposit", b"{}", deadline_s=60, command_id="mine")
    assert final.value.details == error.details
    assert [decode_command(request).id for request in transport.requests] == ["mine"]


@pytest.mark.parametrize(
    ("script", "raised"),
    [
        ([NotSent("nobody")], Unavailable),
        ([encode_error(Overloaded("full"))], Overloaded),
        ([encode_error(Unavailable("going"))], Unavailable),
        ([Unavailable("lost")], DeadlineExceeded),
        ([Unavailable("lost"), NotSent("nobody")], DeadlineExceeded),
        ([Unavailable("lost"), encode_error(Overloaded("full"))], DeadlineExceeded),
        ([Unavailable("lost"), encode_error(DeadlineExceeded("cut", outcome_known=True))], DeadlineExceeded),
        ([encode_error(DeadlineExceeded("late"))], DeadlineExceeded),
    ],
)
async def test_at_the_deadline_nothing_was_done_or_the_outcome_is_unknown(
    script: list[bytes | AetherError], raised: type[AetherError]
) -> None:
    with pytest.raises(raised) as error:
        await caller(Scripted(*script)).call(ALICE, "deposit", b"{}", deadline_s=9)
    assert type(error.value) is raised
    if isinstance(error.value, DeadlineExceeded):
        assert not error.value.outcome_known


async def test_a_handler_that_was_cut_short_at_the_only_attempt_has_a_known_outcome() -> None:
    transport = Scripted(NotSent("nobody"), encode_error(DeadlineExceeded("cut", outcome_known=True)))
    with pytest.raises(DeadlineExceeded) as late:
        await caller(transport).call(ALICE, "deposit", b"{}", deadline_s=60)
    assert late.value.outcome_known


async def test_a_call_that_was_never_sent_has_done_nothing() -> None:
    transport = Scripted(DONE)
    transport.gate = asyncio.Event()
    calling = caller(transport, in_flight_max=1)
    first = asyncio.ensure_future(calling.call(ALICE, "deposit", b"{}"))
    await asyncio.sleep(0)
    waits = asyncio.ensure_future(calling.call(ALICE, "deposit", b"{}", deadline_s=0.5))
    await asyncio.sleep(0)
    transport.gate.set()
    await first
    with pytest.raises(DeadlineExceeded, match="before it was sent") as late:
        await waits
    assert late.value.outcome_known
    assert len(transport.requests) == 1


async def test_calls_beyond_the_bound_wait_for_room_and_give_it_back() -> None:
    transport = Scripted(DONE)
    transport.gate = asyncio.Event()
    calling = caller(transport, in_flight_max=2)
    calls = [asyncio.ensure_future(calling.call(ALICE, "deposit", b"{}", deadline_s=60)) for _ in range(4)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(transport.requests) == 2
    calls[0].cancel()
    calls[2].cancel()
    transport.gate.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["CancelledError", "Answer", "CancelledError", "Answer"]


async def test_room_that_is_given_to_who_is_cancelled_goes_to_the_next() -> None:
    limit = InFlightLimit(1)
    limit.left -= 1
    first, second = asyncio.ensure_future(limit.wait()), asyncio.ensure_future(limit.wait())
    await asyncio.sleep(0)
    limit.leave()
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.cancelled()
    limit.leave()
    assert limit.left == 1


async def test_a_caller_without_room_until_its_deadline_is_told_so() -> None:
    transport = Scripted(DONE)
    transport.gate = asyncio.Event()
    calling = caller(transport, in_flight_max=1)
    first = asyncio.ensure_future(calling.call(ALICE, "deposit", b"{}", deadline_s=60))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as full:
        await calling.call(ALICE, "deposit", b"{}", deadline_s=0.01)
    assert full.value.limit == "in_flight_max"
    transport.gate.set()
    assert bytes((await first).value) == b"7"


@pytest.mark.parametrize("deadline_s", [0, -1, 61, float("nan"), float("inf")])
async def test_a_deadline_that_cannot_be_is_refused(deadline_s: float) -> None:
    transport = Scripted(DONE)
    with pytest.raises(InvalidCommand) as refused:
        await caller(transport).call(ALICE, "deposit", b"{}", deadline_s=deadline_s)
    assert refused.value.path == "deadline_s"
    assert transport.requests == []


async def test_a_command_that_cannot_be_sent_is_not_sent_again() -> None:
    transport = Scripted(InvalidCommand("a command is at most 1000 bytes, this is 1200"), DONE)
    with pytest.raises(InvalidCommand, match="bytes"):
        await caller(transport).call(ALICE, "deposit", b"{}")
    assert len(transport.requests) == 1


async def test_bytes_that_are_no_answer_leave_the_outcome_unknown_and_are_asked_for_again() -> None:
    transport = Scripted(b"\xff", b"[]", DONE)
    assert bytes((await caller(transport).call(ALICE, "deposit", b"{}", deadline_s=60)).value) == b"7"
    assert {decode_command(request).id for request in transport.requests} == {"c-0"}
    with pytest.raises(DeadlineExceeded, match="cannot be read") as late:
        await caller(Scripted(b"\xff")).call(ALICE, "deposit", b"{}", deadline_s=9)
    assert not late.value.outcome_known


async def test_a_command_too_large_to_be_sent_is_refused() -> None:
    transport = Scripted(DONE)
    with pytest.raises(InvalidCommand, match="bytes"):
        await caller(transport).call(ALICE, "deposit", b'"%b"' % (b"x" * 1_000))
    assert transport.requests == []


async def test_a_caller_that_is_closed_sends_nothing_and_ends_what_is_open() -> None:
    transport = Scripted(NotSent("nobody"), Unavailable("late"), DONE)
    transport.gate = asyncio.Event()
    calling = caller(transport, in_flight_max=2)
    calls = [asyncio.ensure_future(calling.call(ALICE, "deposit", b"{}", deadline_s=60)) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    calling.close()
    transport.gate.set()
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in told] == [ClientUnusable] * 3
    assert [error.outcome_known for error in told if isinstance(error, ClientUnusable)] == [True, False, True]
    with pytest.raises(ClientUnusable, match="closed"):
        await calling.call(ALICE, "deposit", b"{}")
    assert len(transport.requests) == 2


def test_a_caller_is_refused_in_another_event_loop_and_without_one() -> None:
    transport = Scripted(DONE)

    async def made() -> Caller:
        return caller(transport)

    calling = asyncio.run(made())
    with pytest.raises(ClientUnusable, match="belongs to the event loop"):
        asyncio.run(calling.call(ALICE, "deposit", b"{}"))
    with pytest.raises(ClientUnusable, match="belongs to the event loop"):
        calling.call(ALICE, "deposit", b"{}").send(None)
    assert transport.requests == []


async def test_errors_and_the_log_say_who_was_asked_and_the_log_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    where = "namespace bank at nats://h:1"
    for line, lines in (
        (NotSent("nobody"), 1),
        (Unavailable("lost"), 1),
        (encode_error(UnknownCommand("no such command")), 0),
    ):
        caplog.clear()
        calling = Caller(Scripted(line), Ticking(), CallConfig(), new_id=lambda: "c", jitter=lambda: 0.0,
                         namespace="bank", server="nats://h:1")  # fmt: skip
        for _ in range(2):
            with pytest.raises(AetherError, match=where) as told:
                await calling.call(ALICE, "deposit", b"{}", deadline_s=30)
            assert told.value.details["namespace"] == "bank"
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == lines
        assert all(where in text for text in said)


async def test_a_call_takes_over_from_its_cause() -> None:
    clock = Ticking()
    ends_s = clock.now_s + 7.5
    cause = Cause(ends_s, "process-1", "c-0", "00-trace", ("order/o", "account/bob"))
    transport = Scripted(DONE)
    await caller(transport, clock).call(ALICE, "deposit", b"{}", deadline_s=60, command_id="x", cause=cause)
    sent = decode_command(transport.requests[0])
    assert (sent.id, sent.attempt, sent.deadline) == ("x", 0, instant(ends_s))
    assert (sent.correlationid, sent.causationid, sent.traceparent) == ("process-1", "c-0", "00-trace")
    assert (sent.chain, sent.caller) == (("order/o", "account/bob"), "account/bob")


async def test_a_call_ends_with_its_cause() -> None:
    clock = Ticking()
    cause = Cause(clock.now_s + 4, "", "c-0", "", ("order/o",))
    with pytest.raises(DeadlineExceeded):
        await caller(Scripted(Unavailable("late")), clock).call(ALICE, "deposit", b"{}", deadline_s=60, cause=cause)
    assert clock.now_s < cause.ends_s + 3
