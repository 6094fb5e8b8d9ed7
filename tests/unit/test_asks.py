"""Asks between actors: answers, errors, cycles, ids, deadlines, and what may be asked from where."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from aether import (
    Actor,
    ActorFailed,
    ActorId,
    DeadlineExceeded,
    Model,
    ModelError,
    Overloaded,
    Rejected,
    Runtime,
    Unavailable,
    command,
)
from aether.config import CallConfig
from aether.errors import AetherError
from aether.memory.faults import FaultPoint, Faults, Lost, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.runtime.ask_errors import passed_on
from aether.testing import given, local_pool, local_runtime
from tests.support.asking import AMOUNTS, GATES, KEPT, LEFT, WAITING, Node, Purse, Visited, model
from tests.support.nodes import QUIET, history, node, send, until
from tests.support.nodes import command as sent

DEAF = replace(QUIET, follow_stored=False)
"""Another owner's commit is found by a conflict only."""


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with local_runtime(model) as started:
        yield started


@pytest.fixture(autouse=True)
def _new_world() -> None:
    for kept in (WAITING, AMOUNTS, KEPT, LEFT):
        kept.clear()
    GATES.clear()


# ---------------------------------------------------------------------------------------------- answers


async def test_an_actor_asks_others_for_commands_and_queries(runtime: Runtime) -> None:
    assert await runtime.actor(Node, "a").walk(["b", "c"]) == ["c", "b", "a"]
    assert await runtime.actor(Node, "a").depth(["b", "c", "d"]) == 4
    assert [event.type for event in await history(runtime, ActorId("node", "c"))] == ["Visited"]


async def test_a_kind_may_be_named(runtime: Runtime) -> None:
    with pytest.raises(ActorFailed, match=r"purse/other\.put: InvalidCommand: .*int"):
        await runtime.actor(Purse, "p").ask_badly("args")


async def test_workers_ask_each_other() -> None:
    async with local_pool(model, workers=3) as pool:
        path = [f"n{n}" for n in range(12)]
        assert len({pool.worker_of(Node, key).slot for key in path}) == 3
        assert await pool.client.actor(Node, "first").walk(path) == [*reversed(path), "first"]


async def test_events_show_who_caused_them(runtime: Runtime) -> None:
    first = sent("walk", id="c-1", path=["b", "c"])
    await send(runtime, ActorId("node", "a"), first)
    [a], [b], [c] = [await history(runtime, ActorId("node", key)) for key in "abc"]
    assert (a.commandid, a.causationid, a.correlationid) == ("c-1", "c-1", "c-1")
    assert (b.causationid, b.correlationid) == ("c-1", "c-1")
    assert (c.causationid, c.correlationid) == (b.commandid, "c-1")
    assert [bytes(one.data) for one in (a, b, c)] == [b'{"by":""}', b'{"by":"node/a"}', b'{"by":"node/b"}']
    assert a.deadline == b.deadline == c.deadline


async def test_the_trace_goes_on(runtime: Runtime) -> None:
    first = with_fields(sent("walk", path=["b"]), traceparent="00-trace", correlationid="process-1")
    await send(runtime, ActorId("node", "a"), first)
    [b] = await history(runtime, ActorId("node", "b"))
    assert (b.traceparent, b.correlationid) == ("00-trace", "process-1")


async def test_an_ask_holds_its_actor_and_no_other(runtime: Runtime) -> None:
    GATES["g"] = asyncio.Event()
    asked = asyncio.ensure_future(runtime.actor(Purse, "a").ask_to_wait("b", "g"))
    await until(lambda: WAITING == ["b"])
    assert await runtime.actor(Purse, "c").put(5) == 5
    held = [asyncio.ensure_future(runtime.actor(Purse, key).put(1)) for key in "ab"]
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in held)
    GATES["g"].set()
    assert (await asked, [await one for one in held]) == (0, [1, 1])


# ---------------------------------------------------------------------------------------------- cycles


@pytest.mark.parametrize(
    ("path", "chain"),
    [
        (["a"], "node/a asks node/a"),
        (["b", "a"], "node/a asks node/b asks node/a"),
        (["b", "c", "d", "b"], "node/a asks node/b asks node/c asks node/d asks node/b"),
    ],
)
async def test_a_cycle_is_an_error_that_names_the_chain(runtime: Runtime, path: list[str], chain: str) -> None:
    async with asyncio.timeout(3):  # long before the deadline
        with pytest.raises(ActorFailed) as failed:
            await runtime.actor(Node, "a", deadline_s=30).walk(path)
    assert f"{chain}: " in failed.value.message
    assert failed.value.details["chain"] == chain.split(" asks ")
    assert failed.value.actor == "node/a"
    assert await runtime.actor(Node, "a").walk(["b"]) == ["b", "a"]


