"""Signals that a worker lives by, and users' code that sets handlers of its own."""

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest
import uvloop

from aether.worker.signals import WorkerSignals


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ignore() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def handle() -> None:
    signal.signal(signal.SIGUSR2, lambda _number, _frame: None)


def handle_in_the_loop() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, lambda: None)


def remove_from_the_loop() -> None:
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR2)


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("take", [ignore, handle, handle_in_the_loop, remove_from_the_loop])
def test_what_others_have_taken_is_taken_back(
    make_loop: Callable[[], asyncio.AbstractEventLoop], take: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        came = asyncio.Event()
        signals = WorkerSignals({signal.SIGUSR2: came.set})
        signals.look()
        assert not caplog.records
        take()
        signals.look()
        assert len(caplog.records) == (0 if take is handle_in_the_loop else 1), "it cannot be seen in the loop"
        signal.raise_signal(signal.SIGUSR2)
        async with asyncio.timeout(5):
            await came.wait()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR2)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


async def test_ctrl_c_stays_the_supervisors() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals = WorkerSignals({})
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signals.look()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


async def test_where_ctrl_c_is_not_ignored_it_is_left_alone() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    WorkerSignals({}).look()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
