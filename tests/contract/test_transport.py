"""The laws of `Transport`: a command reaches the worker that serves its shard, or none, and its answer comes back."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.errors import (
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Rejected,
    ReplyNotDelivered,
    Unavailable,
)
from aether.ids import ActorId
from aether.names import shard_of
from aether.ports import Delivery, NotSent, Transport
from aether.wire import answer_error, decode_answer, encode_answer, encode_error
from tests.contract.harness import GUARD_S, SHARDS, Received, Side, Stage, World, actor_ids, budget

ALICE = ActorId("account", "alice")
SHARD = shard_of(ALICE, SHARDS)
PATIENT_S = 60.0
"""Longer than any guard: an answer that is lost fails the test."""

TOO_LARGE = 8 * 1024 * 1024
"""More bytes than a message of either side holds."""


def echo(delivery: Delivery) -> None:
    delivery.respond(b"echo " + delivery.payload)


async def test_no_worker_serves_a_shard_until_one_does(world: World) -> None:
    client, owner = await world.node(), await world.node()
    with pytest.raises(NotSent):
        await client.transport.request(ALICE, b"x", PATIENT_S)
    await owner.transport.serve(SHARD, echo)
    assert await client.transport.request(ALICE, b"x", PATIENT_S) == b"echo x"


def test_any_command_to_any_actor_arrives_whole_at_its_shard(adapters: Side) -> None:
    @budget(adapters)
    @given(actor_id=actor_ids, payload=st.binary(min_size=1, max_size=200), answer=st.binary(max_size=200))
    def law(actor_id: ActorId, payload: bytes, answer: bytes) -> None:
        with Stage(adapters) as stage:
            stage.run(ask(stage.world, actor_id, payload, answer))

    law()


async def ask(world: World, actor_id: ActorId, payload: bytes, answer: bytes) -> None:
    client, owner = await world.node(), await world.node()
    received: Received[Delivery] = Received()

    def serve(delivery: Delivery) -> None:
        received.receive(delivery)
        delivery.respond(answer)

    for shard in range(SHARDS):
        await owner.transport.serve(shard, serve)
    assert await client.transport.request(actor_id, payload, PATIENT_S) == answer
    assert [(d.shard, d.actor_id, d.payload) for d in received.items] == [
        (shard_of(actor_id, SHARDS), actor_id, payload)
    ]


async def test_the_owner_of_another_shard_does_not_receive_it(world: World) -> None:
    client, owner = await world.node(), await world.node()
    received: Received[Delivery] = Received()
    for shard in range(SHARDS):
        if shard != SHARD:
            await owner.transport.serve(shard, received.receive)
    with pytest.raises(NotSent):
        await client.transport.request(ALICE, b"x", PATIENT_S)
    assert received.items == []


async def test_each_request_gets_its_own_answer(world: World) -> None:
    client, owner = await world.node(), await world.node()
    received: Received[Delivery] = Received()
    await owner.transport.serve(SHARD, received.receive)
    requests = [asyncio.ensure_future(client.transport.request(ALICE, b"%d" % n, PATIENT_S)) for n in range(20)]
    for delivery in reversed(await received.count(20)):
        echo(delivery)
    assert await asyncio.gather(*requests) == [b"echo %d" % n for n in range(20)]


async def test_two_owners_both_receive_and_the_first_answer_counts(world: World) -> None:
    client, one, other = await world.node(), await world.node(), await world.node()
    first, second = Received[Delivery](), Received[Delivery]()
    await one.transport.serve(SHARD, first.receive)
    await other.transport.serve(SHARD, second.receive)
    request = asyncio.ensure_future(client.transport.request(ALICE, b"x", PATIENT_S))
    [delivery] = await second.count(1)
    delivery.respond(b"second")
    assert await request == b"second"
    (await first.count(1))[0].respond(b"first")
    assert await one.store.last(ALICE) is None


async def test_without_an_answer_in_time_it_is_unavailable(world: World) -> None:
    client, owner = await world.node(), await world.node()
    received: Received[Delivery] = Received()
    await owner.transport.serve(SHARD, received.receive)
    request = asyncio.ensure_future(client.transport.request(ALICE, b"x", 0.1))
    [delivery] = await received.count(1)
    world.pass_time(0.1)
    with pytest.raises(Unavailable) as late:
        await request
    assert not isinstance(late.value, NotSent)
    delivery.respond(b"too late")
    again = asyncio.ensure_future(client.transport.request(ALICE, b"y", PATIENT_S))
    echo((await received.count(2))[1])
    assert await again == b"echo y"


async def outcome(transport: Transport, payload: bytes) -> bytes | None:
    try:
        return await transport.request(ALICE, payload, PATIENT_S)
    except NotSent:
        return None


async def test_stop_hands_over_what_was_delivered_and_the_rest_hears_that_no_worker_is_there(world: World) -> None:
    client, owner = await world.node(), await world.node()
    received: Received[Delivery] = Received()
    service = await owner.transport.serve(SHARD, received.receive)
    # Large enough that the first is received while others are still on their way.
    payloads = [b"%d" % n + b"x" * 50_000 for n in range(100)]
    requests = [asyncio.create_task(outcome(client.transport, payload)) for payload in payloads]
    await received.count(1)
    await service.stop()
    delivered = list(received.items)
    for delivery in delivered:
        echo(delivery)
    answers = [answer for answer in await asyncio.gather(*requests) if answer is not None]
    assert sorted(answers) == sorted(b"echo " + delivery.payload for delivery in delivered)
    await service.stop()
    assert await outcome(client.transport, b"after") is None
    assert received.items == delivered


async def test_a_shard_is_served_by_the_next_owner_after_a_handoff(world: World) -> None:
    client, one, other = await world.node(), await world.node(), await world.node()
    service = await one.transport.serve(SHARD, lambda delivery: delivery.respond(b"one"))
    assert await client.transport.request(ALICE, b"x", PATIENT_S) == b"one"
    await service.stop()
    await other.transport.serve(SHARD, lambda delivery: delivery.respond(b"other"))
    assert await client.transport.request(ALICE, b"x", PATIENT_S) == b"other"


async def test_a_command_that_is_too_large_is_refused_and_the_largest_arrives(world: World) -> None:
    client, owner = await world.node(), await world.node()
    await owner.transport.serve(SHARD, lambda delivery: delivery.respond(b"%d" % len(delivery.payload)))
    largest = client.transport.request_bytes_max
    with pytest.raises(InvalidCommand):
        await client.transport.request(ALICE, b"x" * (2 * largest), PATIENT_S)
    assert await client.transport.request(ALICE, b"x" * largest, PATIENT_S) == b"%d" % largest


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (encode_answer(b'"%b"' % (b"x" * TOO_LARGE), 5, 9), ReplyNotDelivered),
        (encode_error(Rejected("no", balance=3, list="x" * TOO_LARGE)), Rejected),
        (encode_error(InvalidCommand("x" * TOO_LARGE, path="amount")), InvalidCommand),
        (encode_error(DeadlineExceeded("late", outcome_known=True, more="x" * TOO_LARGE)), DeadlineExceeded),
    ],
)
async def test_an_answer_that_is_too_large_tells_its_outcome(
    world: World, answer: bytes, told: type[AetherError]
) -> None:
    client, owner = await world.node(), await world.node()
    await owner.transport.serve(SHARD, lambda delivery: delivery.respond(answer))
    body = decode_answer(await client.transport.request(ALICE, b"x", PATIENT_S)).error
    assert body is not None
    error = answer_error(body)
    assert type(error) is told
    if isinstance(error, ReplyNotDelivered):
        assert (error.version, error.position) == (5, 9)
    if isinstance(error, Rejected):
        assert error.details == {"balance": 3, "left_out": ["list"]}
    if isinstance(error, DeadlineExceeded):
        assert error.outcome_known


async def test_namespaces_do_not_serve_each_other(world: World) -> None:
    one, other = await world.node("one"), await world.node("other")
    await one.transport.serve(SHARD, echo)
    with pytest.raises(NotSent):
        await other.transport.request(ALICE, b"x", PATIENT_S)


# ------------------------------------------------------------------------------------------------ word of new owners


def actor_beside(actor_id: ActorId) -> ActorId:
    """An actor of another shard."""
    found = (ActorId("account", f"k{n}") for n in range(1_000))
    return next(each for each in found if shard_of(each, SHARDS) != shard_of(actor_id, SHARDS))


BOB = actor_beside(ALICE)
BOBS = shard_of(BOB, SHARDS)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def heard(client: Transport, actor_id: ActorId, since_s: float) -> None:
    """Return when an announcement of the actor's shard was heard."""
    async with asyncio.timeout(GUARD_S):
        await client.owner_announced(actor_id, since_s, PATIENT_S)


