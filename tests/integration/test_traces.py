"""One trace from an HTTP request through gateway, command, tell to another actor and back; none without a provider."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aether import Actor, ActorFailed, ActorId, Every, Model, Rejected, Retry, TaskContext, command, event, query, task
from aether.calls import Caller
from aether.gateway import app
from aether.testing import LocalPool, local_pool
from tests.support.traces import tracer_provider, tree

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@dataclass(frozen=True)
class Ordered:
    """Something is to be sent."""

    item: str


@dataclass(frozen=True)
class Picked:
    """It was taken from its shelf."""

    order: str


@dataclass(frozen=True)
class Shipped:
    """It is on its way."""


@task(retry=Retry(first_s=0.01, attempts=3))
async def charge(context: TaskContext, order: str) -> str:
    with trace.get_tracer("users").start_as_current_span("bank"):
        if context.attempt == 1:
            raise ConnectionError("the bank is away")
        return f"receipt of {order}"


class Shelf(Actor):
    """Where things of one sort are."""

    picked: int = 0

    @command
    def pick(self, order: str) -> None:
        self.emit(Picked(order))
        self.tell(Order.ship, order)

    @query
    def count(self) -> int:
        return self.picked

    @event
    def on_picked(self, e: Picked) -> None:
        self.picked += 1


class Order(Actor):
    """What somebody wants."""

    item: str = ""
    shipped: bool = False

    @command
    def place(self, item: str) -> str:
        if not item:
            raise Rejected("of what?")
        if item == "bug":
            raise ValueError("no such thing")
        self.emit(Ordered(item))
        self.tell(Shelf.pick, item, self.id.key)
        return self.context.traceparent

    @command
    async def stock(self, item: str) -> int:
        with trace.get_tracer("users").start_as_current_span("think"):
            return await self.ask(Shelf, item).count()

    @command
    def pay(self) -> None:
        self.start_task(charge(self.id.key), then=Order.paid)

    @command
    def remind(self, item: str) -> None:
        self.schedule("hello", Every(minutes=1), Order.hello, self.id.key)
        self.schedule("pick", Every(minutes=1), Shelf.pick, item, self.id.key)

    @command
    def hello(self) -> None:
        """Emits nothing."""

    @command
    def paid(self, receipt: str) -> None:
        self.emit(Shipped())

    @command
    def ship(self) -> None:
        self.emit(Shipped())

    @event
    def on_ordered(self, e: Ordered) -> None:
        self.item = e.item

    @event
    def on_shipped(self, e: Shipped) -> None:
        self.shipped = True


model = Model("orders", actors=[Order, Shelf], tasks=[charge])


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    with tracer_provider() as exporter:
        yield exporter


async def until_shipped(pool: LocalPool, key: str) -> None:
    async with pool.client.subscribe(Shipped) as shipped:
        while not (await pool.client.state(Order, key)).state.shipped:
            await anext(shipped)


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    return next(span for span in exporter.get_finished_spans() if span.name == name)


async def test_a_request_is_one_trace_through_two_actors_and_back(exporter: InMemorySpanExporter) -> None:
    async with local_pool(model) as pool, app(model, client=pool.client) as gateway:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(gateway), base_url="http://pool") as http:
            answer = await http.post("/actors/order/o1/place", json={"item": "tea"}, headers={"traceparent": PARENT})
        await until_shipped(pool, "o1")
        placed, _ = await anext(pool.client.untyped.history(ActorId("order", "o1")))
    spans = tuple(
        one for one in exporter.get_finished_spans() if one.context and f"{one.context.trace_id:032x}" == TRACE
    )
    assert tree(spans) == [
        "POST /actors/{kind}/{key}/{command} > call order.place",
        "call order.place > turn order.place",
        "remote > POST /actors/{kind}/{key}/{command}",
        "tell order.ship > turn order.ship",
        "tell shelf.pick > turn shelf.pick",
        "turn order.place > commit order",
        "turn order.place > tell shelf.pick",
        "turn order.ship > commit order",
        "turn shelf.pick > commit shelf",
        "turn shelf.pick > tell order.ship",
    ]
    turn = named(exporter, "turn order.place")
    assert turn.context is not None
    expected = f"00-{TRACE}-{turn.context.span_id:016x}-01"
    assert answer.json()["value"] == expected, "the handler knows its span"
    assert placed.traceparent == expected, "so do its events"
    assert turn.attributes == {
        "aether.kind": "order",
        "aether.key": "o1",
        "aether.command": "place",
        "aether.command_id": placed.commandid,
    }
    request = named(exporter, "POST /actors/{kind}/{key}/{command}")
    assert dict(request.attributes or {})["http.response.status_code"] == 200


@pytest.mark.parametrize("given", [{"traceparent": PARENT}, {}])
async def test_a_request_to_a_gateway_in_an_application_that_is_traced_is_below_its_span(
    exporter: InMemorySpanExporter, given: dict[str, str]
) -> None:
    caller = trace.SpanContext(int(TRACE, 16), 0xF067AA0BA902B7, is_remote=True, trace_flags=trace.TraceFlags(1))
    around = trace.set_span_in_context(trace.NonRecordingSpan(caller))
    async with (
        local_pool(model) as pool,
        app(model, client=pool.client) as gateway,
        httpx2.AsyncClient(transport=httpx2.ASGITransport(gateway), base_url="http://pool") as http,
    ):
        with trace.get_tracer("users").start_as_current_span("application", around):
            await http.post("/actors/order/o1/ship", headers=given)
        await http.post("/actors/order/o1/ship", headers={"traceparent": PARENT})
    assert [one for one in tree(exporter.get_finished_spans()) if "POST" in one.partition(">")[2]] == [
        "application > POST /actors/{kind}/{key}/{command}",
        "remote > POST /actors/{kind}/{key}/{command}",
    ]


async def test_spans_of_other_libraries_and_of_asks_are_below_the_handler(exporter: InMemorySpanExporter) -> None:
    async with local_pool(model) as pool:
        with trace.get_tracer("users").start_as_current_span("page"):
            await pool.client.actor(Order, "o1").stock("tea")
    assert tree(exporter.get_finished_spans()) == [
        " > page",
        "call order.stock > turn order.stock",
        "call shelf.count > turn shelf.count",
        "page > call order.stock",
        "turn order.stock > call shelf.count",
        "turn order.stock > think",
    ]


async def test_a_tell_of_a_client_is_sent_and_applied(exporter: InMemorySpanExporter) -> None:
    async with local_pool(model) as pool:
        await pool.client.tell(Order.ship, "o1")
        await until_shipped(pool, "o1")
    assert [one for one in tree(exporter.get_finished_spans()) if "ship" in one or "commit" in one] == [
        " > send order.ship",
        "send order.ship > tell order.ship",
        "tell order.ship > turn order.ship",
        "turn order.ship > commit order",
    ]


async def test_a_failure_is_told_with_its_reason_and_a_decided_no_is_none(exporter: InMemorySpanExporter) -> None:
    async with local_pool(model) as pool:
        with pytest.raises(Rejected):
            await pool.client.actor(Order, "o1").place("")
        with pytest.raises(ActorFailed):
            await pool.client.actor(Order, "o2").place("bug")
    rejected, failed = (one for one in exporter.get_finished_spans() if one.name == "turn order.place")
    assert rejected.status.is_unset
    assert dict(rejected.attributes or {})["aether.outcome"] == "rejected"
    assert failed.status.description == "ValueError: no such thing"
    assert [one.name for one in failed.events] == ["exception"]


async def test_without_a_provider_a_pool_is_built_as_if_there_were_no_tracing() -> None:
    async with local_pool(model) as pool:
        assert type(pool.client.untyped.caller) is Caller
        worker: Any = pool.workers[0].runtime
        assert worker._worker.committer._store is worker.event_store
        assert worker._pipeline.arrivals._work == worker._router._enqueue_all
        assert worker._pipeline.answers._work == worker._worker._send_answers


def test_a_program_that_does_not_trace_never_imports_opentelemetry() -> None:
    program = (
        "import asyncio, sys\n"
        "import aether.worker.worker, aether.gateway.process\n"
        "from aether.testing import local_pool\n"
        "from tests.support.actors import Account, model\n"
        "async def main():\n"
        "    async with local_pool(model) as pool:\n"
        "        await pool.client.actor(Account, 'a').deposit(1)\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


async def test_a_task_and_its_result_belong_to_the_trace_that_started_it(exporter: InMemorySpanExporter) -> None:
    async with local_pool(model) as pool:
        await pool.client.actor(Order, "o1").pay()
        while not (await pool.client.state(Order, "o1")).state.shipped:
            await pool.clock.advance(seconds=1)
    of_task = [one for one in tree(exporter.get_finished_spans()) if "charge" in one or "paid" in one]
    assert of_task == [
        "task charge > bank",
        "task charge > bank",
        "task charge > tell order.paid",
        "tell order.paid > turn order.paid",
        "turn order.paid > commit order",
        "turn order.pay > task charge",
        "turn order.pay > task charge",
    ]
    failed, done = (one for one in exporter.get_finished_spans() if one.name == "task charge")
    assert failed.status.description == "ConnectionError: the bank is away"
    assert done.status.is_unset
    assert dict(done.attributes or {})["aether.attempt"] == 2


async def test_each_tick_of_a_schedule_begins_a_trace_that_is_linked_to_what_has_set_it(
    exporter: InMemorySpanExporter,
) -> None:
    async with local_pool(model) as pool:
        with trace.get_tracer("users").start_as_current_span("page"):
            await pool.client.actor(Order, "o1").remind("tea")
        await pool.clock.advance(minutes=2)
        picked = [one async for one, _ in pool.client.untyped.history(ActorId("shelf", "tea"))]
    spans = exporter.get_finished_spans()
    assert [one for one in tree(spans) if one.endswith("hello")] == [
        " > tell order.hello",
        " > tell order.hello",
        "tell order.hello > turn order.hello",
        "tell order.hello > turn order.hello",
    ]
    set_by = named(exporter, "turn order.remind").context
    ticks = [one for one in spans if one.name in ("tell order.hello", "tell order.aether.tick")]
    assert set_by is not None
    assert {link.context.span_id for one in ticks for link in one.links} == {set_by.span_id}
    traces = [one.context.trace_id for one in ticks if one.context is not None]
    assert len({set_by.trace_id, *traces}) == 5
    told = [one for one in tree(spans) if one.endswith("tell shelf.pick")]
    assert told == ["tell order.aether.tick > tell shelf.pick"] * 2, "what another actor is told is below its tick"
    assert len({one.traceparent.split("-")[1] for one in picked}) == 2


async def test_a_handler_that_is_put_off_has_not_failed(exporter: InMemorySpanExporter) -> None:
    async with local_pool(model) as pool:
        order = pool.client.actor(Order, "o1")
        await asyncio.gather(order.ship(), order.stock("tea"))  # together, and the one that asks must be alone
    turns = [one for one in exporter.get_finished_spans() if one.name == "turn order.stock"]
    assert [dict(one.attributes or {}).get("aether.outcome") for one in turns] == ["cancelled", None]
    assert [one.name for one in exporter.get_finished_spans() if not one.status.is_unset] == []
