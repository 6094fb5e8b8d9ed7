"""A worker's event loop: what users' code raises in a task or a callback of its own does not end it."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest
import uvloop

from aether.system import main_loop
from aether.system.main_loop import run_to_end

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
ENDS = [SystemExit(3), KeyboardInterrupt()]


RAISED: list[BaseException] = []


def leave(error: BaseException) -> NoReturn:
    RAISED.append(error)
    raise error


async def leave_later(error: BaseException) -> None:
    await asyncio.sleep(0)
    leave(error)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == main_loop.log.name]


def in_a_task(error: BaseException) -> None:
    asyncio.ensure_future(leave_later(error))  # noqa: RUF006 - left behind, as users do


def in_a_callback(error: BaseException) -> None:
    asyncio.get_running_loop().call_soon(leave, error)


def in_a_timer(error: BaseException) -> None:
    asyncio.get_running_loop().call_later(0, leave, error)


def in_what_a_task_calls_when_it_is_done(error: BaseException) -> None:
    asyncio.ensure_future(asyncio.sleep(0)).add_done_callback(lambda _: leave(error))


@pytest.mark.parametrize("make_loop", LOOPS)
@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("left_behind", [in_a_task, in_a_callback, in_a_timer, in_what_a_task_calls_when_it_is_done])
def test_the_loop_goes_on_and_loses_nothing_that_was_ready(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    error: BaseException,
    left_behind: Callable[[BaseException], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    RAISED.clear()

    async def main() -> list[int]:
        done: list[int] = []
        for number in range(3):
            asyncio.get_running_loop().call_soon(done.append, number)
            left_behind(error)
        while len(RAISED) < 3 or not said(caplog):  # noqa: ASYNC110 - nothing else shows that it happened
            await asyncio.sleep(0)
        return done

    with caplog.at_level(logging.ERROR):
        assert run_to_end(make_loop, main()) == [0, 1, 2]
    assert set(said(caplog)) == {"code that no command waits for tried to end the worker"}


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_loop_that_is_stopped_is_started_again(
    make_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> list[int]:
        done: list[int] = []
        for number in range(3):
            asyncio.get_running_loop().call_soon(done.append, number)
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0)
        return done

    with caplog.at_level(logging.ERROR):
        assert run_to_end(make_loop, main()) == [0, 1, 2]
    assert set(said(caplog)) == {"users' code stopped the event loop; it is started again"}


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_runtime_error_of_the_main_coroutine_is_raised(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        raise RuntimeError("its own")

    with pytest.raises(RuntimeError, match="its own"):
        run_to_end(make_loop, main())


class SignalWhenLogged(logging.Handler):
    """Sends this process a signal with each record."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send it."""
        signal.raise_signal(signal.SIGUSR2)


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_signal_that_comes_while_the_loop_stands_still_is_handled(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> bool:
        came = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, came.set)
        loop.call_soon(leave, SystemExit(1))
        try:
            return await asyncio.wait_for(came.wait(), 10)
        finally:
            loop.remove_signal_handler(signal.SIGUSR2)

    signals = SignalWhenLogged()
    logging.getLogger(main_loop.log.name).addHandler(signals)
    try:
        assert run_to_end(make_loop, main())
    finally:
        logging.getLogger(main_loop.log.name).removeHandler(signals)


@pytest.mark.parametrize("make_loop", LOOPS)
def test_awaiting_such_a_task_raises_what_it_raised(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> int | str | None:
        try:
            await asyncio.create_task(leave_later(SystemExit(7)))
        except SystemExit as left:
            return left.code
        return None

    assert run_to_end(make_loop, main()) == 7


@pytest.mark.parametrize("make_loop", LOOPS)
def test_what_the_main_coroutine_raises_comes_out(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        sys.exit(4)

    with pytest.raises(SystemExit) as left:
        run_to_end(make_loop, main())
    assert left.value.code == 4


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_task_that_will_not_be_cancelled_keeps_no_process_alive(
    make_loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_loop, "CLOSE_TIMEOUT_S", 0.01)
    ended: list[bool] = []
    kept: list[asyncio.Task[None]] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def stubborn() -> None:
        while not ended:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def main() -> str:
        loops.append(asyncio.get_running_loop())
        kept.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)
        return "drained"

    assert run_to_end(make_loop, main()) == "drained"
    ended.append(True)
    kept[0].cancel()
    loops[0].run_until_complete(kept[0])
    loops[0].close()