async def test_a_cycle_of_queries_is_an_error_too(runtime: Runtime) -> None:
    with pytest.raises(ActorFailed, match="node/a asks node/b asks node/a: "):
        await runtime.actor(Node, "a", deadline_s=30).depth(["b", "a"])


async def test_a_diamond_is_no_cycle(runtime: Runtime) -> None:
    assert await runtime.actor(Node, "a").visit_each({"b": ["d"], "c": ["d"]}) == ["b", "c", "d"]
    assert len(await history(runtime, ActorId("node", "d"))) == 2


async def test_asks_nest_so_deep_and_no_deeper(runtime: Runtime) -> None:
    path = [f"n{n}" for n in range(32)]
    assert len(await runtime.actor(Node, "first").walk(path)) == 33
    with pytest.raises(ActorFailed, match="at most 32 actors may wait in a chain"):
        await runtime.actor(Node, "first").walk([*path, "last"])


# ---------------------------------------------------------------------------------------------- false deadlocks


@pytest.mark.parametrize("known", [False, True], ids=["the first ask of this handler", "a handler that has asked"])
async def test_what_is_asked_may_wait_for_a_command_before_the_ask_in_its_turn(runtime: Runtime, known: bool) -> None:
    """In one turn of `a`: `put`, for which `c` waits, and behind it a handler that asks `c`."""
    GATES.update(first=asyncio.Event(), opened=asyncio.Event())
    GATES["opened"].set()
    await runtime.actor(Purse, "c").put(10)
    if known:
        await runtime.actor(Purse, "z").wait_then_put("opened", "y")
    held = asyncio.ensure_future(runtime.actor(Purse, "a").wait_at("first"))
    await until(lambda: "a" in WAITING)
    put = asyncio.ensure_future(runtime.actor(Purse, "c", deadline_s=4).pay("a", 7))
    await asyncio.sleep(0.05)
    asks = asyncio.ensure_future(runtime.actor(Purse, "a", deadline_s=4).wait_then_put("opened", "c"))
    await asyncio.sleep(0.05)
    GATES["first"].set()
    async with asyncio.timeout(3):
        assert [await held, await put, await asks] == [0, 3, 4]
    assert await runtime.actor(Purse, "a").balance() == 7
    assert WAITING.count("a") == (2 if known else 3)


@pytest.mark.parametrize("ring", [["a", "b"], ["a", "b", "c", "d"]])
@pytest.mark.parametrize("workers", [1, 3])
async def test_commands_that_ask_in_a_ring_all_succeed(ring: list[str], workers: int) -> None:
    """Each holds its purse and asks the next one: no chain has a cycle, and yet each waits for the next."""
    GATES["g"] = asyncio.Event()
    async with local_pool(model, workers=workers) as pool:
        paid = [
            asyncio.ensure_future(pool.client.actor(Purse, payer, deadline_s=30).pay_at_gate(payee, 5, "g"))
            for payer, payee in zip(ring, [*ring[1:], ring[0]], strict=True)
        ]
        await until(lambda: len(WAITING) == len(ring))
        GATES["g"].set()
        async with asyncio.timeout(15):  # the deadline would be twice that
            await asyncio.gather(*paid)
        assert [await pool.client.actor(Purse, key).balance() for key in ring] == [0] * len(ring)
        assert sum(worker.runtime.counters.handlers_put_off for worker in pool.workers) >= 1
        events = [len([one async for one in pool.client.history(Purse, key)]) for key in ring]
        assert events == [2] * len(ring)


async def test_asks_of_one_handler_that_cross_succeed(runtime: Runtime) -> None:
    plan = [["b", [["c", []]]], ["c", [["b", []]]]]
    async with asyncio.timeout(10):
        assert await runtime.actor(Node, "a", deadline_s=30).follow_at_once(json.dumps(plan)) == 1
    assert [len(await history(runtime, ActorId("node", key))) for key in "abc"] == [1, 2, 2]


