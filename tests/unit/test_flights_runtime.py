"""The first 2,000 flights of January through a real runtime over memory, many in flight."""

from collections.abc import AsyncIterator
from itertools import chain
from typing import Any

import pytest

from aether import ActorId, Runtime
from aether.memory.connection import InMemoryConnection
from examples.flights.check import compare
from examples.flights.direct import Totals, add_up
from examples.flights.model import model
from examples.flights.play import TYPES, Report, for_each, reports_of, send
from examples.flights.source import read_rows

ROWS = 2_000
IN_FLIGHT = 200
REPORTS = list(chain.from_iterable(map(reports_of, read_rows(ROWS))))


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """The flights' actors, alone in this process."""
    connection = InMemoryConnection()
    runtime = Runtime(connection, connection.event_store)
    runtime.load_model(model)
    async with connection, runtime:
        yield runtime


async def feed(runtime: Runtime, reports: list[Report], *, with_ids: bool) -> list[bool]:
    counted: list[bool] = []

    async def record(report: Report) -> None:
        if with_ids:
            counted.append(await send(runtime, report, 30.0))
        else:
            counted.append(await runtime.actor(TYPES[report.kind], report.key).record(report.flight))

    await for_each(reports, IN_FLIGHT, record)
    return counted


def found(runtime: Runtime) -> dict[tuple[str, str], tuple[int, dict[str, Any]]]:
    """Version and state of every actor, as a client would read them."""
    return {
        (vm.actor_id.kind, vm.actor_id.key): (
            vm.version,
            vm.actor_type.state_values(vm.state),
        )
        for vm in runtime.get_active_vms()
    }


async def test_the_totals_are_those_of_the_file_whatever_is_fed_again(runtime: Runtime) -> None:
    assert all(await feed(runtime, REPORTS, with_ids=True))
    first = found(runtime)
    totals = Totals()
    add_up(read_rows(ROWS), totals)
    assert compare(totals, {name: state for name, (_, state) in first.items()}).differences == ()
    assert not any(await feed(runtime, REPORTS[::-1], with_ids=False)), "the actors know their rows"
    assert all(await feed(runtime, REPORTS, with_ids=True)), "a remembered command id gives the first answer"
    assert found(runtime) == first


async def test_the_totals_survive_passivation(runtime: Runtime) -> None:
    await feed(runtime, REPORTS, with_ids=True)
    first = found(runtime)
    for name in first:
        await runtime.stop_vm(ActorId(*name))
    assert not runtime.get_active_vms()
    for name in first:
        await runtime.create_vm(ActorId(*name))
    assert found(runtime) == first