async def test_an_announcement_wakes_the_callers_that_wait_for_its_shard_and_no_others(world: World) -> None:
    client, owner = (await world.node()).transport, (await world.node()).transport
    await client.follow_owners()
    since_s = now_s()
    waiting = [asyncio.create_task(heard(client, ALICE, since_s)) for _ in range(3)]
    other = asyncio.create_task(client.owner_announced(BOB, since_s, PATIENT_S))
    await asyncio.sleep(0)
    owner.announce([SHARD])
    await asyncio.gather(*waiting)
    assert not other.done()
    owner.announce([(BOBS + 1) % SHARDS if (BOBS + 1) % SHARDS != SHARD else (BOBS + 2) % SHARDS, BOBS])
    async with asyncio.timeout(GUARD_S):
        await other


async def test_an_announcement_before_the_wait_counts_if_it_came_after_the_request(world: World) -> None:
    client, owner = (await world.node()).transport, (await world.node()).transport
    await client.follow_owners()
    sent_s = now_s()
    owner.announce([SHARD])
    await heard(client, ALICE, sent_s)
    await heard(client, ALICE, sent_s)
    # After it nobody was announced: this wait is woken by the next one only.
    later = asyncio.create_task(heard(client, ALICE, now_s()))
    marker_s = now_s()
    owner.announce([BOBS])
    await heard(client, BOB, marker_s)
    assert not later.done()
    owner.announce([SHARD])
    await later


