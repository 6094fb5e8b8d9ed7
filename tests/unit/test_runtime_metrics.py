"""What a runtime measures: every answered command has one outcome, and times are those of the clock it was given."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from aether import Actor, ActorId, Model, Rejected, Runtime, command, event
from aether.core.metrics.histogram import BOUNDS_S, Histogram
from aether.core.metrics.readings import Readings
from aether.errors import AetherError
from aether.memory.clock import ManualClock
from aether.memory.server import InMemoryServer
from aether.runtime.local import local_delivery
from aether.runtime.upkeep import measure_loop_lag
from aether.wire import Command, decode_answer
from tests.support.gated_store import GatedStore
from tests.support.nodes import QUIET, append_from_outside, node, send, until
from tests.support.nodes import command as made

CLOCK = ManualClock()


@dataclass(frozen=True, slots=True)
class Rung:
    """Somebody rang."""


class Bell(Actor):
    """A bell whose handlers take time of the clock."""

    rings: int = 0

    @command
    def ring(self, takes_s: float = 0) -> int:
        """Ring it."""
        CLOCK.advance(takes_s)
        self.emit(Rung())
        return self.rings

    @command
    def echo(self, size: int, rings: bool) -> str:
        """A long reply, with an event or without one."""
        if rings:
            self.emit(Rung())
        return "x" * size

    @command
    def refuse(self) -> None:
        """Decide no."""
        raise Rejected("no")

    @event
    def rung(self, e: Rung) -> None:
        """Count it."""
        self.rings += 1


model = Model("tests", actors=[Bell])
BELL, OTHER = ActorId("bell", "b"), ActorId("bell", "other")


async def tried(runtime: Runtime, actor_id: ActorId, message: Command) -> str:
    """The answer's error code, "ok" without one."""
    try:
        await send(runtime, actor_id, message)
    except AetherError as error:
        return error.code
    return "ok"


def outcomes(runtime: Runtime, name: str = "ring", kind: str = "bell") -> dict[str, float]:
    """How commands ended, as the metric says."""
    values = runtime.readings().values.get("aether_commands_total", {})
    return {labels[2]: count for labels, count in values.items() if labels[:2] == (kind, name) and count}


def only(readings: Readings, name: str, *labels: str) -> Histogram:
    """One histogram."""
    return readings.histograms[name][labels]


def bound_of(histogram: Histogram) -> float:
    """The bound of the one bucket that has counts."""
    (bucket,) = [bucket for bucket, count in enumerate(histogram.counts) if count]
    return (*BOUNDS_S, float("inf"))[bucket]


@pytest.mark.parametrize(
    ("name", "args", "code", "outcome"),
    [
        ("ring", {}, "ok", "ok"),
        ("refuse", {}, "rejected", "rejected"),
        ("ring", {"takes_s": "long"}, "invalid_command", "invalid"),
        ("ring", {"for_s": -1.0}, "deadline_exceeded", "timed_out"),
        ("ring", {"for_s": 100.0}, "invalid_command", "invalid"),
        ("aether.state", {"version": 0}, "ok", "ok"),
        ("aether.state", {"version": 9}, "invalid_command", "invalid"),
        ("aether.state", {"version": -1}, "invalid_command", "invalid"),
    ],
)
async def test_a_command_of_the_model_has_one_outcome(name: str, args: dict[str, Any], code: str, outcome: str) -> None:
    async with node(model=model) as runtime:
        assert await tried(runtime, BELL, made(name, **args)) == code
        assert outcomes(runtime, name) == {outcome: 1}


@pytest.mark.parametrize(("kind", "name"), [("bell", "toll"), ("gong", "ring"), ("bell", "aether.nothing")])
async def test_what_the_model_does_not_have_is_counted_under_no_name(kind: str, name: str) -> None:
    async with node(model=model) as runtime:
        assert await tried(runtime, ActorId(kind, "b"), made(name)) in {"unknown_actor", "unknown_command"}
        assert outcomes(runtime, "", "") == {"unknown": 1}
        assert set(runtime.readings().values["aether_commands_total"]) >= {("", "", "unknown")}


async def test_what_cannot_be_read_is_counted_under_no_name() -> None:
    async with node(model=model) as runtime:
        delivery, answered = local_delivery(BELL, 0, b"no json")
        runtime.receive(delivery)
        assert decode_answer(await answered).error is not None
        assert outcomes(runtime, "", "") == {"invalid": 1}


async def test_a_command_that_comes_again_is_a_duplicate_and_another_of_its_id_is_invalid() -> None:
    async with node(model=model) as runtime:
        sent = [made("ring", id="mine"), made("ring", id="mine"), made("ring", id="mine", takes_s=1)]
        codes = await asyncio.gather(*(tried(runtime, BELL, one) for one in sent))
        assert (codes, outcomes(runtime)) == (["ok", "ok", "invalid_command"], {"ok": 1, "duplicate": 1, "invalid": 1})
        codes = [await tried(runtime, BELL, one) for one in sent]
        assert (codes, outcomes(runtime)) == (["ok", "ok", "invalid_command"], {"ok": 1, "duplicate": 3, "invalid": 2})
        took = only(runtime.readings(), "aether_command_seconds", "bell", "ring")
        assert took.count == 4, "once for a command, however often it came while it ran"


