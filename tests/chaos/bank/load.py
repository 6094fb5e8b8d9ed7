"""The load, a process of its own: `python -m tests.chaos.bank.load --url URL ...`, with the options of `load`.

Each client does one thing after the other with each account: it pays, holds and captures, orders, starts tasks and
stops some of them, tells and reads, and logs every call. The number of what it does is the command's id.
"""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import aether
from tests.chaos.bank.model import Account, Balance, CatchUp, model
from tests.chaos.calls import Act, Call, CallSink, Outcome, Receipt, write_call
from tests.chaos.load import HASTY_S, HASTY_SHARE, LoadOptions, client_names, ledger_names, options_from_arguments

OPENED = 1_000_000
AMOUNT_MAX = 9
CATCH_UP: tuple[CatchUp, ...] = ("one", "skip", "all")
CAPTURED_SHARE = 0.6
STOPPED_SHARE = 0.25
TASK_S = (0.0, 0.0, 0.05, 0.3, 1.0, 4.0)
"""How long a task may take; the longest is longer than a claim lasts without a word of its worker."""

FAILS = (0, 0, 0, 0, 1, 2, 9)
"""How many attempts fail."""

ABOUT = "/"
"""Parts of a number: the client, what is done, the account, and a count."""


class BankLane:
    """One client's calls to one account, one after the other."""

    def __init__(
        self, client: aether.Client, name: str, account: str, options: LoadOptions, log: CallSink,
        task_s: Sequence[float] = TASK_S,
    ) -> None:  # fmt: skip
        self._task_s = task_s
        self._client = client
        self._name = name
        self._account = account
        self._options = options
        self._log = log
        self._count = 0
        self._dice = random.Random(f"{options.seed}/bank/{name}/{account}")  # noqa: S311 - a workload
        self._others = ledger_names(options.ledgers)
        self._acts: list[Callable[[], Awaitable[None]]] = [
            *[self._pay] * 5, *[self._pay_later] * 2, *[self._hold] * 3, self._order, *[self._spend] * 5,
            *[self._tell] * 3, self._read,
        ]  # fmt: skip

    async def run(self, stopping: asyncio.Event) -> None:
        """Until it stops, when the thing under way is done."""
        await self._call("open", lambda on, number: on.open(OPENED))
        while not stopping.is_set():
            await self._dice.choice(self._acts)()
            await self._pause(stopping)

    async def _pause(self, stopping: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._options.pause_s * 2 * self._dice.random()):
                await stopping.wait()
        except TimeoutError:
            return

    async def _pay(self) -> None:
        to, amount = self._to_and_amount()
        await self._call("pay", lambda on, number: on.pay(number, to, amount))

    async def _pay_later(self) -> None:
        to, amount = self._to_and_amount()
        after_s = round(self._dice.uniform(0.2, 4.0), 1)
        await self._call("pay", lambda on, number: on.pay(number, to, amount, after_s))

    async def _hold(self) -> None:
        to, amount = self._to_and_amount()
        for_s = round(self._dice.uniform(0.2, 4.0), 1)
        held = await self._call("hold", lambda on, number: on.hold(number, to, amount, for_s))
        if self._dice.random() < CAPTURED_SHARE:
            await asyncio.sleep(self._dice.uniform(0.0, for_s))
            await self._call("capture", lambda on, number: on.capture(held))

    async def _order(self) -> None:
        to, amount = self._to_and_amount()
        every_s, times = self._dice.choice((1.0, 2.0)), self._dice.randint(2, 4)
        catch_up = self._dice.choice(CATCH_UP)
        await self._call("order", lambda on, number: on.order(number, to, amount, every_s, times, catch_up))

    async def _spend(self) -> None:
        _, amount = self._to_and_amount()
        seconds, fails, blocking = self._dice.choice(self._task_s), self._dice.choice(FAILS), self._dice.random() < 0.5
        started = await self._call("spend", lambda on, number: on.spend(number, amount, seconds, fails, blocking))
        if self._dice.random() < STOPPED_SHARE:
            await asyncio.sleep(self._dice.uniform(0.0, seconds))
            await self._call("stop", lambda on, number: on.stop(started))

    async def _read(self) -> None:
        await self._call("read", lambda on, number: on.read(), Act.READ)

    async def _tell(self) -> None:
        """Money from outside."""
        _, amount = self._to_and_amount()
        number, started_s = self._number("tell"), time.monotonic()
        told = self._client.using(deadline_s=self._deadline_s()).tell(Account.take, self._account, number, amount)
        outcome, error = Outcome.REPLY, ""
        try:
            await told
        except aether.DeadlineExceeded as late:
            outcome, error = (Outcome.UNAVAILABLE if late.outcome_known else Outcome.UNKNOWN), str(late)
        except (aether.Unavailable, aether.Overloaded) as unknown:
            outcome, error = Outcome.UNKNOWN, str(unknown)  # it may be stored
        self._write(number, Act.APPEND, started_s, outcome, None, error, amount=amount)

    def _to_and_amount(self) -> tuple[str, int]:
        return self._dice.choice(self._others), self._dice.randint(1, AMOUNT_MAX)

    def _number(self, what: str) -> str:
        self._count += 1
        return ABOUT.join((self._name, what, self._account, str(self._count)))

    def _deadline_s(self) -> float:
        return HASTY_S if self._dice.random() < HASTY_SHARE else self._options.deadline_s

    async def _call(
        self, what: str, ask: Callable[[Account, str], Awaitable[Balance]], act: Act = Act.APPEND
    ) -> str:  # fmt: skip
        """Do it, and log it; its number."""
        number, deadline_s = self._number(what), self._deadline_s()
        started_s = time.monotonic()
        on = self._client.actor(Account, self._account, deadline_s=deadline_s, command_id=number)
        outcome, receipt, error = await _heard(ask(on, number))
        self._write(number, act, started_s, outcome, receipt, error, deadline_s)
        return number

    def _write(
        self, number: str, act: Act, started_s: float, outcome: Outcome, receipt: Receipt | None, error: str,
        deadline_s: float = 60.0, amount: int = 0,
    ) -> None:  # fmt: skip
        call = Call(
            client=self._name, actor=self._account, act=act, number=self._count, amount=amount, command_id=number,
            given=True, started_s=started_s, ended_s=time.monotonic(), deadline_s=deadline_s, outcome=outcome,
            receipt=receipt, error=error,
        )  # fmt: skip
        write_call(call, self._log)