async def test_waiting_for_an_announcement_ends_in_time(world: World) -> None:
    client = (await world.node()).transport
    await client.follow_owners()
    async with asyncio.timeout(GUARD_S):
        await client.owner_announced(ALICE, now_s(), 0.01)
        await client.owner_announced(ALICE, now_s(), 0.0)


async def test_a_request_in_flight_ends_when_its_shard_gets_another_owner(world: World) -> None:
    client, one, other = [(await world.node()).transport for _ in range(3)]
    received: Received[Delivery] = Received()
    await client.follow_owners()
    for shard in (SHARD, BOBS):
        await one.serve(shard, received.receive)
    asked = [asyncio.ensure_future(client.request(actor_id, b"x", PATIENT_S)) for actor_id in (ALICE, ALICE, BOB)]
    deliveries = await received.count(3)
    other.announce([SHARD])
    for task in asked[:2]:
        with pytest.raises(Unavailable) as moved:
            async with asyncio.timeout(GUARD_S):
                await task
        assert not isinstance(moved.value, NotSent), "it may have been carried out"
    [bobs] = [delivery for delivery in deliveries if delivery.actor_id == BOB]
    assert not asked[2].done()
    for delivery in deliveries:
        delivery.respond(b"late")
    assert await asked[2] == b"late"
    assert bobs.shard == BOBS
    again = asyncio.ensure_future(client.request(ALICE, b"y", PATIENT_S))
    (await received.count(4))[3].respond(b"fresh")
    assert await again == b"fresh", "a request of its own gets no answer of an earlier one"