@pytest.mark.parametrize("bound", ["mailbox_max", "waiting_max", "active_vms_max", "command_log_max"])
async def test_what_is_refused_at_a_bound_is_overloaded(bound: str) -> None:
    bounds: dict[str, Any] = {bound: 1}
    config = replace(QUIET, **bounds)
    async with node(model=model, config=config) as runtime:
        actors = [BELL] * 3 if bound != "active_vms_max" else [BELL, OTHER, OTHER]
        codes = await asyncio.gather(*(tried(runtime, one, made("ring")) for one in actors))
        if bound == "command_log_max":
            codes = [codes[0], *[await tried(runtime, BELL, made("ring")) for _ in range(2)]]
        assert "overloaded" in codes
        found = outcomes(runtime)
        assert found["overloaded"] >= codes.count("overloaded")
        assert sum(found.values()) == runtime.counters.commands == runtime.counters.answers


async def test_what_the_store_refuses_is_unavailable() -> None:
    server = InMemoryServer()
    async with node(server, model=model) as runtime:
        await send(runtime, BELL, made("ring"))
        server.space("tests", 256).refusal = "the disk is full"
        for _ in range(2):  # the second is refused before its turn
            assert await tried(runtime, BELL, made("ring")) == "unavailable"
        assert outcomes(runtime) == {"ok": 1, "unavailable": 2}


@pytest.mark.parametrize(("rings", "outcome"), [(True, "invalid"), (False, "failed")])
async def test_what_is_too_large_to_be_stored_has_an_outcome(rings: bool, outcome: str) -> None:
    """Without an event a reply is stored when the id is the caller's."""
    async with node(InMemoryServer(payload_bytes_max=4_096), model=model) as runtime:
        assert await tried(runtime, BELL, made("echo", id="mine", size=5_000, rings=rings)) != "ok"
        assert outcomes(runtime, "echo") == {outcome: 1}


async def test_a_stopped_runtime_is_unavailable() -> None:
    async with node(model=model) as runtime:
        pass
    assert await tried(runtime, BELL, made("ring")) == "unavailable"
    assert outcomes(runtime) == {"unavailable": 1}


async def test_a_command_takes_from_its_arrival_to_its_answer() -> None:
    async with node(InMemoryServer(clock=CLOCK), model=model) as runtime:
        await send(runtime, BELL, made("ring", now_s=CLOCK.wall_s()))
        took = only(runtime.readings(), "aether_command_seconds", "bell", "ring")
        assert (took.count, took.sum_s) == (1, 0.0)
        await send(runtime, BELL, made("ring", now_s=CLOCK.wall_s(), takes_s=2))
        later = only(runtime.readings(), "aether_command_seconds", "bell", "ring").since(took)
        assert (bound_of(later), later.sum_s) == (2.5, 2.0)
        await asyncio.gather(*(send(runtime, BELL, made("ring", now_s=CLOCK.wall_s(), takes_s=2)) for _ in range(2)))
        both = only(runtime.readings(), "aether_command_seconds", "bell", "ring")
        assert both.sum_s == 2.0 + 4.0 + 4.0, "they were answered together, when the second was done"


async def test_a_commit_takes_from_its_sending_to_its_outcome() -> None:
    stores: list[GatedStore] = []

    def gated(store: Any) -> GatedStore:
        stores.append(GatedStore(store))
        return stores[0]

    async with node(InMemoryServer(clock=CLOCK), model=model, wrap=gated) as runtime:
        (store,) = stores
        store.hold = True
        ringing = asyncio.ensure_future(send(runtime, BELL, made("ring", now_s=CLOCK.wall_s(), takes_s=3)))
        await until(lambda: bool(store.held))
        CLOCK.advance(0.2)
        store.hold = False
        for release in store.held:
            release()
        await ringing
        took = only(runtime.readings(), "aether_commit_seconds")
        assert (took.count, bound_of(took)) == (1, 0.25)
        assert took.sum_s == pytest.approx(0.2)


async def test_an_activation_is_measured_once_and_repairs_are_not() -> None:
    async with node(model=model, config=replace(QUIET, follow_stored=False)) as runtime:
        await send(runtime, BELL, made("ring"))
        await append_from_outside(runtime, BELL, model.actor_type("bell"), Rung())
        await send(runtime, BELL, made("ring"))
        assert runtime.counters.conflicts == 1
        assert only(runtime.readings(), "aether_activation_seconds").count == 1
        await send(runtime, OTHER, made("ring"))
        assert only(runtime.readings(), "aether_activation_seconds").count == 2


async def test_gauges_are_what_is_so_now() -> None:
    stores: list[GatedStore] = []

    def gated(store: Any) -> GatedStore:
        stores.append(GatedStore(store))
        return stores[0]

    async with node(model=model, wrap=gated, shards=range(10, 256)) as runtime:
        (store,) = stores
        store.hold = True
        ringing = [asyncio.ensure_future(send(runtime, one, made("ring"))) for one in (BELL, OTHER)]
        await until(lambda: len(store.held) == 2)
        readings = runtime.readings()
        found = [readings.total(f"aether_{of}") for of in ("active_actors", "waiting_commands", "shards_owned")]
        assert found == [2, 2, 246]
        store.hold = False
        for release in store.held:
            release()
        await asyncio.gather(*ringing)
        await runtime.stop_vm(OTHER)
        assert runtime.readings().value("aether_active_actors", "bell") == 1
        assert runtime.readings().value("aether_waiting_commands") == 0


async def test_an_event_loop_that_is_blocked_lags() -> None:
    seconds = Histogram()
    measuring = asyncio.create_task(measure_loop_lag(seconds))
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251 - a handler that blocks
    await until(lambda: seconds.count == 1)
    measuring.cancel()
    assert seconds.sum_s >= 0.1


async def test_a_runtime_measures_its_event_loop() -> None:
    async with node(model=model) as runtime:
        assert {"aether loop lag"} & {task.get_name() for task in asyncio.all_tasks()}
        assert only(runtime.readings(), "aether_loop_lag_seconds").count == 0