async def _heard(answer: Awaitable[Balance]) -> tuple[Outcome, Receipt | None, str]:
    """What came of a call, and the state that was told."""
    try:
        told = await answer
    except aether.Rejected as no:
        return Outcome.REJECTED, Receipt(no.details["version"], no.details["balance"], 0), str(no)
    except aether.DeadlineExceeded as error:
        return (Outcome.UNAVAILABLE if error.outcome_known else Outcome.UNKNOWN), None, str(error)
    except (aether.Unavailable, aether.Overloaded) as error:
        return Outcome.UNAVAILABLE, None, str(error)
    except Exception as error:  # whatever else comes out of a call is what we look for
        return Outcome.FAILED, None, repr(error)
    return Outcome.REPLY, Receipt(told.version, told.balance, 0), ""


async def open_bank_lanes(
    clients: AsyncExitStack, options: LoadOptions, log: CallSink, names: Sequence[str] = (),
    task_s: Sequence[float] = TASK_S,
) -> list[BankLane]:  # fmt: skip
    """Every client's lane to every account, with the clients open until the stack closes them."""
    lanes = []
    for name in names or client_names(options.clients):
        client = await clients.enter_async_context(
            aether.connect(options.url, model=model, namespace=options.namespace)
        )
        lanes += [BankLane(client, name, account, options, log, task_s) for account in ledger_names(options.ledgers)]
    return lanes


async def run_load(options: LoadOptions) -> None:
    """Run until TERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncExitStack() as clients:
        log = clients.enter_context(options.log.open("a", buffering=1))
        lanes = await open_bank_lanes(clients, options, log)
        await asyncio.gather(*(lane.run(stopping) for lane in lanes))


if __name__ == "__main__":
    asyncio.run(run_load(options_from_arguments(__doc__)))