async def test_who_does_not_follow_owners_is_not_interrupted(world: World) -> None:
    client, following, owner = [(await world.node()).transport for _ in range(3)]
    received: Received[Delivery] = Received()
    followed = await following.follow_owners()
    await owner.serve(SHARD, received.receive)
    asked = asyncio.ensure_future(client.request(ALICE, b"x", PATIENT_S))
    [delivery] = await received.count(1)
    since_s = now_s()
    owner.announce([SHARD])
    await heard(following, ALICE, since_s)
    assert not asked.done()
    delivery.respond(b"answer")
    assert await asked == b"answer"
    await followed.stop()
    await followed.stop()
    asked = asyncio.ensure_future(following.request(ALICE, b"x", PATIENT_S))
    delivery = (await received.count(2))[1]
    owner.announce([SHARD])
    delivery.respond(b"answer")
    assert await asked == b"answer"


async def test_an_announcement_of_nothing_or_without_a_listener_is_nothing(world: World) -> None:
    client, owner = (await world.node()).transport, (await world.node()).transport
    owner.announce([SHARD])
    owner.announce([])
    await client.follow_owners()
    since_s = now_s()
    owner.announce([])
    owner.announce([SHARD])
    await heard(client, ALICE, since_s)


async def test_namespaces_do_not_hear_of_each_others_owners(world: World) -> None:
    one, other, owner = (await world.node("one")), (await world.node("other")), (await world.node("other"))
    await one.transport.follow_owners()
    await other.transport.follow_owners()
    since_s = now_s()
    waiting = asyncio.create_task(one.transport.owner_announced(ALICE, since_s, PATIENT_S))
    owner.transport.announce([SHARD])
    await heard(other.transport, ALICE, since_s)
    assert await one.store.last(ALICE) is None
    assert not waiting.done()
    waiting.cancel()


async def test_some_worker_answers_for_the_pool_while_it_does(world: World) -> None:
    client, worker = (await world.node()).transport, (await world.node()).transport
    with pytest.raises(NotSent):
        await client.ask_info()
    told = await worker.info(lambda: b"a schema")
    assert await client.ask_info() == b"a schema"
    elsewhere = (await world.node("two")).transport
    with pytest.raises(NotSent):
        await elsewhere.ask_info()
    await told.stop()
    with pytest.raises(NotSent):
        await client.ask_info()


async def test_who_hangs_up_waits_for_nothing_any_more(world: World) -> None:
    client, worker = await world.node(), await world.node()
    received: Received[Delivery] = Received()
    await worker.transport.serve(SHARD, received.receive)
    await client.transport.follow_owners()
    loop = asyncio.get_running_loop()
    request = asyncio.ensure_future(client.transport.request(ALICE, b"x", PATIENT_S))
    owner = asyncio.ensure_future(client.transport.owner_announced(ALICE, loop.time() + PATIENT_S, PATIENT_S))
    await received.count(1)
    client.transport.hang_up()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(request, GUARD_S)
    await asyncio.wait_for(owner, GUARD_S)


async def test_every_worker_says_what_it_has_measured_until_it_stops(world: World) -> None:
    client, one, other = [(await world.node()).transport for _ in range(3)]
    elsewhere = (await world.node("two")).transport
    told = [await one.answer_metrics(lambda: b"one"), await other.answer_metrics(lambda: b"other")]
    await elsewhere.answer_metrics(lambda: b"elsewhere")
    await one.answer_status(lambda: b"a status")

    async def ask(count: int, timeout_s: float) -> list[bytes]:
        heard: list[bytes] = []

        def enough(raw: bytes) -> bool:
            heard.append(raw)
            return len(heard) >= count

        await asyncio.wait_for(client.ask_metrics(enough, timeout_s), GUARD_S)
        return sorted(heard)

    assert await ask(2, PATIENT_S) == [b"one", b"other"]
    assert len(await ask(1, PATIENT_S)) == 1, "it is asked no longer than it wants"
    assert await ask(3, 0.2) == [b"one", b"other"], "it does not wait for longer than was said"
    await told[0].stop()
    assert await ask(1, PATIENT_S) == [b"other"]
    await told[1].stop()
    assert await ask(1, PATIENT_S) == [], "where nobody answers it returns at once"