@pytest.mark.parametrize("workers", [1, 2])
async def test_two_that_ask_each_other_through_a_third_do_not_put_each_other_off_for_ever(workers: int) -> None:
    """`a` asks `s`, which asks `b`, and `b` asks `s`, which asks `a`. The ids are below those of asks."""
    async with local_pool(model, workers=workers) as pool:
        calls = [
            pool.client.actor(Node, one, deadline_s=30, command_id=f"0-{one}").follow(
                json.dumps([["s", [[other, []]]]])
            )
            for one, other in ("ab", "ba")
        ]
        async with asyncio.timeout(15):
            assert sorted(await asyncio.gather(*calls)) == [1, 2]


async def test_a_slow_answer_is_no_deadlock(runtime: Runtime) -> None:
    GATES["g"] = asyncio.Event()
    asked = asyncio.ensure_future(runtime.actor(Purse, "a").ask_to_wait("b", "g"))
    await until(lambda: WAITING == ["b"])
    await asyncio.sleep(0.5)  # it looks meanwhile
    GATES["g"].set()
    assert await asked == 0
    assert runtime.counters.handlers_put_off == 0


async def test_asks_never_wait_for_room_that_asks_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aether.runtime.assembly.CallConfig", lambda: CallConfig(in_flight_max=2))
    async with local_runtime(model) as runtime:
        walks = [runtime.actor(Node, f"a{n}", deadline_s=20).walk([f"b{n}", f"c{n}", f"d{n}"]) for n in range(10)]
        async with asyncio.timeout(10):
            assert [len(visited) for visited in await asyncio.gather(*walks)] == [4] * 10


async def test_asks_never_wait_for_room_that_asks_of_handlers_hold_which_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`a` asks `b`, whose handler is about to ask `c`: none of them is asked by the other, and all room is taken."""
    monkeypatch.setattr("aether.runtime.assembly.CallConfig", lambda: CallConfig(in_flight_max=2))
    GATES["g"] = asyncio.Event()
    async with local_runtime(model) as runtime:
        later = [asyncio.ensure_future(runtime.actor(Purse, f"b{n}").pay_at_gate(f"c{n}", 1, "g")) for n in range(2)]
        await until(lambda: len(WAITING) == 2)
        first = [asyncio.ensure_future(runtime.actor(Purse, f"a{n}").pay(f"b{n}", 1)) for n in range(2)]
        for n in range(2):
            while not await asks_of(runtime, f"a{n}"):  # noqa: ASYNC110 - the runtime makes progress
                await asyncio.sleep(0)
        GATES["g"].set()
        async with asyncio.timeout(5):
            assert await asyncio.gather(*first, *later) == [-1, -1, -1, -1]


async def asks_of(runtime: Runtime, key: str) -> list[list[str]]:
    """The asks of a purse's handler that have no answer."""
    answer = await send(runtime, ActorId("purse", key), sent("aether.waits"))
    asks: list[list[str]] = json.loads(bytes(answer.value))[1]
    return asks


async def test_further_asks_of_a_handler_wait_for_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aether.runtime.assembly.CallConfig", lambda: CallConfig(in_flight_max=3))
    async with local_runtime(model) as runtime:
        assert await runtime.actor(Purse, "a").pay_each({f"b{n}": 1 for n in range(20)}) == -20
        assert [await runtime.actor(Purse, f"b{n}").balance() for n in range(20)] == [1] * 20
        GATES["g"] = asyncio.Event()
        for n in range(3):
            await runtime.actor(Purse, f"b{n}").put(0)
        held = [asyncio.ensure_future(runtime.actor(Purse, f"b{n}").wait_at("g")) for n in range(3)]
        await until(lambda: len(WAITING) == 3)
        late = runtime.actor(Purse, "a", deadline_s=0.3)
        with pytest.raises(DeadlineExceeded):
            await late.pay_each({f"b{n}": 1 for n in range(20)})
        GATES["g"].set()
        await asyncio.gather(*held)
        assert await runtime.actor(Purse, "a").pay_each({"b4": 1}) == -21


async def test_asks_are_admitted_although_as_many_commands_wait_as_may() -> None:
    async with node(model=model, config=replace(QUIET, waiting_max=4)) as runtime:
        walks = [runtime.actor(Node, f"a{n}", deadline_s=20).walk([f"b{n}", f"c{n}", f"d{n}"]) for n in range(4)]
        async with asyncio.timeout(10):
            assert [len(visited) for visited in await asyncio.gather(*walks)] == [4] * 4
        assert runtime.counters.overloaded == 0
        GATES["g"] = asyncio.Event()
        held = [asyncio.ensure_future(runtime.actor(Purse, f"p{n}").wait_at("g")) for n in range(4)]
        await until(lambda: len(WAITING) == 4)
        with pytest.raises(Overloaded, match="the worker has 4 commands waiting"):
            await runtime.actor(Purse, "p5").put(1)
        GATES["g"].set()
        await asyncio.gather(*held)


# ---------------------------------------------------------------------------------------------- errors


async def test_what_the_other_says_arrives_typed(runtime: Runtime) -> None:
    assert await runtime.actor(Purse, "a").try_to_take("b", 5) == "insufficient funds {'cents': 0}"


async def test_a_rejection_that_is_not_caught_says_whose_it_is(runtime: Runtime) -> None:
    with pytest.raises(Rejected) as rejected:
        await runtime.actor(Purse, "a").take("b", 5)
    assert rejected.value.message == "purse/b.put: insufficient funds"
    assert rejected.value.details == {"rejected_by": "purse/b.put", "cents": 0}
    assert await history(runtime, ActorId("purse", "a")) == []


async def test_the_failure_of_a_task_group_names_its_errors(runtime: Runtime) -> None:
    says = r"ExceptionGroup: unhandled errors in a TaskGroup .*: InvalidCommand: .*takes 0 positional arguments"
    with pytest.raises(ActorFailed, match=says):
        await runtime.actor(Purse, "a").group(["b"], "nothing")


async def test_a_rejection_of_ones_own_is_ones_own(runtime: Runtime) -> None:
    with pytest.raises(Rejected) as rejected:
        await runtime.actor(Purse, "a").refuse_for("b", 5)
    assert (rejected.value.message, rejected.value.details) == ("my own no", {"because": "insufficient funds"})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("kind", r"ask_badly failed: nobody/other\.put: UnknownActor: .*has no actor 'nobody'"),
        ("key", r"ask_badly failed: purse/\.put: InvalidCommand: an actor's key cannot be empty"),
        ("surrogate", r"ask_badly failed: purse/\?\.put: InvalidCommand: an actor's key .*lone surrogate"),
        ("command", r"ask_badly failed: purse/other\.nonsense: UnknownCommand: purse has no command 'nonsense'"),
        ("args", r"ask_badly failed: purse/other\.put: InvalidCommand: "),
    ],
)
async def test_what_cannot_be_asked_is_the_fault_of_the_handler(runtime: Runtime, how: str, says: str) -> None:
    with pytest.raises(ActorFailed, match=says) as failed:
        await runtime.actor(Purse, "a").ask_badly(how)
    assert failed.value.actor == "purse/a"


async def test_an_ask_that_is_not_awaited_is_not_sent_and_python_names_it(runtime: Runtime) -> None:
    with pytest.warns(RuntimeWarning, match=r"coroutine 'purse/b\.put' was never awaited"):
        assert await runtime.actor(Purse, "a").forget_to_await("b") == 0
    assert await history(runtime, ActorId("purse", "b")) == []


async def test_the_failure_of_another_is_a_failure(runtime: Runtime) -> None:
    with pytest.raises(ActorFailed, match=r"^walk failed: node/b\.walk: walk failed: node/b\.walk: node/c asks"):
        await runtime.actor(Node, "c").walk(["b", "b"])


async def test_a_deadline_ends_the_asker_and_what_it_asks(runtime: Runtime) -> None:
    GATES["g"] = asyncio.Event()
    with pytest.raises(DeadlineExceeded):
        await runtime.actor(Purse, "a", deadline_s=0.2).ask_to_wait("b", "g")
    answers = [await runtime.actor(Purse, key).put(1) for key in "ab"]  # neither is held any more
    assert answers == [1, 1]
    stored = [[event.type for event in await history(runtime, ActorId("purse", key))] for key in "ab"]
    assert stored == [["Paid"], ["aether.Refused", "Paid"]]  # what was asked has an id that may come again


async def test_the_answer_at_the_deadline_is_of_the_asker_and_known(runtime: Runtime) -> None:
    GATES["g"] = asyncio.Event()
    with pytest.raises(DeadlineExceeded) as late:
        await send(runtime, ActorId("purse", "a"), sent("ask_to_wait", for_s=0.3, other="b", gate="g"))
    assert late.value.outcome_known
    assert "ask_to_wait did not finish before its deadline" in late.value.message


@pytest.mark.parametrize(
    "error",
    [DeadlineExceeded("no answer", outcome_known=False), Unavailable("nobody"), Overloaded("full", "in_flight_max")],
)
def test_no_answer_in_time_is_the_askers_own_deadline(error: AetherError) -> None:
    heard = passed_on(error, "purse/b.put", "pay")
    assert isinstance(heard, DeadlineExceeded)
    assert heard.outcome_known
    text = f"pay did not finish before its deadline; it waited for purse/b.put: {error.message}"
    assert heard.message == text


# ---------------------------------------------------------------------------------------------- running again


async def test_asks_have_ids_in_the_order_of_their_calls(runtime: Runtime) -> None:
    first = await send(runtime, ActorId("purse", "a"), sent("pay_late_first", id="c-1"))
    ids = bytes(first.value).decode()
    assert ids.index('-1"') < ids.index('-2"')
    other = await send(runtime, ActorId("purse", "b"), sent("pay_late_first", id="c-1"))
    assert set(bytes(other.value).split(b'"')) & set(bytes(first.value).split(b'"')) <= {b"[", b",", b"]"}


async def test_a_handler_that_runs_again_after_a_conflict_asks_once() -> None:
    server = InMemoryServer()
    async with node(server, model=model, config=DEAF) as one:
        assert await one.actor(Purse, "a").put(10) == 10
        async with node(server, model=model, shards=()) as other:
            GATES["g"] = asyncio.Event()
            GATES["g"].set()
            await send(other, ActorId("purse", "a"), sent("put", amount=5))  # another owner's commit
            assert await one.actor(Purse, "a").pay("b", 4) == 11
            assert one.counters.conflicts == 1
        assert [len(await history(one, ActorId("purse", key))) for key in "ab"] == [3, 1]


async def test_branches_that_go_on_in_another_order_when_the_handler_runs_again_ask_once() -> None:
    server = InMemoryServer()
    async with node(server, model=model, config=DEAF) as one:
        assert await one.actor(Purse, "a").put(10) == 10
        async with node(server, model=model, shards=()) as other:
            await send(other, ActorId("purse", "a"), sent("put", amount=5))
            assert await one.actor(Purse, "a").pay_twice_each(["b", "c"]) == 11
        assert (len(AMOUNTS), one.counters.conflicts) == (2, 1)
        assert [await one.actor(Purse, key).balance() for key in "bc"] == [2, 2]


async def test_a_handler_that_runs_again_after_an_unknown_outcome_asks_once() -> None:
    appends = [None, None, None, Lost(), Lost(), StoredUnknown()]  # the last three are of `a`, which has paid
    faults = Faults.script((FaultPoint.APPEND, fault) for fault in appends)
    async with node(model=model, faults=faults, config=replace(QUIET, append_timeout_s=0.05)) as runtime:
        await runtime.actor(Purse, "a").put(10)
        assert await runtime.actor(Purse, "a", deadline_s=30).pay_each({"b": 4, "c": 3}) == 3
        assert [await runtime.actor(Purse, key).balance() for key in "abc"] == [3, 4, 3]


async def test_a_caller_that_gives_its_id_again_asks_once(runtime: Runtime) -> None:
    for _ in range(2):
        with pytest.raises(Rejected):
            await runtime.actor(Purse, "a", command_id="c-1").refuse_for("b", 5)
    events = await history(runtime, ActorId("purse", "b"))
    assert [event.type for event in events] == ["aether.Refused"]


async def test_a_crash_between_the_ask_and_the_commit_asks_once() -> None:
    async with local_pool(model, workers=1) as pool:
        GATES["g"] = asyncio.Event()
        paid = asyncio.ensure_future(pool.client.actor(Purse, "a", deadline_s=30).wait_then_put("g", "b"))
        await until(lambda: WAITING == ["a"])
        GATES["g"].set()
        await until(lambda: any(vm.actor_id.key == "b" for vm in pool.workers[0].runtime.get_active_vms()))
        await pool.crash(0)
        assert await paid == 1
        assert await pool.client.actor(Purse, "b").balance() == 1


async def test_a_handler_that_asks_for_something_else_hears_why() -> None:
    server = InMemoryServer()
    async with node(server, model=model, config=DEAF) as one:
        await one.actor(Purse, "a").put(10)
        async with node(server, model=model, shards=()) as other:
            await send(other, ActorId("purse", "a"), sent("put", amount=5))
            with pytest.raises(
                ActorFailed, match=r"purse/a ran again and asked for something else: purse/b.put, its ask number 1"
            ):
                await one.actor(Purse, "a").pay_by_chance("b")
        assert (AMOUNTS, one.counters.conflicts) == ([1, 2], 1)


# ---------------------------------------------------------------------------------------------- the end of a worker


async def test_a_drain_lets_a_handler_ask_an_actor_of_the_same_worker() -> None:
    GATES["g"] = asyncio.Event()
    async with node(model=model) as runtime:
        asked = asyncio.ensure_future(runtime.actor(Purse, "a", deadline_s=30).wait_then_put("g", "b"))
        await until(lambda: WAITING == ["a"])
        stopped = asyncio.ensure_future(runtime.stop())
        await asyncio.sleep(0.01)
        GATES["g"].set()
        async with asyncio.timeout(3):
            assert await asked == 1
            await stopped


async def test_a_pool_that_ends_lets_its_workers_ask_each_other() -> None:
    GATES["g"] = asyncio.Event()
    async with local_pool(model, workers=4) as pool:
        key_of_slot = {pool.worker_of(Purse, f"p{n}").slot: f"p{n}" for n in range(100)}
        last, key = pool.workers[3].runtime, key_of_slot[3]  # what it asks is of the worker that ends first
        asked = asyncio.ensure_future(last.actor(Purse, key, deadline_s=30).wait_then_put("g", key_of_slot[0]))
        await until(lambda: len(WAITING) == 1)
        asyncio.get_running_loop().call_later(0.05, GATES["g"].set)
    async with asyncio.timeout(3):
        assert await asked == 1


async def test_a_crash_cancels_what_is_asked() -> None:
    GATES["g"] = asyncio.Event()
    async with node(model=model) as runtime:
        asked = asyncio.ensure_future(runtime.actor(Purse, "a").ask_to_wait("b", "g"))
        await until(lambda: WAITING == ["b"])
        await runtime.abort()
        assert not asked.done()  # nothing is answered
        asked.cancel()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and task is not asked] == []


# ---------------------------------------------------------------------------------------------- from where


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("plain", "plain is a plain handler, which cannot await an answer; write it as `async def`"),
        ("blocking", r"blocking is a blocking handler, .* `await asyncio.to_thread\(...\)`"),
        ("visit_badly", r"self.ask is used in an @event method"),
    ],
)
async def test_who_cannot_await_cannot_ask(runtime: Runtime, name: str, says: str) -> None:
    with pytest.raises(ActorFailed, match=says):
        await getattr(runtime.actor(Node, "a"), name)()


async def test_a_query_asks_for_no_command(runtime: Runtime) -> None:
    says = "the query walk_in_a_query asked node/b for the command walk: a query only reads"
    with pytest.raises(ActorFailed, match=says):
        await runtime.actor(Node, "a").walk_in_a_query(["b"])
    assert await history(runtime, ActorId("node", "b")) == []


async def test_a_proxy_ends_with_its_handler(runtime: Runtime) -> None:
    await runtime.actor(Node, "a").keep_proxy("b")
    with pytest.raises(RuntimeError, match="node/b can only be asked by the command handler that runs now"):
        await KEPT[0].walk([])
    assert repr(KEPT[0]) == "<proxy of node/b, to be asked>"
    with pytest.raises(AttributeError, match="visits is a field of Node"):
        KEPT[0].visits  # noqa: B018 - the attribute is the test


async def test_a_task_that_a_handler_left_behind_cannot_ask(runtime: Runtime) -> None:
    GATES["g"] = asyncio.Event()
    await runtime.actor(Node, "a").leave_behind("g", "b")
    GATES["g"].set()
    [task] = LEFT
    with pytest.raises(RuntimeError, match="can only be asked by a running command handler"):
        await task


async def test_an_ask_is_awaited_on_the_workers_event_loop(runtime: Runtime) -> None:
    assert (
        "can only be asked by the command handler that runs now" in await runtime.actor(Node, "a").in_another_thread()
    )


async def test_a_state_that_was_read_cannot_ask() -> None:
    async with local_pool(model) as pool:
        state = (await pool.client.state(Node, "a")).state
        with pytest.raises(RuntimeError, match=r"self\.ask needs a running command"):
            state.ask(Node, "b")


def test_an_actor_alone_cannot_ask() -> None:
    given(Node).when("walk", ["b"]).then_failed(RuntimeError)
    given(Node).when("walk", []).then(Visited(""), reply=["test"])


class Asking(Actor):
    """Has a command whose name is taken."""

    @command
    def ask(self) -> None:  # type: ignore[override]
        """Taken."""


def test_no_command_is_called_ask() -> None:
    with pytest.raises(ModelError, match="hides what every actor has under this name"):
        Model("taken", actors=[Asking])
